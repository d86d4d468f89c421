//! The PostgreSQL inside the program: PostgreSQL 17.5 as WebAssembly, in threads of this process.
//!
//! It ends with the process, also a killed one, and recovers from its own log; not so with its "relaxed durability", which
//! loses what was committed last. It has one backend, so connections take turns, and each costs about half a second:
//! clients that keep theirs for the length of one transaction notice nothing else.

use std::path::PathBuf;

use pglite_oxide::PgliteServer;

use super::seed;
use crate::sandbox::{SandboxError, store};

/// Where its files lie.
#[derive(Debug)]
pub(super) struct Embedded {
    root: PathBuf,
    socket: PathBuf,
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Running(PgliteServer);

impl Embedded {
    /// Whether the program carries one.
    pub(super) const CARRIED: bool = true;

    /// The one with its files in `root`, which listens on `socket`.
    pub(super) fn at(root: PathBuf, socket: PathBuf) -> Option<Self> {
        Some(Self { root, socket })
    }

    /// Starts it, without the data of a former world if this one is `fresh`.
    pub(super) async fn start(&self, fresh: bool) -> Result<Running, SandboxError> {
        if fresh {
            store::remove_folder(&self.root)?;
        }
        store::remove_file(&self.socket)?;
        let server = PgliteServer::builder().path(&self.root).unix(&self.socket);
        let server = server.username(seed::USER);
        let started = blocking(move || server.start()).await?;
        Ok(Running(started))
    }
}

impl Running {
    /// Ends it, when the last client has gone.
    pub(super) async fn stop(self) -> Result<(), SandboxError> {
        blocking(move || self.0.shutdown()).await
    }
}

/// Its calls block; its errors are of a type of its own.
async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    call: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SandboxError> {
    let failed = |why: String| SandboxError::Process(format!("run the embedded PostgreSQL: {why}"));
    match tokio::task::spawn_blocking(call).await {
        Ok(called) => called.map_err(|error| failed(format!("{error:#}"))),
        Err(panicked) => Err(failed(panicked.to_string())),
    }
}
