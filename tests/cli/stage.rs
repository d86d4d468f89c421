//! A project with a runbook or two, and a sandbox of three agents that works twenty times as fast as real systems.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::output::CommandOutput;
use crate::support::wait_until;
use crate::support::world::{Running, World};

/// What differs from run to run in what the program says about runs, beside what [`World::redacted`] hides.
const REDACTIONS: [(&str, &str); 11] = [
    (r"\b\d{8}-\d{4}-[0-9a-z]{4}\b", "[RUN]"),
    (r"(?m)^ +\d+:\d\d  ", "   [AT]  "),
    (
        r"(RECOVERED in|RECOVERED after|STOPPED after|recovered in|failed in|late in) \d+m?s\b",
        "$1 [TIME]",
    ),
    (r"(after|in) \d+s\b", "$1 [TIME]"),
    (r"(?m)  (\[TIME\]|\d+s)$", "  [TIME]"),
    (r" +(\[TIME\]|\d+s) of (\S+) +", "  [TIME] of $2  "),
    (r"tester@\S+", "tester@[HOST]"),
    (r"\b[0-9a-f]{64}\b", "[SHA256]"),
    (r"\| \d+:\d\d \|", "| [AT] |"),
    (r"\| \d+s \|", "| [TIME] |"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "[MINUTE]"),
];

/// The folder of this crate.
pub(super) fn crate_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Starts the sandbox of a world, with the PostgreSQL that `--postgres` chooses, and waits until it answers.
pub(super) fn serve(world: &World, postgres: &str) -> Running {
    let mut serve = world.program();
    let dir = world.path("state/rollback/sandbox");
    serve.args(["sandbox", "serve", "--agents", "3", "--speed", "20"]);
    serve.args(["--postgres", postgres, "--dir"]).arg(dir);
    let sandbox = Running::start(&mut serve);
    wait_until("the sandbox", || world.rollback(["sandbox", "status"]).code() == Some(0));
    sandbox
}

/// A world with a sandbox that serves.
pub(super) struct Stage {
    pub(super) world: World,
    _sandbox: Running,
}

impl Stage {
    /// A project with the shipped runbooks.
    pub(super) fn shipped() -> Self {
        Self::shipped_with("none")
    }

    /// The same with the PostgreSQL that `--postgres` chooses.
    pub(super) fn shipped_with(postgres: &str) -> Self {
        let world = World::new();
        let stage = Self { _sandbox: serve(&world, postgres), world };
        let files =
            ["emergency.yaml", "validation.yaml", "prevention.yaml", "environments/sandbox.yaml"];
        for file in files {
            let text = std::fs::read_to_string(crate_root().join("runbooks/ollama").join(file));
            let _path = stage
                .world
                .write(Path::new("home/runbooks/ollama").join(file), &text.expect("it is shipped"));
        }
        stage
    }

    /// A project with all runbooks and files of a procedure, with the PostgreSQL that `--postgres` chooses.
    pub(super) fn procedure(name: &str, postgres: &str) -> Self {
        let world = World::new();
        let stage = Self { _sandbox: serve(&world, postgres), world };
        let folder = crate_root().join("runbooks").join(name);
        for within in ["", "environments"] {
            for entry in std::fs::read_dir(folder.join(within)).expect("it is shipped") {
                let path = entry.expect("a file").path();
                if let Ok(text) = std::fs::read_to_string(&path) {
                    let place = path.strip_prefix(crate_root()).expect("a file of this crate");
                    let _path = stage.world.write(Path::new("home").join(place), &text);
                }
            }
        }
        stage
    }

    /// A project with this runbook, named `small`, and the shipped sandbox environment.
    pub(super) fn with(phases: &str) -> Self {
        let stage = Self::empty();
        stage.add("small", "emergency", phases);
        let path = crate_root().join("runbooks/ollama/environments/sandbox.yaml");
        let environment = std::fs::read_to_string(path).expect("it is shipped");
        let _path = stage.world.write("home/runbooks/environments/sandbox.yaml", &environment);
        stage
    }

