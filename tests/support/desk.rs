//! A runbook of scripts in a world of its own: what to type, and what it leaves behind.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::output::CommandOutput;
use super::wait_until;
use super::world::{World, finish};

/// A step that tells when it has begun, and ends when the test says so (or after a minute).
pub(crate) const PATIENT: &str = r#"
      - id: patient
        script.shell:
          undo: ["true"]
          run: |
            touch patient.begun
            for _ in $(seq 1200); do if [ -e patient.go ]; then break; fi; sleep 0.05; done
            touch patient.ended
          cwd: "{{ environment.dir }}"
"#;

/// A step that never ends and does not care for SIGTERM.
pub(crate) const STUBBORN: &str = r#"
      - id: stubborn
        script.shell:
          undo: ["true"]
          run: |
            trap '' TERM INT HUP
            touch stubborn.begun
            sleep 600 & sleep 600 & wait
            while true; do sleep 600; done
          cwd: "{{ environment.dir }}"
"#;

/// A step that leaves a file.
pub(crate) fn touch(name: &str) -> String {
    format!(
        "\n      - id: {name}\n        script.run: {{argv: [touch, {name}.done], undo: [\"true\"], cwd: \"{{{{ environment.dir }}}}\"}}\n"
    )
}

/// A world with a runbook `book.yaml` and an environment `local`.
pub(crate) struct Desk {
    pub(crate) world: World,
}

impl Desk {
    /// A runbook of one phase with these steps.
    pub(crate) fn new(steps: &str) -> Self {
        let world = World::new();
        let desk = Self { world };
        desk.runbook(&format!(
            "version: 1\nname: book\ntitle: A book\nscenario: partial\nsubject: book\nphases:\n  - id: work\n    title: Work\n    steps:\n{}\n",
            steps.trim_start_matches('\n')
        ));
        desk.environment("");
        desk
    }

    /// Writes the runbook anew.
    pub(crate) fn runbook(&self, text: &str) -> PathBuf {
        self.world.write("home/book.yaml", text)
    }

    /// Writes the environment anew, with these further lines.
    pub(crate) fn environment(&self, more: &str) -> PathBuf {
        let (home, locks) = (self.world.path("home"), self.world.path("locks"));
        let text = format!(
            "version: 1\nname: local\nlock_dir: {}\n{more}\nvalues:\n  dir: {}\n",
            locks.display(),
            home.display()
        );
        self.world.write("home/environments/local.yaml", &text)
    }

    /// What to type to run it, without `--yes`.
    pub(crate) const RUN: [&str; 4] = ["run", "book.yaml", "--env", "local"];
    /// What to type to run it at once.
    pub(crate) const RUN_YES: [&str; 5] = ["run", "book.yaml", "--env", "local", "--yes"];

    /// The program with the runbook.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.world.program();
        command.args(Self::RUN_YES);
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> CommandOutput {
        finish(&mut self.command())
    }

    /// Starts the runbook once more, while it runs.
    pub(crate) fn run_another(&self) -> CommandOutput {
        finish(self.command().arg("--state-dir").arg(self.world.path("state/another")))
    }

    /// Goes on with the latest run.
    pub(crate) fn resume(&self) -> CommandOutput {
        self.world.rollback(["resume", "latest"])
    }

    /// Whether a step has left this file.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.world.path("home").join(file).exists()
    }

    /// Waits until a step has left this file.
    #[track_caller]
    pub(crate) fn wait_for(&self, file: &str) {
        wait_until(file, || self.has(file));
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.world.path("state/rollback")
    }

    /// The id of the only run.
    pub(crate) fn run_id(&self) -> String {
        let runs: Vec<_> = std::fs::read_dir(self.state().join("runs"))
            .expect("there are runs")
            .map(|entry| {
                entry.expect("it can be listed").file_name().to_string_lossy().into_owned()
            })
            // Another process may be trying whether it can write there.
            .filter(|name| !name.starts_with('.'))
            .collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    /// The records of the only run.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let path = self.state().join("runs").join(self.run_id()).join("journal.jsonl");
        std::fs::read_to_string(path)
            .expect("the journal can be read")
            // The last one may be on its way to the disk.
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).expect("a record is JSON"))
            .collect()
    }

    /// The records of one kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.journal().into_iter().filter(|record| record["event"] == kind).collect()
    }

    /// Asserts that no process of the run is left.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        let token = format!("ROLLBACK_STEP={}/", self.run_id());
        wait_until("the end of every process of the run", || {
            !std::fs::read_dir("/proc").expect("there is /proc").flatten().any(|entry| {
                std::fs::read(entry.path().join("environ")).is_ok_and(|environ| {
                    environ.split(|byte| *byte == 0).any(|line| line.starts_with(token.as_bytes()))
                })
            })
        });
    }
}
