//! The world in a process of its own, which outlives the runs that are tried on it.
//!
//! A lock on `serve.lock`, held for life, says that a world runs; its control endpoint says that it answers.
//! Whoever starts one holds `start.lock`, so that two that come at once start one. The process leads its own group,
//! has no terminal, and hears SIGHUP as its load balancer does: as a reload.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::client::ask;
use super::faults::Fault;
use super::prometheus::NewValue;
use super::world::{Options, Status, World, WorldInfo};
use super::{SandboxError, postgres, store};

/// How long a world may take to answer after its start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Environment that the detached process keeps: nothing of the caller's secrets.
const KEPT: [&str; 7] =
    ["PATH", "HOME", "XDG_RUNTIME_DIR", "TMPDIR", "LANG", "RUST_LOG", POSTGRES_VARIABLE];
/// Which PostgreSQL a world gets, when the command line does not say it.
pub const POSTGRES_VARIABLE: &str = "ROLLBACK_SANDBOX_POSTGRES";

/// The folder of the world that belongs to a state folder.
pub fn world_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("sandbox")
}

/// Runs a world in `dir` in this process until it is asked to end, by its control endpoint, SIGTERM or SIGINT.
pub async fn serve(dir: &Path, options: Options) -> Result<(), SandboxError> {
    store::folder(dir)?;
    // Somebody who only looks whether a world runs holds the lock for a moment.
    let Some(_life) = lock(&dir.join("serve.lock"), Duration::from_secs(2)).await? else {
        return Err(SandboxError::Process(format!(
            "serve the sandbox in {}: it is already running",
            dir.display()
        )));
    };
    let listen = |kind| signal(kind).map_err(|error| SandboxError::Process(error.to_string()));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let world = World::start(dir, options).await?;
    tokio::select! {
        () = world.ended() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    world.close().await;
    Ok(())
}

/// The running world of a state folder, started if need be.
pub async fn ensure_running(state_dir: &Path) -> Result<WorldInfo, SandboxError> {
    let dir = world_dir(state_dir);
    let program = std::env::current_exe().map_err(SandboxError::file("find", Path::new("self")))?;
    let mut command = Command::new(program);
    command.args(["sandbox", "serve", "--dir"]).arg(&dir).env_clear();
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    ensure_with(&dir, command).await
}

async fn ensure_with(dir: &Path, command: Command) -> Result<WorldInfo, SandboxError> {
    store::folder(dir)?;
    let Some(_turn) = lock(&dir.join("start.lock"), 2 * PATIENCE).await? else {
        return Err(SandboxError::Process(format!(
            "start the sandbox in {}: somebody else has been starting it for too long",
            dir.display()
        )));
    };
    let mut child = if is_running(dir).await? { None } else { Some(spawn(dir, command)?) };
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(info) = answering(dir).await {
            return Ok(info);
        }
        let ended = match &mut child {
            Some(child) => child.try_wait().ok().flatten(),
            None => None,
        };
        if let Some(ended) = ended {
            return Err(SandboxError::Process(format!(
                "start the sandbox: it ended with {ended}: {}",
                last_line(&dir.join("serve.log"))
            )));
        }
        if Instant::now() > until {
            return Err(SandboxError::Process(format!(
                "start the sandbox: it does not answer; see {}",
                dir.join("serve.log").display()
            )));
        }
        sleep(PAUSE).await;
    }
}

/// The running world of a state folder, if there is one that answers.
pub async fn running(state_dir: &Path) -> Result<Option<WorldInfo>, SandboxError> {
    let dir = world_dir(state_dir);
    if dir.exists() && is_running(&dir).await? {
        return Ok(answering(&dir).await);
    }
    Ok(None)
}

/// What became of a running world, as it says itself.
pub async fn status(info: &WorldInfo) -> Result<Status, SandboxError> {
    answer(info, Method::GET, "/status").await
}

/// Puts a running world back to its first state.
pub async fn reset(info: &WorldInfo) -> Result<Status, SandboxError> {
    answer(info, Method::POST, "/reset").await
}

/// Adds faults to a running world, after clearing those that hold when `clear` says so.
pub async fn inject(info: &WorldInfo, faults: &[Fault], clear: bool) -> Result<(), SandboxError> {
    let address = WorldInfo::host_of(&info.control);
    let send =
        async |method: Method, body: String| match ask(method, address, "/faults", body).await? {
            (StatusCode::OK, _) => Ok(()),
            (status, body) => Err(unexpected("/faults", status, &body)),
        };
    if clear {
        send(Method::DELETE, String::new()).await?;
    }
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    send(Method::POST, lines.join("\n")).await
}

/// Gives metrics of a running world other values; all metrics, one a line.
pub async fn measure(info: &WorldInfo, values: &[NewValue]) -> Result<String, SandboxError> {
    let address = WorldInfo::host_of(&info.control);
    let lines: Vec<String> = values.iter().map(ToString::to_string).collect();
    match ask(Method::POST, address, "/metrics", lines.join("\n")).await? {
        (StatusCode::OK, metrics) => Ok(metrics),
        (status, body) => Err(unexpected("/metrics", status, &body)),
    }
}

/// Ends the world of a state folder; false when none ran. Its state stays.
pub async fn down(state_dir: &Path) -> Result<bool, SandboxError> {
    down_in(&world_dir(state_dir)).await
}

