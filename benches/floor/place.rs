//! Where it happens: a folder on the disk of the build, and the program in an environment of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::series::timed;

/// A step that does nothing but spawn.
pub(crate) const COMMAND: &str = "/bin/true";

/// A folder on the disk that the build uses: a memory file system would flatter both sides.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// A new folder with the environment `bench`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target folder is writable");
        std::fs::create_dir_all(folder.path().join("environments"))
            .expect("the bench's folder is writable");
        let place = Self { folder };
        place.connect("");
        place
    }

    /// A path in the folder.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::write(&path, text).expect("the bench's folder is writable");
        path
    }

    /// Gives the environment its connections, in YAML.
    pub(crate) fn connect(&self, connections: &str) {
        let _path = self.write("environments/bench.yaml", &format!("version: 1\n{connections}"));
    }

    /// A runbook with these steps, each a list element in YAML at six spaces.
    pub(crate) fn runbook(&self, name: &str, steps: &str) -> PathBuf {
        let text = format!(
            "version: 1\nname: {name}\ntitle: Benchmark\nscenario: emergency\nsubject: bench-{}\n\
             phases:\n  - id: all\n    title: Everything\n    steps:\n{steps}",
            std::process::id()
        );
        self.write(&format!("{name}.yaml"), &text)
    }

    /// A runbook that runs the trivial command so many times, after what `first` does.
    pub(crate) fn trivial(&self, name: &str, first: &str, times: usize) -> PathBuf {
        let mut steps = first.to_owned();
        for number in 1..=times {
            writeln!(steps, "      - id: step-{number}\n        script.run: {{argv: [{COMMAND}], undo: [{COMMAND}]}}")
                .expect("a text can be extended");
        }
        self.runbook(name, &steps)
    }

    /// The program in an environment of its own.
    pub(crate) fn program(&self) -> Command {
        self.bare(env!("CARGO_BIN_EXE_rollback"))
    }

    /// Any program in an environment of its own.
    pub(crate) fn bare(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(self.folder.path());
        command
    }

    /// `rollback run RUNBOOK`, without questions.
    pub(crate) fn running(&self, runbook: &Path) -> Command {
        self.running_in("state", runbook)
    }

    /// The same with a state folder of its own.
    pub(crate) fn running_in(&self, state: &str, runbook: &Path) -> Command {
        let mut command = self.program();
        command
            .arg("run")
            .arg(runbook)
            .args(["--env", "bench", "--yes", "--state-dir"])
            .arg(self.path(state));
        command
    }

    /// Runs a runbook, from Enter to the end.
    pub(crate) fn run(&self, runbook: &Path) -> Duration {
        timed(|| finish(&mut self.running(runbook)))
    }
}

/// Runs a command that must succeed.
pub(crate) fn finish(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the command can be started");
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A number that the environment may set.
pub(crate) fn option(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().map_or(usual, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}"))
    })
}

/// An address that `scripts/servers env` exports.
pub(crate) fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: use `make bench`"))
}
