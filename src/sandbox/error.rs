//! The one error of the sandbox: what it could not do, and why.

use std::io;
use std::path::{Path, PathBuf};

/// Why the sandbox could not do its part. Each text fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A file or folder of the world.
    #[error("{doing} {}", path.display())]
    File {
        /// `read`, `write`, `remove` and the like.
        doing: &'static str,
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of the world that cannot be understood.
    #[error("read {}", path.display())]
    Corrupt {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// An address that cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// `127.0.0.1:8080`, or the path of a socket.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// A request to a world that did not answer as expected.
    #[error("ask the sandbox for {what}: {why}")]
    Request {
        /// Method and path.
        what: String,
        /// What came instead.
        why: String,
    },
    /// The configuration of the load balancer cannot be used.
    #[error("start the load balancer: {0}")]
    LoadBalancer(String),
    /// The detached process.
    #[error("{0}")]
    Process(String),
}

impl SandboxError {
    /// Wraps an I/O error with what was being done to which path; for `map_err`.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}
