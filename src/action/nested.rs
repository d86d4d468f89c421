//! Probes within the arguments of another verb: `manual.confirm` and its like.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionError, ErrorKind, Probe, ResolveContext, Verb, VerbKind, Work};
use crate::value::JsonText;

/// A resolved probe: a verb that may have split into several items, all of which must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeCall {
    verb: String,
    items: Vec<JsonText>,
}

impl ProbeCall {
    /// Resolves what stands in the arguments: one verb that only asks, with its own arguments. May read the live system.
    ///
    /// # Errors
    /// When it is no probe, or there is nothing that it could ask about.
    pub async fn resolve(
        call: IndexMap<String, Value>,
        cx: &ResolveContext,
    ) -> Result<Self, ActionError> {
        let (verb, args) = call.into_iter().next().unwrap_or_default();
        let items = probe_verb(&verb, cx)?.expand(args, cx).await?;
        if items.is_empty() {
            return Err(ActionError::new(
                ErrorKind::NotFound,
                format!("find anything that `{verb}` could ask about"),
            ));
        }
        Ok(Self { verb, items: items.into_iter().map(|item| item.args).collect() })
    }

    /// The probes of all items. Contacts nothing.
    ///
    /// # Errors
    /// When an item is not one that a system answers.
    pub fn probes(&self, cx: &ResolveContext) -> Result<Vec<Box<dyn Probe>>, ActionError> {
        let verb = probe_verb(&self.verb, cx)?;
        let probes = self.items.iter().map(|item| match verb.make(item, cx)? {
            Work::Probe(probe) => Ok(probe),
            Work::Action(_) | Work::Manual(_) | Work::Later(_) => Err(not_a_probe(&self.verb)),
        });
        probes.collect()
    }
}

fn probe_verb<'a>(name: &str, cx: &'a ResolveContext) -> Result<&'a Verb, ActionError> {
    let verb = cx.registry.verb(name).ok_or_else(|| {
        ActionError::new(ErrorKind::Invalid, format!("find the probe `{name}`"))
            .hint("`rollback schema` lists all verbs.")
    })?;
    // A checklist within another verb would be a question to a person.
    if verb.kind == VerbKind::Probe && verb.system() != "manual" {
        Ok(verb)
    } else {
        Err(not_a_probe(name))
    }
}

fn not_a_probe(name: &str) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use `{name}` as a probe: it does not only ask"))
        .hint("A `probe` takes a verb such as `http.expect` or `docker.expect`.")
}
