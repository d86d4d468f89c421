//! Helper processes: this test binary again, running one ignored test that plays a part.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What marks the lines of a helper among those of the test harness.
const MARK: char = '@';

/// The command that plays `part`, an ignored test of this module's siblings.
pub(super) fn command(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args(arguments(part));
    command
}

pub(super) fn arguments(part: &str) -> [String; 4] {
    let path = module_path!().rsplit_once("::").map_or("", |(parent, _)| parent);
    let path = path.split_once("::").map_or(path, |(_, inside)| inside);
    [format!("{path}::{part}"), "--exact".into(), "--ignored".into(), "--nocapture".into()]
}

/// How often a race is run: briefly in the usual tests, at length with `ROLLBACK_LONG_TESTS=1`.
pub(super) fn rounds(short: u32, long: u32) -> u32 {
    if std::env::var_os("ROLLBACK_LONG_TESTS").is_some() { long } else { short }
}

/// A running helper. Killed when it is dropped.
pub(super) struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Helper {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the test binary can be started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that the helper says; waits for it. `None` when it has ended.
    pub(super) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("text") > 0 {
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    /// Lets the helper go on to its end.
    pub(super) fn release(&mut self) {
        self.input = None;
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.input = None;
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }
}

/// In a helper: says something to the test.
pub(super) fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{MARK}{what}").and_then(|()| out.flush()).expect("the test listens");
}

/// In a helper: waits until the test releases it.
pub(super) fn wait_for_release() {
    let mut line = String::new();
    let _end = std::io::stdin().lock().read_line(&mut line).expect("text");
}

/// In a helper: what the test set.
pub(super) fn setting(name: &str) -> String {
    std::env::var(name).expect("the test sets it")
}
