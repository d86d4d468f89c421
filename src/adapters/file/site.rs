//! Where an action of this adapter works: a path of the runbook in an environment.

use std::sync::Arc;

use super::place::Place;
use super::root::root;
use super::work::{Effect, blocking};
use crate::action::{ActionError, Connections, StepContext};

/// A path and the connections that say below which root it is.
pub(super) struct Site {
    path: String,
    connections: Arc<Connections>,
}

impl Site {
    pub(super) fn new(path: String, connections: Arc<Connections>) -> Self {
        Self { path, connections }
    }

    /// The path as the runbook wrote it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The connections of the environment.
    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Runs blocking work at the place, with the run's id, under the step's deadline.
    pub(super) async fn at<T: Send + 'static>(
        &self,
        cx: &StepContext,
        effect: Effect,
        work: impl FnOnce(&Place, &str) -> Result<T, ActionError> + Send + 'static,
    ) -> Result<T, ActionError> {
        let (path, connections) = (self.path.clone(), self.connections.clone());
        let run = cx.run().to_owned();
        blocking(cx, effect, format!("work on `{path}`"), move |_| {
            work(&root(&connections)?.place(&path)?, &run)
        })
        .await
    }
}
