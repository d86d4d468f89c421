//! In the place of `embedded.rs` when the program was built without the feature `embedded-postgres`.

use std::path::PathBuf;

use crate::sandbox::SandboxError;

/// Nothing: this program carries none.
#[derive(Debug)]
pub(super) enum Embedded {}

/// Nothing: none can run.
#[derive(Debug)]
pub(super) enum Running {}

impl Embedded {
    /// Whether the program carries one.
    pub(super) const CARRIED: bool = false;

    /// None.
    pub(super) fn at(_root: PathBuf, _socket: PathBuf) -> Option<Self> {
        None
    }

    #[expect(clippy::unused_async, reason = "as the one that is carried")]
    pub(super) async fn start(&self, _fresh: bool) -> Result<Running, SandboxError> {
        match *self {}
    }
}

impl Running {
    #[expect(clippy::unused_async, reason = "as the one that is carried")]
    pub(super) async fn stop(self) -> Result<(), SandboxError> {
        match self {}
    }
}
