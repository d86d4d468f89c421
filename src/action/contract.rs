//! What every action promises, as one reusable test: looking, doing, looking again, taking back, twice.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Action, ActionError, Connections, ErrorKind, Evidence, Present, Probe, Readiness, Recorder,
    Registry, ResolveContext, Reversal, Saved, StepContext, Verdict, Work,
};

/// A run in memory: it hands out contexts that share one journal of notes.
pub(crate) struct World {
    run: String,
    scratch: PathBuf,
    notes: Arc<Notes>,
    cancel: CancellationToken,
}

#[derive(Default)]
struct Notes(Mutex<Vec<Value>>);

#[async_trait]
impl Recorder for Notes {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        self.jot(note);
        Ok(())
    }

    fn jot(&self, note: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

impl World {
    /// A run of this id.
    pub(crate) fn new(run: &str) -> Self {
        Self {
            run: run.into(),
            scratch: std::env::temp_dir(),
            notes: Arc::default(),
            cancel: CancellationToken::new(),
        }
    }

    /// A context with this much time, and all notes so far. An attempt may have begun before.
    pub(crate) fn context(&self, time: Duration) -> StepContext {
        StepContext::new(
            Instant::now() + time,
            self.cancel.clone(),
            self.scratch.clone(),
            self.run.as_str(),
        )
        .after_attempts(1)
        .recording(self.notes.clone(), self.notes())
    }

    /// All notes so far.
    pub(crate) fn notes(&self) -> Vec<Value> {
        self.notes.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a note, as an earlier attempt would have.
    pub(crate) fn noted(&self, note: Value) {
        self.notes.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    /// Tells the run to stop at once.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// Goes from a step's arguments to its named work, as a plan does: validate, expand, and through JSON to `make`.
pub(crate) async fn make(
    registry: Registry,
    connections: Connections,
    verb: &str,
    args: Value,
) -> Result<Vec<(String, Work)>, ActionError> {
    let cx =
        ResolveContext { connections: Arc::new(connections), registry: Arc::new(registry.clone()) };
    let verb = registry.verb(verb).expect("a verb of this registry");
    (verb.validate)(args.clone())
        .map_err(|problem| ActionError::new(ErrorKind::Invalid, problem))?;
    let mut work = Vec::new();
    for item in verb.expand(args, &cx).await? {
        work.push((item.name, verb.make(&item.args, &cx)?));
    }
    Ok(work)
}

/// The single action of a step.
pub(crate) fn action(mut work: Vec<(String, Work)>) -> Box<dyn Action> {
    match (work.pop(), work.is_empty()) {
        (Some((_, Work::Action(action))), true) => action,
        _ => panic!("not a single action"),
    }
}

/// The single probe of a step.
pub(crate) fn probe(mut work: Vec<(String, Work)>) -> Box<dyn Probe> {
    match (work.pop(), work.is_empty()) {
        (Some((_, Work::Probe(probe))), true) => probe,
        _ => panic!("not a single probe"),
    }
}

/// Enough for anything local; a guard against hanging, not an assertion.
const AMPLE: Duration = Duration::from_secs(30);

/// What an action needs before it may be applied.
pub(crate) async fn needed(action: &dyn Action, world: &World) -> Saved {
    match action.inspect(&world.context(AMPLE)).await.expect("inspect") {
        Readiness::Needed { saved, .. } => saved,
        Readiness::AlreadyDone { evidence } => panic!("already done: {}", evidence.summary),
    }
}

/// What shows that an action has nothing to do.
pub(crate) async fn already_done(action: &dyn Action, world: &World) -> Evidence {
    match action.inspect(&world.context(AMPLE)).await.expect("inspect") {
        Readiness::AlreadyDone { evidence } => evidence,
        Readiness::Needed { saved, .. } => panic!("still needed: {saved:?}"),
    }
}

/// Looks, applies and verifies.
pub(crate) async fn applied(action: &dyn Action, world: &World) -> (Saved, Evidence) {
    let saved = journaled(&needed(action, world).await);
    let evidence = action.apply(&world.context(AMPLE), &saved).await.expect("apply");
    let verdict = action.verify(&world.context(AMPLE), &evidence).await.expect("verify");
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
    (saved, evidence)
}

/// Takes a change back, twice.
pub(crate) async fn undone(action: &dyn Action, world: &World, saved: &Saved, applied: &Evidence) {
    for attempt in ["undo", "undo again"] {
        action.undo(&world.context(AMPLE), saved, Some(applied)).await.expect(attempt);
        let back = present(action, world, saved, applied).await;
        assert!(matches!(back, Present::AsBefore | Present::Unseen), "{attempt}: {back:?}");
    }
}

/// What a run that takes the change back would meet.
async fn present(action: &dyn Action, world: &World, saved: &Saved, applied: &Evidence) -> Present {
    action.present(&world.context(AMPLE), saved, Some(applied)).await.expect("look")
}

/// The whole contract of a reversible action whose change is needed at first: a second look finds it done, two undos
/// leave it needed again and as it was before, and an undo works without knowing what `apply` returned.
pub(crate) async fn holds(action: &dyn Action, world: &World) {
    let described = action.describe();
    assert!(!described.apply.is_empty() && !described.undo.is_empty(), "{described:?}");
    assert_eq!(action.reversal(), Reversal::Automatic);

    let (saved, evidence) = applied(action, world).await;
    let _evidence = already_done(action, world).await;
    let left = present(action, world, &saved, &evidence).await;
    assert!(matches!(left, Present::AsLeft | Present::Unseen), "{left:?}");
    undone(action, world, &saved, &evidence).await;

    let (saved, _) = applied(action, world).await;
    let _evidence = already_done(action, world).await;
    action.undo(&world.context(AMPLE), &saved, None).await.expect("undo of an unknown outcome");
    let _saved = needed(action, world).await;
}

/// The saved state after its way through the journal.
fn journaled(saved: &Saved) -> Saved {
    let text = serde_json::to_string(saved).expect("a saved state is JSON");
    serde_json::from_str(&text).expect("and reads back")
}
