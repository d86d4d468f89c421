//! A small fast world in a process of its own, the runs that are tried on it, and the oracles beside it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::counter::Counter;
use crate::support::output::CommandOutput;
use crate::support::wait_until;
use crate::support::world::{Running, World, finish};

/// How many agents each colour has.
const AGENTS: &str = "3";
/// How many times as fast as real systems the world works.
const SPEED: &str = "50";
/// The world comes to rest within a second; whoever looks longer finds a difference that stays.
const LOOKS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// A world with its program's state folder.
pub(crate) struct Rig {
    world: World,
    info: Value,
    counter: Counter,
    _serve: Running,
}

impl Rig {
    pub(crate) fn start() -> Self {
        let world = World::new();
        let serve =
            ["sandbox", "serve", "--agents", AGENTS, "--speed", SPEED, "--postgres", "none"];
        let serve = Running::start(world.program().args(serve));
        let path = world.path("state/rollback/sandbox/world.json");
        let mut info = Value::Null;
        wait_until("the sandbox's start", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            info = serde_json::from_str(&text).unwrap_or_default();
            info["control"].as_str().is_some_and(|url| ask(url, "GET", "/ping").is_ok())
        });
        let environment =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/ollama/environments/sandbox.yaml");
        let text = std::fs::read_to_string(environment).expect("the environment is shipped");
        let _path = world.write("home/environments/sandbox.yaml", &text);
        let rig = Self {
            world,
            info,
            counter: Counter::start(|request, _| request.to_owned()),
            _serve: serve,
        };
        rig.write_scripts();
        rig
    }

    /// Commands that tell a ledger of their own when they begin and end, and wait in between when they are told to.
    fn write_scripts(&self) {
        let ledger = self.path("ledger");
        let (ledger, go) = (ledger.display(), self.path("go"));
        let go = go.display();
        self.script("once.sh", &format!("echo \"did $1\" >> '{ledger}'\n"));
        self.script("undo.sh", &format!("echo \"undid $1\" >> '{ledger}'\n"));
        self.script("check.sh", &format!("grep -qx \"did $1\" '{ledger}'\n"));
        self.script(
            "wait.sh",
            &format!(
                "echo \"began $1\" >> '{ledger}'\nuntil [ -e '{go}' ]; do sleep 0.02; done\necho \"did $1\" >> '{ledger}'\n"
            ),
        );
    }

    fn script(&self, name: &str, body: &str) {
        use std::os::unix::fs::PermissionsExt as _;

        let path = self.world.write(name, &format!("#!/bin/sh\n{body}"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .expect("a script can be made executable");
    }

    /// What the world says about where everything is.
    pub(crate) fn info(&self) -> &Value {
        &self.info
    }

    /// A path beside the program's home.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.world.path(below)
    }

    /// Writes a runbook in which `[ROOT]` stands for the folder of the scripts and `[COUNTER]` for the counting server.
    pub(crate) fn runbook(&self, name: &str, text: &str) -> PathBuf {
        let root = self.path("");
        let root = root.to_string_lossy();
        let text = text
            .replace("[ROOT]", root.trim_end_matches('/'))
            .replace("[COUNTER]", self.counter.url());
        self.world.write(format!("home/{name}.yaml"), &text)
    }

    /// Everything as in the beginning, and no runs.
    pub(crate) fn reset(&self) {
        ask(self.control(), "POST", "/reset").expect("the sandbox resets itself");
        for file in ["ledger", "go"] {
            let _was_not_there = std::fs::remove_file(self.path(file));
        }
        std::fs::write(self.path("ledger"), "").expect("the ledger can be written");
        self.counter.clear();
        let _no_runs_yet = std::fs::remove_dir_all(self.path("state/rollback/runs"));
    }

    fn control(&self) -> &str {
        self.info["control"].as_str().expect("the world says where it is controlled")
    }

    /// `rollback` in this world.
    pub(crate) fn rollback(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.program();
        command.args(arguments);
        command
    }

    /// `rollback run` of a runbook, ready to start.
    pub(crate) fn run(&self, runbook: &Path) -> Command {
        let mut command = self.rollback(&["run"]);
        command.arg(runbook).args(["--env", "sandbox", "--reason", "a test", "--yes"]);
        // The shipped runbooks bring their own environments; the copy beside the home is the same file.
        command
    }

    /// `rollback resume` of the only run, to its end.
    pub(crate) fn resume(&self, flags: &[&str]) -> CommandOutput {
        let id = self.run_id();
        finish(self.rollback(&["resume", &id]).args(flags))
    }

    /// Runs until `ROLLBACK_CRASH_AT`; what it came to when it ended without having come to that point.
    pub(crate) fn ended_before(command: &mut Command, point: usize) -> Option<CommandOutput> {
        let output = finish(command.env("ROLLBACK_CRASH_AT", point.to_string()));
        (output.signal() != Some(9)).then_some(output)
    }

    /// The id of the run that is there.
    pub(crate) fn run_id(&self) -> String {
        let ids = self.run_ids();
        assert_eq!(ids.len(), 1, "one run is there");
        ids.into_iter().next().expect("one run is there")
    }

    pub(crate) fn run_ids(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.path("state/rollback/runs")) else {
            return Vec::new();
        };
        let mut ids: Vec<_> = folder
            .map(|entry| entry.expect("a run's folder").file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect();
        ids.sort();
        ids
    }

    /// The journal of the only run.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path(&format!("state/rollback/runs/{}/journal.jsonl", self.run_id()))
    }

    /// The run as `rollback status` tells it.
    pub(crate) fn told(&self) -> Value {
        let id = self.run_id();
        finish(&mut self.rollback(&["status", &id, "--format", "json"])).expect_code(0).json()
    }

    /// The world as it says itself.
    pub(crate) fn status(&self) -> Value {
        let body = ask(self.control(), "GET", "/status").expect("the sandbox answers");
        serde_json::from_str(&body).expect("the sandbox speaks JSON")
    }

    /// What has to be the same however often a run was killed: everything but messages and counts.
    pub(crate) fn state(&self, runs: &[String]) -> Value {
        let mut status = self.status();
        let object = status.as_object_mut().expect("a status is an object");
        for counted in
            ["effects", "effects_total", "chat", "pages", "texts", "mails", "tracker", "faults"]
        {
            let _removed = object.remove(counted);
        }
        // A lock says since when it is held.
        for (name, digest) in object["files"].as_object_mut().expect("files by name") {
            if name.contains("lock") {
                *digest = Value::Null;
            }
        }
        let text = runs.iter().fold(status.to_string(), |text, run| text.replace(run, "RUN"));
        // A kill between the exchange of two folders and the renaming leaves the former one under the name
        // by which its successor was staged. It is parked all the same, and undo knows both names.
        let text = text.replace(".new/", ".old/");
        serde_json::from_str(&text).expect("still JSON")
    }

    /// The state once it has come to rest.
    pub(crate) fn settled_state(&self) -> Value {
        let runs = self.run_ids();
        Self::at_rest(|| self.state(&runs))
    }

    /// What `look` sees once it sees the same for longer than a health check takes.
    pub(crate) fn at_rest(look: impl Fn() -> Value) -> Value {
        let (mut last, mut same) = (look(), 0);
        wait_until("rest in the world", || {
            let now = look();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same >= 25
        });
        last
    }

    /// Waits until the world is as `wanted`; how `look` sees it is up to the caller.
    #[track_caller]
    pub(crate) fn becomes(wanted: &Value, what: &str, look: impl Fn() -> Value) {
        let mut last = look();
        for _ in 0..LOOKS {
            if last == *wanted {
                return;
            }
            std::thread::sleep(PAUSE);
            last = look();
        }
        assert_eq!(last, *wanted, "{what}");
    }

    /// How often each effect happened by the oracles: the scripts' ledger, the counting server, the chat.
    pub(crate) fn effects(&self) -> BTreeMap<String, u64> {
        let mut effects = BTreeMap::new();
        let ledger = std::fs::read_to_string(self.path("ledger")).unwrap_or_default();
        let messages = self.status()["chat"].as_array().cloned().unwrap_or_default();
        // How it ended is told at every end of a run, that of a resumed one, too.
        let messages =
            messages.iter().filter_map(Value::as_str).filter(|text| !text.contains("\njournal: "));
        let messages = messages.map(|text| format!("said {text}"));
        for line in ledger.lines().map(str::to_owned).chain(messages) {
            *effects.entry(line).or_default() += 1;
        }
        effects.extend(self.counter.counts());
        effects
    }

    /// Lets scripts that wait go on.
    pub(crate) fn go(&self) {
        std::fs::write(self.path("go"), "").expect("the world is writable");
    }

    /// Waits for a line in the scripts' ledger.
    pub(crate) fn wait_for(&self, line: &str) {
        wait_until(line, || {
            let ledger = std::fs::read_to_string(self.path("ledger")).unwrap_or_default();
            ledger.lines().any(|found| found == line)
        });
    }
}

fn ask(url: &str, method: &str, path: &str) -> std::io::Result<String> {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    let _length = stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(answer)),
    }
}
