//! Runs one command to its end: no shell, a cleared environment, a process group of its own, bounded output.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most that is kept of the output.
const MOST_BYTES: usize = 64 << 10;
/// How long a pipe that somebody else holds open is waited for after the command has ended.
const DRAIN: Duration = Duration::from_millis(200);

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Whether it exited with 0.
    pub(super) success: bool,
    /// `exit status: 1`, or the signal.
    pub(super) status: String,
    /// The beginning of standard error and standard output.
    pub(super) output: String,
}

/// Why a command has no end to tell of.
#[derive(Debug)]
pub(super) enum NotEnded {
    /// It could not be started.
    NotStarted(std::io::Error),
    /// It was killed at the deadline.
    TimedOut,
    /// It was killed because the run stops.
    Cancelled,
}

/// Kills the group unless the command has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already, which is what is wanted.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Finds a program the way a shell would, without one.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| runs(path));
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| runs(path))
}

/// Runs `program` with `args` until it ends, time is up, or the run is cancelled.
pub(super) async fn run(
    program: &Path,
    args: &[&str],
    deadline: Instant,
    cancelled: &CancellationToken,
) -> Result<Ended, NotEnded> {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(NotEnded::NotStarted)?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(Pid::from_raw));
    let stderr = Output::of(child.stderr.take());
    let stdout = Output::of(child.stdout.take());
    let status = tokio::select! {
        biased;
        status = child.wait() => status.map_err(NotEnded::NotStarted)?,
        () = cancelled.cancelled() => return Err(NotEnded::Cancelled),
        () = tokio::time::sleep_until(deadline) => return Err(NotEnded::TimedOut),
    };
    group.0 = None;
    let mut output = stderr.text().await;
    output.push_str(&stdout.text().await);
    Ok(Ended { success: status.success(), status: status.to_string(), output })
}

/// What comes out of a pipe, read to its end while only the beginning is kept, so that a talkative command is never blocked.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn of(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let reader = tokio::spawn(read(pipe, kept.clone()));
        Self { kept, reader }
    }

    /// The text so far, once the pipe has ended or whoever still holds it has been waited for long enough.
    async fn text(mut self) -> String {
        if tokio::time::timeout(DRAIN, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: Arc<Mutex<Vec<u8>>>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = vec![0; 8192];
    // A pipe that breaks ends the text, as its end would.
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
}
