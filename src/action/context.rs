//! What a step gets from the engine while it works.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ActionError;

/// Takes notes of a running step into the journal.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Returns when the note is on disk.
    async fn note(&self, note: Value) -> Result<(), ActionError>;

    /// Takes the note without waiting: it outlives this process, but not a loss of power.
    fn jot(&self, note: Value);
}

/// Looks up the state that a plan predicts for a resource.
pub type Predictions = Arc<dyn Fn(&str) -> Option<Value> + Send + Sync>;

/// The time, the cancellation and the memory of one attempt at one item.
#[derive(Clone)]
pub struct StepContext {
    deadline: Instant,
    cancel: CancellationToken,
    /// `None` where nothing is noted: outside of a step, and in previews.
    recorder: Option<Arc<dyn Recorder>>,
    notes: Arc<[Value]>,
    scratch: Arc<Path>,
    run: Arc<str>,
    place: Arc<str>,
    attempted: bool,
    /// `None` outside of previews.
    predicted: Option<Predictions>,
}

impl StepContext {
    /// A context that ends at `deadline`; `scratch` is a private (0700) folder of the run, `run` its id.
    pub fn new(
        deadline: Instant,
        cancel: CancellationToken,
        scratch: impl Into<Arc<Path>>,
        run: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            deadline,
            cancel,
            recorder: None,
            notes: Arc::default(),
            scratch: scratch.into(),
            run: run.into(),
            place: Arc::default(),
            attempted: false,
            predicted: None,
        }
    }

    /// A context for looks outside of any run (is a system reachable, what is the former version), which end after `time`.
    pub fn looking(time: Duration) -> Self {
        Self::new(Instant::now() + time, CancellationToken::new(), std::env::temp_dir(), "look")
    }

    /// Takes notes here, and knows those of earlier attempts.
    #[must_use]
    pub fn recording(mut self, recorder: Arc<dyn Recorder>, notes: Vec<Value>) -> Self {
        self.recorder = Some(recorder);
        self.notes = notes.into();
        self
    }

    /// Knows which item of which step it is for.
    #[must_use]
    pub fn at(mut self, place: impl Into<Arc<str>>) -> Self {
        self.place = place.into();
        self
    }

    /// Knows whether an attempt at this item began before, in this process or in one that was killed.
    #[must_use]
    pub fn after_attempts(mut self, attempts: u32) -> Self {
        self.attempted = attempts > 0;
        self
    }

    /// On behalf of another run, whose change is taken back: adapters see that run's id and place, and before what is noted here
    /// what was noted there.
    #[must_use]
    pub fn on_behalf_of(mut self, run: &str, place: &str, notes: &[Value]) -> Self {
        self.run = run.into();
        self.place = place.into();
        self.notes = notes.iter().chain(self.notes.iter()).cloned().collect();
        self
    }

    /// As at a first look: nothing is noted, and nothing has begun.
    #[must_use]
    pub fn afresh(mut self) -> Self {
        self.notes = Arc::default();
        self.attempted = false;
        self
    }

    /// Knows the effects that a plan predicts for resources.
    #[must_use]
    pub fn predicting(mut self, predicted: Predictions) -> Self {
        self.predicted = Some(predicted);
        self
    }

    /// The same context with an earlier end.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// The instant at which this attempt ends. Every wait must end here.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time left, zero when there is none.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Cancelled when the run is told to stop at once.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Writes a fact that a later look needs (a created resource's name) into the journal, and returns when it is on disk.
    /// Must not hold secrets.
    pub async fn note(&self, note: Value) -> Result<(), ActionError> {
        match &self.recorder {
            Some(recorder) => recorder.note(note).await,
            None => Ok(()),
        }
    }

    /// Writes a fact down that is of use only while this machine runs (a child's process id), without waiting. Must not hold secrets.
    pub fn jot(&self, note: Value) {
        if let Some(recorder) = &self.recorder {
            recorder.jot(note);
        }
    }

    /// The notes of earlier attempts at this item, oldest first. Empty on a first attempt.
    pub fn notes(&self) -> &[Value] {
        &self.notes
    }

    /// Whether a change of this item was announced before: it may have begun, and something of it may still be at
    /// work, even if nothing was noted.
    pub fn was_attempted(&self) -> bool {
        self.attempted
    }

    /// A private folder of this run, for what a step parks until it may be undone.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The step, and its item behind a `/` when it has several: with [`run`](Self::run), what an adapter marks its
    /// work by in a system that keeps it. Empty in a preview.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The state that an earlier step of the plan will give to a resource, if it is known.
    pub fn predicted(&self, resource: &str) -> Option<Value> {
        self.predicted.as_ref().and_then(|predicted| predicted(resource))
    }
}
