//! An installed PostgreSQL: `initdb` once, then `postgres`, which never outlives the world.
//!
//! The server listens on a Unix socket in a private folder and on nothing else, so `trust` trusts only whoever may enter
//! that folder. `fsync=off`: like everything in a world, its data survive a killed process and not a crash of the
//! machine. It is watched over by a shell that ends it when its standard input closes, which happens
//! however the world ends, `kill -9` included.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};

use super::home::Home;
use super::{front, seed};
use crate::sandbox::{SandboxError, store};

/// How long the server may take to end after its clients were cut.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs its arguments as a child until that ends, or until the standard input does. SIGINT is PostgreSQL's fast shutdown
/// (<https://www.postgresql.org/docs/current/server-shutdown.html>); one that comes before the server listens to signals is lost, so
/// it is repeated.
const WATCH: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{ read -r line <&3; while kill -INT "$server"; do sleep 0.1; done 2>/dev/null; } &
watch=$!
wait "$server"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
"#;

/// What differs from the defaults: small, and quick rather than durable.
const SETTINGS: [&str; 8] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=32",
    "shared_buffers=16MB",
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "log_min_messages=fatal",
];

/// The programs and the data.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The folder of `postgres` and `initdb`.
    pub(super) programs: PathBuf,
    /// Where it lives.
    pub(super) home: Home,
    /// The folder of its socket.
    pub(super) sockets: PathBuf,
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Running {
    watch: Child,
    /// The watch ends the server when this closes.
    leash: Option<ChildStdin>,
    home: Home,
}

impl Cluster {
    /// Starts the server, making its data first if there are none.
    pub(super) async fn start(&self) -> Result<Running, SandboxError> {
        self.home.stop_orphan().await?;
        self.home.enter()?;
        self.make().await?;
        let mut command = self.command("sh");
        command.args(["-c", WATCH, "postgres-of-a-sandbox"]).arg(self.programs.join("postgres"));
        command.arg("-D").arg(self.home.data());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.arg("-c").arg(format!("unix_socket_directories={}", self.sockets.display()));
        command.arg("-p").arg(front::INNER_PORT.to_string());
        command.stdin(Stdio::piped());
        let mut child = command.spawn().map_err(SandboxError::file("run", Path::new("sh")))?;
        // Out of the child, whose `wait` would close it.
        let leash = child.stdin.take();
        let answers = seed::answers(&self.sockets);
        tokio::select! {
            ended = child.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(self.failed("postgres", &how))
            }
            answered = answers => answered.map(|()| Running { watch: child, leash, home: self.home.clone() }),
        }
    }

    /// `initdb` works beside the final place, so that one that is killed leaves nothing that looks finished.
    async fn make(&self) -> Result<(), SandboxError> {
        let data = self.home.data();
        if data.exists() {
            return Ok(());
        }
        let unfinished = self.home.folder.join("data.new");
        store::remove_folder(&unfinished)?;
        let mut command = self.command(self.programs.join("initdb"));
        command.arg("-D").arg(&unfinished);
        command.args([
            "-U",
            seed::USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--wal-segsize=1",
        ]);
        command.args(["--no-sync", "--no-instructions"]).stdin(Stdio::null()).kill_on_drop(true);
        let ended = command.status().await;
        let ended = ended.map_err(SandboxError::file("run", &self.programs.join("initdb")))?;
        if !ended.success() {
            return Err(self.failed("initdb", &ended.to_string()));
        }
        std::fs::rename(&unfinished, &data).map_err(SandboxError::file("move", &unfinished))
    }

    /// A program in the cluster's home, as its user, with nothing of this process's environment but the path.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").process_group(0);
        if let Some(account) = self.home.account {
            command.uid(account.uid).gid(account.gid);
        }
        command.stdout(self.log()).stderr(self.log());
        command
    }

    fn log(&self) -> Stdio {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.home.log());
        match log {
            Ok(file) => file.into(),
            Err(error) => {
                tracing::warn!(%error, "failed to keep what PostgreSQL says");
                Stdio::null()
            }
        }
    }

    fn failed(&self, program: &str, how: &str) -> SandboxError {
        let text = std::fs::read(self.home.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let said = text.lines().rev().find(|line| !line.trim().is_empty());
        let said = said.unwrap_or("it said nothing");
        SandboxError::Process(format!("run {program}: it ended with {how}: {said}"))
    }
}

impl Running {
    /// Ends the server, and with it its process group.
    pub(super) async fn stop(mut self) -> Result<(), SandboxError> {
        drop(self.leash.take());
        match tokio::time::timeout(PATIENCE, self.watch.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(SandboxError::Process(format!("end PostgreSQL: {error}"))),
            Err(_) => self.home.stop_orphan().await,
        }
    }
}
