//! The tools that people would use instead. One that is not on this machine is said to be missing; no number is made up.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program on the search path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH")?;
    std::env::split_paths(&places).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Docker Compose v2, which is a plugin of the `docker` command.
pub(crate) fn compose_v2() -> Option<PathBuf> {
    let docker = find("docker")?;
    let mut asked = Command::new(&docker);
    asked
        .args(["compose", "version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success()).then_some(docker)
}
