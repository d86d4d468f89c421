//! A temporary home in which programs run with a clean environment: nothing of the developer's machine but `PATH`
//! reaches them, and what they leave behind ends with the test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::HANG;
use super::output::CommandOutput;

/// What differs from run to run, and what a snapshot shows instead. Measured times have a fraction or are in
/// milliseconds; whole seconds are declared in a runbook and stay.
const REDACTIONS: [(&str, &str); 6] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[ID]"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d| UTC)?", "[INSTANT]"),
    (r"\b\d+\.\d+ ?s\b", "[TIME]"),
    (r"\b\d+(\.\d+)? ?(ms|µs)\b", "[TIME]"),
    (r"\b(127\.0\.0\.1|localhost):\d+", "$1:[PORT]"),
    (r"\b(pid|process) \d+", "$1 [PID]"),
];

/// A temporary home folder.
pub(crate) struct World {
    root: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("rollback-test-")
            .tempdir()
            .expect("the temporary folder is writable");
        for folder in ["home", "state", "config", "cache", "tmp"] {
            std::fs::create_dir(root.path().join(folder)).expect("the world is writable");
        }
        Self { root }
    }

    /// A path inside the world.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(below)
    }

    /// Writes a file inside the world, with its folders, and returns its path.
    pub(crate) fn write(&self, below: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.path(below);
        let folder = path.parent().expect("a path inside the world has a folder");
        std::fs::create_dir_all(folder).expect("the world is writable");
        std::fs::write(&path, text).expect("the world is writable");
        path
    }

    /// Any program, in this world. Its working folder is the home folder.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("TMPDIR", self.path("tmp"))
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .env("USER", "tester")
            .current_dir(self.path("home"))
            .stdin(Stdio::null());
        command
    }

    /// The program under test, in this world.
    pub(crate) fn program(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_rollback"))
    }

    /// Runs the program under test to its end.
    pub(crate) fn rollback<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> CommandOutput {
        finish(self.program().args(arguments))
    }

    /// For as long as the guard lives, `insta` snapshots show a placeholder for what differs from run to run.
    pub(crate) fn redacted(&self) -> insta::internals::SettingsBindDropGuard {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        let root = self.root.path().to_string_lossy().into_owned();
        settings.add_filter(&root.replace('.', r"\."), "[WORLD]");
        for (pattern, shown) in REDACTIONS {
            settings.add_filter(pattern, shown);
        }
        settings.bind_to_scope()
    }
}

/// Runs `command` to its end and collects what it says; a program that hangs is killed and fails the test.
pub(crate) fn finish(command: &mut Command) -> CommandOutput {
    Running::start(command).finish()
}

/// A program that runs while the test does something else; killed when dropped.
pub(crate) struct Running {
    child: Option<Child>,
    name: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        Self { child: Some(child), name }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("the program was not waited for yet").id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the program was not waited for yet");
        kill_process(Pid::from_child(child), signal).expect("the program can be signalled");
    }

    /// Waits for the end and collects what it said.
    pub(crate) fn finish(self) -> CommandOutput {
        let name = self.name.clone();
        let (pid, output) = self.awaited();
        let Ok(output) = output.recv_timeout(HANG) else {
            let killed = kill_process(pid, Signal::KILL);
            panic!("{name} did not end within {HANG:?}; killed: {killed:?}");
        };
        output.expect("the program's output can be read").into()
    }

    /// Kills it at that instant, unless it has ended before, and collects what it said.
    pub(crate) fn kill_after(self, instant: Duration) -> CommandOutput {
        let (pid, output) = self.awaited();
        let output = output.recv_timeout(instant).unwrap_or_else(|_| {
            // It may end in this very moment, and then there is nobody to kill.
            let _ended = kill_process(pid, Signal::KILL);
            output.recv_timeout(HANG).expect("what was killed ends")
        });
        output.expect("the program's output can be read").into()
    }

    /// Somebody else waits for its end and collects what it says.
    fn awaited(mut self) -> (Pid, mpsc::Receiver<std::io::Result<std::process::Output>>) {
        let child = self.child.take().expect("a program is waited for once");
        let pid = Pid::from_child(&child);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        (pid, receiver)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = child.kill().and_then(|()| child.wait());
            if let Err(error) = ended
                && !std::thread::panicking()
            {
                panic!("failed to end {}: {error}", self.name);
            }
        }
    }
}

#[test]
fn a_program_sees_nothing_of_the_developers_environment() {
    let world = World::new();
    let output = finish(&mut world.command("env")).expect_code(0);
    let mut names: Vec<_> =
        output.stdout.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "HOME",
            "LANG",
            "PATH",
            "TERM",
            "TMPDIR",
            "USER",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
            "XDG_STATE_HOME",
        ]
    );
}

#[test]
fn the_program_starts_in_a_fresh_world() {
    let world = World::new();
    let output = world.rollback(["--version"]).expect_code(0);
    assert_eq!(output.stderr, "");
}

#[test]
fn snapshots_hide_what_differs_from_run_to_run() {
    let world = World::new();
    let script = world.write(
        "home/say.sh",
        "echo \"$HOME took 12.5 s of 60 s, 3.1 ms, at 2026-11-21T20:00:00.5Z\"\n\
         echo 'run 0199f3a0-1111-7222-8333-444455556666 on 127.0.0.1:8080 by pid 4711' >&2\nprintf end\nexit 3\n",
    );
    let output = finish(world.command("sh").arg(script)).expect_code(3);
    let _redacted = world.redacted();
    insta::assert_snapshot!(output, @r"
    ----- stdout -----
    [WORLD]/home took [TIME] of 60 s, [TIME], at [INSTANT]
    end[no newline at the end]
    ----- stderr -----
    run [ID] on 127.0.0.1:[PORT] by pid [PID]
    ----- exit 3 -----
    ");
}

#[test]
fn a_running_program_can_be_signalled() {
    let world = World::new();
    let running = Running::start(world.command("sleep").arg("600"));
    running.signal(Signal::TERM);
    let output = running.finish();
    assert_eq!((output.code(), output.signal()), (None, Some(15)));
}

#[test]
fn json_output_is_read_whole() {
    let world = World::new();
    let output = finish(world.command("printf").arg(r#"{"format": 1}"#));
    assert_eq!(output.json()["format"], 1);
}