async fn down_in(dir: &Path) -> Result<bool, SandboxError> {
    if !dir.exists() {
        return Ok(false);
    }
    if !is_running(dir).await? {
        // It may have been killed, and have left its database.
        postgres::settle(dir).await?;
        return Ok(false);
    }
    let info = WorldInfo::read(dir)?;
    let (status, body) =
        ask(Method::POST, WorldInfo::host_of(&info.control), "/down", String::new()).await?;
    if status != StatusCode::ACCEPTED {
        return Err(unexpected("/down", status, &body));
    }
    match lock(&dir.join("serve.lock"), PATIENCE).await? {
        Some(_ended) => Ok(true),
        None => Err(SandboxError::Process(format!(
            "end the sandbox: process {} still runs; end it with `kill {}`",
            info.pid, info.pid
        ))),
    }
}

async fn answer(info: &WorldInfo, method: Method, path: &str) -> Result<Status, SandboxError> {
    let address = WorldInfo::host_of(&info.control);
    let (status, body) = ask(method, address, path, String::new()).await?;
    if status != StatusCode::OK {
        return Err(unexpected(path, status, &body));
    }
    serde_json::from_str(&body)
        .map_err(|error| SandboxError::Request { what: path.to_owned(), why: error.to_string() })
}

fn unexpected(path: &str, status: StatusCode, body: &str) -> SandboxError {
    SandboxError::Request { what: path.to_owned(), why: format!("{status}: {body}") }
}

/// The world in `dir`, when it answers as itself and not as one that had its port before.
async fn answering(dir: &Path) -> Option<WorldInfo> {
    let info = WorldInfo::read(dir).ok()?;
    let address = WorldInfo::host_of(&info.control);
    let (_, body) = ask(Method::GET, address, "/ping", String::new()).await.ok()?;
    let pid = serde_json::from_str::<Value>(&body).ok()?.get("pid")?.as_u64()?;
    (pid == u64::from(info.pid)).then_some(info)
}

async fn is_running(dir: &Path) -> Result<bool, SandboxError> {
    Ok(lock(&dir.join("serve.lock"), Duration::ZERO).await?.is_none())
}

/// Takes the lock on a file, waiting at most so long; none when somebody else keeps it.
async fn lock(path: &Path, patience: Duration) -> Result<Option<File>, SandboxError> {
    let until = Instant::now() + patience;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(SandboxError::file("open", path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
            Err(TryLockError::WouldBlock) => sleep(PAUSE).await,
            Err(TryLockError::Error(error)) => {
                return Err(SandboxError::file("lock", path)(error));
            }
        }
    }
}

fn spawn(dir: &Path, mut command: Command) -> Result<std::process::Child, SandboxError> {
    let path = dir.join("serve.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(SandboxError::file("open", &path))?;
    let twin = log.try_clone().map_err(SandboxError::file("open", &path))?;
    let program = PathBuf::from(command.get_program());
    command
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(twin)
        .spawn()
        .map_err(SandboxError::file("run", &program))
}

fn last_line(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: &str = "ROLLBACK_TEST_WORLD";

    /// Not a test of its own: what the test below runs as the detached process.
    #[tokio::test]
    #[ignore = "is run by another test, in a process of its own"]
    async fn child_that_serves() {
        let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
        let options = Options { agents: 2, speed: 100.0, ..Options::default() };
        serve(&dir, options).await.unwrap();
    }

    fn child(dir: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "sandbox::process::tests::child_that_serves"]);
        command.env(DIR, dir);
        command
    }

    #[tokio::test]
    async fn two_that_start_at_once_start_one_and_its_state_survives() {
        let state = tempfile::tempdir().unwrap();
        let dir = world_dir(state.path());
        let (one, two) =
            tokio::join!(ensure_with(&dir, child(&dir)), ensure_with(&dir, child(&dir)));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one, two);
        assert_ne!(one.pid, std::process::id());
        assert_eq!(running(state.path()).await.unwrap(), Some(one.clone()));
        let second = serve(&dir, Options::default()).await.unwrap_err();
        assert!(second.to_string().contains("already running"), "{second}");

        let docker =
            bollard::Docker::connect_with_unix(&one.docker, 10, bollard::API_DEFAULT_VERSION)
                .unwrap();
        docker.stop_container("legacy-agent-001-1", None).await.unwrap();
        assert!(down(state.path()).await.unwrap());
        assert!(!down(state.path()).await.unwrap());
        assert_eq!(running(state.path()).await.unwrap(), None);

        let again = ensure_with(&dir, child(&dir)).await.unwrap();
        let found = status(&again).await.unwrap();
        assert_eq!(found.containers["legacy"]["exited"], 1);
        assert_eq!(found.effects["stop legacy/agent-001"], 1);
        assert_eq!(again.chat.rsplit('/').next(), one.chat.rsplit('/').next());
        let fault: Fault = "blue:error=500".parse().unwrap();
        inject(&again, &[fault], true).await.unwrap();
        assert_eq!(status(&again).await.unwrap().faults, ["blue:error=500"]);
        let found = reset(&again).await.unwrap();
        assert!(found.faults.is_empty());
        assert_eq!(found.containers["legacy"]["running"], 2);
        assert_eq!(found.effects_total, 0);
        assert!(down(state.path()).await.unwrap());
    }
}