    /// Adds a runbook.
    pub(super) fn add(&self, name: &str, scenario: &str, rest: &str) {
        let head = format!(
            "version: 1\nname: {name}\ntitle: The {name} runbook\nscenario: {scenario}\nsubject: {name}\n"
        );
        let _path = self.world.write(format!("home/runbooks/{name}.yaml"), &(head + rest));
    }

    /// No project, but a sandbox without a database.
    pub(super) fn empty() -> Self {
        let world = World::new();
        let sandbox = serve(&world, "none");
        Self { world, _sandbox: sandbox }
    }

    /// Runs the program in the project's folder.
    pub(super) fn rollback(&self, line: &str) -> CommandOutput {
        let words = shell_words::split(line).expect("a command line");
        self.world.rollback(words)
    }

    /// The world from its own side.
    pub(super) fn status(&self) -> Value {
        self.rollback("sandbox status --format json").expect_code(0).json()
    }

    /// Adds the environment `elsewhere` beside that of the sandbox: the same systems, of which nothing says that they can be reset.
    pub(super) fn add_elsewhere(&self, folder: &str, more: &str) {
        let info = self.world.path("state/rollback/sandbox/world.json");
        let info = std::fs::read_to_string(info).expect("the sandbox has told where it is");
        let info: Value = serde_json::from_str(&info).expect("JSON");
        let folder = Path::new("home").join(folder).join("environments");
        let text = std::fs::read_to_string(self.world.path(folder.join("sandbox.yaml")));
        let text = text.expect("it is there");
        // Without a database there is no such connection.
        let lines = text.lines().filter(|line| {
            !line.trim_start().starts_with("postgres: {") || !info["postgres"].is_null()
        });
        let mut rest = lines.collect::<Vec<_>>().join("\n");
        let (mut said, engine) = (String::new(), minijinja::Environment::new());
        while let Some((before, from)) = rest.split_once("{{ ") {
            let (expression, after) = from.split_once(" }}").expect("a template's end");
            let template = format!("{{{{ {expression} }}}}");
            let value = engine.render_str(
                &template,
                minijinja::value::Serde(serde_json::json!({"sandbox": info})),
            );
            said += &format!("{before}{}", value.expect("it can be worked out"));
            rest = after.to_owned();
        }
        said += &rest;
        let mut said =
            said.replace("sandbox: true\n", "").replace("name: sandbox", "name: elsewhere");
        for (rendered, truth) in [("True", "true"), ("False", "false")] {
            said = said.replace(&format!("\"{rendered}\""), truth);
        }
        let _path = self.world.write(folder.join("elsewhere.yaml"), &format!("{said}\n{more}"));
    }

    /// Where the green service is: `127.0.0.1:PORT`.
    pub(super) fn green(&self) -> String {
        self.address("green")
    }

    /// Where a part of the sandbox is: `127.0.0.1:PORT`.
    pub(super) fn address(&self, part: &str) -> String {
        let path = self.world.path("state/rollback/sandbox/world.json");
        let info = std::fs::read_to_string(path).expect("the sandbox has told where it is");
        let info: Value = serde_json::from_str(&info).expect("JSON");
        let address = info[part].as_str().expect("an address");
        address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/').to_owned()
    }

    /// Snapshots hide what differs from run to run, for as long as the guard lives.
    pub(super) fn redacted(&self) -> Redacted {
        let world = self.world.redacted();
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(&env!("CARGO_BIN_EXE_rollback").replace('.', r"\."), "[PROGRAM]");
        for (pattern, shown) in REDACTIONS {
            settings.add_filter(pattern, shown);
        }
        Redacted { _inner: settings.bind_to_scope(), _world: world }
    }
}

/// Ends the inner scope before the outer one.
pub(super) struct Redacted {
    _inner: insta::internals::SettingsBindDropGuard,
    _world: insta::internals::SettingsBindDropGuard,
}
