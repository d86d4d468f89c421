//! A staging of a test's own beside any other: `scripts/staging` with a name, a folder and ports that nobody else has, and the
//! shipped runbook with the same names in place of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uuid::Uuid;

use crate::support::counter::Counter;
use crate::support::docker::docker;
use crate::support::output::CommandOutput;
use crate::support::world::World;

/// The ports that `scripts/staging` uses, without their first three digits.
const PORTS: [&str; 22] = [
    "32", "43", "44", "45", "70", "71", "72", "73", "74", "75", "79", "80", "81", "82", "90", "91",
    "92", "93", "94", "95", "96", "97",
];

/// One container of a fleet, as the engine tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) running: bool,
    pub(super) healthy: bool,
    pub(super) image: String,
    pub(super) parked: bool,
}

/// The servers, deployed with green live; removed when dropped.
pub(super) struct Stage {
    world: World,
    pub(super) name: String,
    pub(super) agents: usize,
    ports: String,
    runbook: PathBuf,
    /// The chat that the runbook's messages go to, by their first two words.
    pub(super) chat: Counter,
}

impl Stage {
    pub(super) fn start(agents: usize) -> Self {
        let name = format!("t{}", &Uuid::new_v4().simple().to_string()[..8]);
        let chat = Counter::start(|_, body| {
            let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
            let text = body["text"].as_str().unwrap_or_default();
            text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        });
        let (world, ports) = (World::new(), free_ports());
        // PostgreSQL, as a user of its own, has to pass.
        let passable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(world.path(""), passable).expect("the world is ours");
        let mut stage = Self { world, name, agents, ports, runbook: PathBuf::new(), chat };
        stage.write_runbook();
        stage.script("up");
        stage
    }

