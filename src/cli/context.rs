//! What every command works with.

use std::path::PathBuf;

use super::output::Output;
use crate::environment::Config;

/// What a command works with.
#[derive(Clone)]
pub(super) struct Context {
    /// Where it writes.
    pub(super) output: Output,
    /// What is configured in files and variables.
    pub(super) config: Config,
    /// `--state-dir`.
    pub(super) state_dir: Option<PathBuf>,
}
