//! Systems: an adapter as the rest of the program sees it, and the registry of all of them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{ActionError, Connections, Gather, SystemConnection, Verb, Work};

/// Asks whether a connection works, read-only: what answered, in one line.
pub type Reach = for<'a> fn(&'a Connections) -> BoxFuture<'a, Result<String, ActionError>>;

/// A block under `connections` in the environment file: how something that a system drives is reached.
#[derive(Clone, Copy)]
pub struct Connection {
    /// Its key under `connections`.
    pub key: &'static str,
    /// One sentence without a period.
    pub summary: &'static str,
    /// The JSON Schema of the block.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// How pre-flight and `rollback doctor` find out whether it works; `None` when there is nothing to reach.
    pub reach: Option<Reach>,
    /// How `rollback evidence` gathers what it can tell; `None` when it tells nothing.
    pub gather: Option<Gather>,
}

impl Connection {
    /// The block that is read as `C`, with nothing to reach.
    pub fn of<C: SystemConnection + JsonSchema>(summary: &'static str) -> Self {
        let schema = SchemaGenerator::subschema_for::<C>;
        Self { key: C::KEY, summary, schema, reach: None, gather: None }
    }

    /// The same, with the question that finds out whether it works.
    #[must_use]
    pub fn reached_by(self, reach: Reach) -> Self {
        Self { reach: Some(reach), ..self }
    }

    /// The same, with what can be gathered there after an incident.
    #[must_use]
    pub fn gathered_by(self, gather: Gather) -> Self {
        Self { gather: Some(gather), ..self }
    }
}

/// One remote (or local) system.
#[derive(Clone)]
pub struct System {
    /// The prefix of its verbs.
    pub name: &'static str,
    /// One sentence without a period.
    pub summary: &'static str,
    /// How it is reached: nothing for what is simply there, one block for most, several where one name stands for
    /// several services (`notify`).
    pub connections: Vec<Connection>,
    /// Its verbs.
    pub verbs: Vec<Verb>,
}

/// Something that stands between the engine and the adapters: the faults of a drill.
pub trait Between: Send + Sync {
    /// The work that a verb has made, as the engine gets it.
    fn stand_before(self: Arc<Self>, verb: &Verb, work: Work) -> Work;
}

/// All systems and verbs of this build.
#[derive(Clone, Default)]
pub struct Registry {
    systems: Vec<System>,
    between: Option<Arc<dyn Between>>,
}

impl Registry {
    /// A registry of these systems.
    pub fn new(systems: Vec<System>) -> Self {
        Self { systems, between: None }
    }

    /// The same, with something between its verbs and whoever has them make work.
    #[must_use]
    pub fn behind(self, between: Arc<dyn Between>) -> Self {
        Self { between: Some(between), ..self }
    }

    /// The work that a verb has made, behind what stands between.
    pub(super) fn handed_out(&self, verb: &Verb, work: Work) -> Work {
        match &self.between {
            Some(between) => between.clone().stand_before(verb, work),
            None => work,
        }
    }

    /// All systems, in the order of registration.
    pub fn systems(&self) -> &[System] {
        &self.systems
    }

    /// The system of this name.
    pub fn system(&self, name: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// The blocks that an environment file may have.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.systems.iter().flat_map(|system| &system.connections)
    }

    /// All verbs.
    pub fn verbs(&self) -> impl Iterator<Item = &Verb> {
        self.systems.iter().flat_map(|system| &system.verbs)
    }

    /// The verb of this name.
    pub fn verb(&self, name: &str) -> Option<&Verb> {
        self.verbs().find(|verb| verb.name == name)
    }
}