    /// The shipped files, with this staging's names.
    fn write_runbook(&mut self) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/ollama");
        let read = |name: &str| std::fs::read_to_string(shipped.join(name)).expect("it is shipped");
        let (name, root) = (&self.name, self.root());
        let runbook = read("emergency.yaml")
            .replace("project: legacy", &format!("project: {name}-legacy"))
            .replace("project: ollama-optimized", &format!("project: {name}-ollama-optimized"));
        let environment = read("environments/staging.yaml")
            .replace("/srv/rollback-staging", &root.to_string_lossy())
            .replace("127.0.0.1:180", &format!("127.0.0.1:{}", self.ports))
            .replace("port: 180", &format!("port: {}", self.ports))
            .replace("legacy/agent:1.0.0", &format!("{name}-legacy/agent:1.0.0"));
        let locks = self.world.path("locks");
        let environment = format!("{environment}\nlock_dir: {}\n", locks.display());
        self.runbook = self.world.write("home/runbooks/emergency.yaml", &runbook);
        let _path = self.world.write("home/runbooks/environments/staging.yaml", &environment);
    }

    /// The folder that stands for the machine's.
    pub(super) fn root(&self) -> PathBuf {
        self.world.path("stage")
    }

    /// Back to deployed-green, and no runs.
    pub(super) fn reset(&self) {
        self.script("reset");
        self.chat.clear();
        let _no_runs_yet = std::fs::remove_dir_all(self.world.path("state/rollback/runs"));
    }

    #[track_caller]
    fn script(&self, verb: &str) {
        let output = self.staging(verb).output().expect("scripts/staging can be started");
        assert!(
            output.status.success(),
            "scripts/staging {verb}:\n{}",
            CommandOutput::from(output)
        );
    }

    /// What `scripts/staging status` tells, which ends well when every server answers.
    #[track_caller]
    pub(super) fn status(&self) -> String {
        let output = self.staging("status").output().expect("scripts/staging can be started");
        CommandOutput::from(output).expect_code(0).stdout
    }

    fn staging(&self, verb: &str) -> Command {
        let mut command =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/staging"));
        command
            .arg(verb)
            .env("AGENTS", self.agents.to_string())
            .env("ROLLBACK_STAGING_NAME", &self.name)
            .env("ROLLBACK_STAGING_ROOT", self.root())
            .env("ROLLBACK_STAGING_PORTS", &self.ports)
            .stdin(Stdio::null());
        command
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.program();
        command.args(arguments).env("STAGING_SLACK_WEBHOOK_URL", self.chat.url());
        command
    }

    /// The drill, ready to start.
    pub(super) fn drill(&self) -> Command {
        let mut command = self.program(&["run"]);
        command.arg(&self.runbook).args(["--env", "staging", "--reason", "drill", "--yes"]);
        command
    }

    /// The only run, if its start is in its journal.
    pub(super) fn begun(&self) -> Option<String> {
        let runs = std::fs::read_dir(self.world.path("state/rollback/runs")).ok()?;
        let mut ids: Vec<_> = runs
            .map(|entry| entry.expect("a run's folder"))
            .filter(|entry| {
                let journal = std::fs::read(entry.path().join("journal.jsonl"));
                journal.is_ok_and(|journal| journal.contains(&b'\n'))
            })
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        assert!(ids.len() <= 1, "one run at most is there: {ids:?}");
        ids.pop()
    }

    /// `rollback resume`, ready to start.
    pub(super) fn resume(&self, run: &str) -> Command {
        self.program(&["resume", run])
    }

    /// The run as `rollback status` tells it.
    pub(super) fn told(&self, run: &str) -> serde_json::Value {
        to_end(&mut self.program(&["status", run, "--format", "json"])).expect_code(0).json()
    }

    /// Every container of a fleet: `legacy` or `ollama-optimized`.
    pub(super) fn fleet(&self, fleet: &str) -> Vec<Member> {
        const FORMAT: &str = "{{.Id}} {{index .Config.Labels \"com.docker.compose.service\"}} {{.State.Running}} \
             {{if .State.Health}}{{.State.Health.Status}}{{else}}unasked{{end}} {{.Image}} {{.Name}}";
        let filter = format!("label=com.docker.compose.project={}-{fleet}", self.name);
        let ids = docker(["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        let inspect = ["container", "inspect", "--format", FORMAT];
        let lines = docker(inspect.into_iter().chain(ids.lines()));
        let member = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            [id, service, running, health, image, name] => Member {
                id: id.to_owned(),
                service: service.to_owned(),
                running: running == "true",
                healthy: health == "healthy",
                image: image.to_owned(),
                parked: name.contains(".rollback-old-"),
            },
            _ => panic!("`{line}` has six words"),
        };
        lines.lines().map(member).collect()
    }

    /// The id of the legacy agents' image.
    pub(super) fn legacy_image(&self) -> String {
        let image = format!("{}-legacy/agent:1.0.0", self.name);
        docker(["image", "inspect", "--format", "{{.Id}}", &image])
    }

    /// What there still is of it.
    fn traces(&self) -> Vec<String> {
        let of_us = format!("name={}", self.name);
        let images = format!("reference={}*/*", self.name);
        let asked: [&[&str]; 3] = [
            &["ps", "--all", "--format", "container {{.Names}}", "--filter", &of_us],
            &["network", "ls", "--format", "network {{.Name}}", "--filter", &of_us],
            &["image", "ls", "--format", "image {{.Repository}}", "--filter", &images],
        ];
        let mut found: Vec<String> = asked
            .iter()
            .flat_map(|asked| {
                docker(asked.iter().copied()).lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        found.extend(self.root().exists().then(|| self.root().display().to_string()));
        let held = PORTS.map(|port| self.port(port)).into_iter().filter(|port| !is_free(port));
        found.extend(held.map(|port| format!("port {port}")));
        found
    }

    /// What users reach.
    pub(super) fn balancer(&self) -> String {
        format!("127.0.0.1:{}", self.port("80"))
    }

    /// One of [`PORTS`], as a whole.
    pub(super) fn port(&self, last_digits: &str) -> String {
        format!("{}{last_digits}", self.ports)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let down = self.staging("down").output();
        let succeeded = down.as_ref().is_ok_and(|output| output.status.success());
        // A second panic would hide why the test failed.
        if !std::thread::panicking() {
            assert!(succeeded, "failed to remove {}: {down:?}", self.name);
            assert_eq!(self.traces(), Vec::<String>::new(), "{} is removed", self.name);
        }
    }
}

/// Runs a program to its end, however long a large fleet takes.
pub(super) fn to_end(command: &mut Command) -> CommandOutput {
    command.output().expect("the program can be started").into()
}

fn free_ports() -> String {
    (190..320)
        .map(|digits| digits.to_string())
        .find(|digits| PORTS.iter().all(|port| is_free(&format!("{digits}{port}"))))
        .expect("some ports are free")
}

fn is_free(port: &str) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse().expect("a port"))).is_ok()
}
