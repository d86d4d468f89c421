//! What systems can tell after an incident: logs, files, metrics.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::{ActionError, Connections, ErrorKind};

/// What is asked of a system.
#[derive(Debug, Clone)]
pub struct Gathering {
    /// What the environment says about this system, under `evidence`.
    pub settings: Value,
    /// The beginning of the time that matters.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// When the rollback began and ended, in between.
    pub rollback: (Timestamp, Timestamp),
    /// The most bytes of one piece. Of a longer one the end counts.
    pub most: usize,
    /// When the answers must be there.
    pub deadline: Instant,
}

impl Gathering {
    /// The settings in the form of this system.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, ActionError> {
        serde_json::from_value(self.settings.clone()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read what `evidence` says about it")
                .caused_by(&error)
        })
    }

    /// A piece with this content, cut to what fits.
    pub fn piece(&self, name: impl Into<String>, mut content: Vec<u8>) -> Piece {
        let over = content.len().saturating_sub(self.most);
        drop(content.drain(..over));
        Piece { name: name.into(), content: Ok(content), left_out: over, compared: None }
    }
}

/// One thing that was gathered, or could not be.
#[derive(Debug)]
pub struct Piece {
    /// Its name below the system's: a container, a file's path, a metric.
    pub name: String,
    /// What it says.
    pub content: Result<Vec<u8>, ActionError>,
    /// How many bytes before that were left out.
    pub left_out: usize,
    /// For something that is measured: its mean before and after the rollback, where there are data.
    pub compared: Option<(Option<f64>, Option<f64>)>,
}

impl Piece {
    /// Something that could not be had.
    pub fn missing(name: impl Into<String>, error: ActionError) -> Self {
        Self { name: name.into(), content: Err(error), left_out: 0, compared: None }
    }
}

/// Gathers what a system can tell. An error says that nothing can be had from it at all.
pub type Gather =
    for<'a> fn(&'a Connections, &'a Gathering) -> BoxFuture<'a, Result<Vec<Piece>, ActionError>>;
