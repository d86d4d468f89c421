//! The port through which the adapter is driven, as one of the users of a control plane.

use std::collections::HashMap;
use std::sync::Arc;

use rollback::action::{
    Action, ActionError, Connections, Evidence, Item, Readiness, ResolveContext, Saved,
    StepContext, Verdict, Work,
};
use rollback::adapters;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rig::Rig;
use crate::support::{HANG, back};

/// The port of the adapter.
pub(super) struct Port {
    pub(super) resolve: ResolveContext,
}

impl Port {
    /// As this user, by a context of the kubeconfig.
    pub(super) fn of(rig: &Rig, user: &str) -> Self {
        let settings =
            json!({"kubeconfig": rig.kubeconfig, "context": user, "namespace": rig.namespace});
        Self::with(settings, Secrets::default())
    }

    /// With these settings under `connections: {kubernetes: …}`.
    pub(super) fn with(settings: Value, secrets: Secrets) -> Self {
        let settings = HashMap::from([("kubernetes".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(secrets));
        let registry = Arc::new(adapters::registry());
        Self { resolve: ResolveContext { connections: Arc::new(connections), registry } }
    }

    /// Whether the cluster answers.
    pub(super) async fn reach(&self) -> Result<String, ActionError> {
        let system = self.resolve.registry.system("kubernetes").expect("the adapter is listed");
        let reach = system.connections[0].reach.expect("it can be reached");
        reach(&self.resolve.connections).await
    }

    /// The context of a new attempt.
    pub(super) fn cx() -> StepContext {
        let cancel = CancellationToken::new();
        StepContext::new(Instant::now() + HANG, cancel, std::env::temp_dir(), "20261127-0000-test")
    }

    /// The one item that a plan makes of a step.
    pub(super) async fn item(&self, verb: &str, args: Value) -> Result<Item, ActionError> {
        let found = self.resolve.registry.verb(verb).expect("a verb of this adapter");
        (found.validate)(args.clone()).expect("valid arguments");
        let mut items = found.expand(args, &self.resolve).await?;
        assert_eq!(items.len(), 1, "one workload is one item");
        Ok(items.remove(0))
    }

    /// The action of an item.
    pub(super) fn action(&self, verb: &str, item: &Item) -> Box<dyn Action> {
        let found = self.resolve.registry.verb(verb).expect("a verb of this adapter");
        match found.make(&item.args, &self.resolve).expect("an item of this verb") {
            Work::Action(action) => action,
            _ => panic!("{verb} is no action"),
        }
    }

    /// The action of a step.
    pub(super) async fn planned(&self, verb: &str, args: Value) -> Box<dyn Action> {
        let item = self.item(verb, args).await.expect("it can be planned");
        self.action(verb, &item)
    }

    /// Asks a probe once.
    pub(super) async fn ask(&self, verb: &str, args: Value) -> Result<Verdict, ActionError> {
        let item = self.item(verb, args).await?;
        let found = self.resolve.registry.verb(verb).expect("a verb of this adapter");
        match found.make(&item.args, &self.resolve)? {
            Work::Probe(probe) => probe.observe(&Self::cx()).await,
            _ => panic!("{verb} is no probe"),
        }
    }

    /// What an action that is needed has saved.
    pub(super) async fn needed(&self, action: &dyn Action) -> Saved {
        match action.inspect(&Self::cx()).await.expect("it can be looked at") {
            Readiness::Needed { saved, .. } => saved,
            Readiness::AlreadyDone { evidence } => panic!("already done: {}", evidence.summary),
        }
    }

    /// Why there is nothing to do.
    pub(super) async fn already_done(&self, action: &dyn Action) -> String {
        match action.inspect(&Self::cx()).await.expect("it can be looked at") {
            Readiness::AlreadyDone { evidence } => evidence.summary,
            Readiness::Needed { saved, .. } => panic!("still needed: {saved:?}"),
        }
    }

    /// Looks, applies and verifies.
    pub(super) async fn apply(&self, action: &dyn Action) -> (Saved, Evidence) {
        let saved = self.needed(action).await;
        let evidence = action.apply(&Self::cx(), &saved).await.expect("it can be applied");
        let verdict = action.verify(&Self::cx(), &evidence).await.expect("it can be verified");
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
        (saved, evidence)
    }

    /// Undoes twice: the second time changes nothing.
    pub(super) async fn undo(&self, action: &dyn Action, saved: &Saved) {
        back::undo_twice(action, saved, None, Self::cx).await;
    }
}

/// Whether a verdict holds, and what was seen.
pub(super) fn told(verdict: Verdict) -> (bool, String) {
    match verdict {
        Verdict::Holds { evidence } => (true, evidence.summary),
        Verdict::NotYet { observed } => (false, observed),
    }
}
