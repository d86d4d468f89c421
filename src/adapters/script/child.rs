//! One child process from its start to its certain end.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use rustix::process::{Pid, Signal};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::capture::{Capture, Captured};
use super::exit::Exit;
use super::process::{MARK_VARIABLE, Note, Part, kill_marked};
use super::program::Program;
use crate::action::{ActionError, ErrorKind, StepContext};
use crate::secret::Secrets;
use crate::value::Lasting;

/// What every child inherits when it is set; anything else only when the runbook names it.
pub(super) const INHERITED: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

/// How long a pipe may stay open after the child has ended, held by something that it started.
const LEAK: Duration = Duration::from_millis(200);

/// How long a child has between SIGTERM and SIGKILL when the run is told to stop at once.
const GRACE_AT_STOP: Duration = Duration::from_secs(1);

/// How much of an output is read at a time, in bytes. Most children say less.
const PORTION: usize = 8 * 1024;

/// Everything around a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Surroundings {
    /// Variables by name; values may be secret markers.
    pub(super) env: IndexMap<String, String>,
    /// Further variables to take from this program's environment.
    pub(super) inherit: Vec<String>,
    /// The working directory.
    pub(super) cwd: Option<PathBuf>,
    /// Text for the standard input; nothing is `/dev/null`. May be a secret marker.
    pub(super) stdin: Option<String>,
    /// Bytes kept of each of the two outputs.
    pub(super) output_limit: usize,
    /// Time between SIGTERM and SIGKILL.
    pub(super) grace: Lasting,
}

/// How a child came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It ended by itself.
    Itself(ExitStatus),
    /// The time was up.
    TimedOut,
    /// The run was told to stop at once.
    Cancelled,
}

/// A child that has ended, and whose process group is empty.
#[derive(Debug)]
pub(super) struct Ended {
    /// How.
    pub(super) end: End,
    /// Its standard output.
    pub(super) stdout: Captured,
    /// Its standard error.
    pub(super) stderr: Captured,
    /// Whether something that it started still held its output open and was killed.
    pub(super) leaked: bool,
}

/// Starts the command and returns when its process group has ended, at `cx.deadline()` at the latest.
/// A child that makes a change is written down while it runs, so that it is found again after a crash.
/// An error says that nothing was started, unless its kind is `Unknown`.
pub(super) async fn run(
    cx: &StepContext,
    program: &Program,
    around: &Surroundings,
    secrets: &Secrets,
    part: Part,
) -> Result<Ended, ActionError> {
    let mut running = Running::start(cx, program, around, secrets, part)?;
    let grace = around.grace.0.min(cx.remaining() / 5);
    let stopped = tokio::select! {
        () = running.exit.wait() => None,
        () = cx.cancelled().cancelled() => Some((End::Cancelled, grace.min(GRACE_AT_STOP))),
        () = sleep_until(cx.deadline() - grace) => Some((End::TimedOut, grace)),
    };
    let leaked = match stopped {
        None => !running.streams.drained(Instant::now() + LEAK).await,
        Some((_, grace)) => {
            running.ask_to_end(cx.deadline().min(Instant::now() + grace)).await;
            false
        }
    };
    let end = stopped.map(|(end, _)| end);
    running.collect(end, leaked, secrets).await.map_err(|error| {
        let message = format!("learn how `{}` ended", program.path.display());
        ActionError::new(ErrorKind::Unknown, message).caused_by(&error)
    })
}

/// A child at work.
struct Running {
    child: Child,
    group: Group,
    exit: Exit,
    streams: Streams,
}

impl Running {
    fn start(
        cx: &StepContext,
        program: &Program,
        around: &Surroundings,
        secrets: &Secrets,
        part: Part,
    ) -> Result<Self, ActionError> {
        let shown = program.path.display();
        if cx.cancelled().is_cancelled() {
            return Err(ActionError::new(ErrorKind::Cancelled, format!("start `{shown}`")));
        }
        if cx.remaining().is_zero() {
            return Err(ActionError::new(ErrorKind::TimedOut, format!("start `{shown}` in time")));
        }
        let mark = part.mark(cx);
        let mut child = prepare(program, around, secrets, &mark)?
            .spawn()
            .map_err(|error| not_started(program, &error))?;
        let unknown =
            |what: &str| ActionError::new(ErrorKind::Unknown, format!("{what} `{shown}`"));
        let group = Group::of(&child, mark).ok_or_else(|| unknown("learn the process id of"))?;
        let exit = Exit::of(group.leader)
            .map_err(|error| unknown("listen to the end of").caused_by(&error))?;
        if part != Part::Look {
            let note = Note::started(part, group.leader, shown.to_string());
            note.jot(cx).map_err(|error| ActionError { kind: ErrorKind::Unknown, ..error })?;
        }
        let streams = Streams::of(&mut child, around, secrets);
        Ok(Self { child, group, exit, streams })
    }

    /// Sends SIGTERM and waits until all is quiet, at most until `end`. SIGKILL follows in any case.
    async fn ask_to_end(&mut self, end: Instant) {
        self.group.signal(Signal::TERM);
        let quiet = async {
            self.exit.wait().await;
            self.streams.drained(end).await
        };
        timeout_at(end, quiet).await.ok();
    }

    /// Kills what is left of the group and collects the child and its output.
    async fn collect(
        mut self,
        stopped: Option<End>,
        leaked: bool,
        secrets: &Secrets,
    ) -> std::io::Result<Ended> {
        let mark = self.group.mark.clone();
        let status = self.group.end(&mut self.child).await?;
        if stopped.is_some() {
            // Everything in the group is dead, so what is left in the pipes is there already.
            let _all = self.streams.drained(Instant::now() + LEAK).await;
            let killed = tokio::task::spawn_blocking(move || kill_marked(mark)).await;
            killed.map_err(std::io::Error::other)?;
        }
        let [stdout, stderr] = self.streams.captured(secrets);
        Ok(Ended { end: stopped.unwrap_or(End::Itself(status)), stdout, stderr, leaked })
    }
}

fn not_started(program: &Program, error: &std::io::Error) -> ActionError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Failed,
    };
    ActionError::new(kind, format!("start `{}`", program.path.display())).caused_by(error)
}

fn prepare(
    program: &Program,
    around: &Surroundings,
    secrets: &Secrets,
    mark: &str,
) -> Result<Command, ActionError> {
    program.check()?;
    let mut command = Command::new(&program.path);
    let command_ref = command
        .args(&program.arguments)
        .env_clear()
        .stdin(if around.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for name in INHERITED.into_iter().chain(around.inherit.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command_ref.env(name, value);
        }
    }
    for (name, value) in &around.env {
        command_ref.env(name, secrets.reveal(value).expose_secret());
    }
    command_ref.env(MARK_VARIABLE, mark);
    if let Some(folder) = &around.cwd {
        command_ref.current_dir(folder);
    }
    Ok(command)
}

/// A child's process group. Dropping it kills the group, so a dropped step leaves nothing behind.
struct Group {
    leader: Pid,
    mark: String,
    ended: bool,
}

impl Group {
    fn of(child: &Child, mark: String) -> Option<Self> {
        let leader = Pid::from_raw(i32::try_from(child.id()?).ok()?)?;
        Some(Self { leader, mark, ended: false })
    }

    /// Signals everything in the group. That it is gone already is no error.
    fn signal(&self, signal: Signal) {
        rustix::process::kill_process_group(self.leader, signal).ok();
    }

    /// Kills what is left of the group, then collects the child.
    async fn end(mut self, child: &mut Child) -> std::io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.ended = true;
        child.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(Signal::KILL);
        }
    }
}

/// The three streams of a child, served while it runs.
struct Streams {
    readers: JoinSet<()>,
    // Held for its `Drop`, which ends the writing.
    _writer: JoinSet<()>,
    captures: [Arc<Mutex<Capture>>; 2],
}

impl Streams {
    fn of(child: &mut Child, around: &Surroundings, secrets: &Secrets) -> Self {
        let captures = [(); 2].map(|()| Arc::new(Mutex::new(Capture::new(around.output_limit))));
        let mut readers = JoinSet::new();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let [out, err] = captures.clone();
        // One task for both: at the end of a child they end together.
        let _task = readers.spawn(async move {
            tokio::join!(drain(stdout, out), drain(stderr, err));
        });
        let mut writer = JoinSet::new();
        if let (Some(text), Some(mut stdin)) = (&around.stdin, child.stdin.take()) {
            let text = secrets.reveal(text);
            let _task = writer.spawn(async move {
                // A child need not read its input; its exit code tells what that means.
                stdin.write_all(text.expose_secret().as_bytes()).await.ok();
            });
        }
        Self { readers, _writer: writer, captures }
    }

    /// Waits until both outputs are closed, at most until `end`; false when something still holds them.
    async fn drained(&mut self, end: Instant) -> bool {
        timeout_at(end, async { while self.readers.join_next().await.is_some() {} }).await.is_ok()
    }

    fn captured(&self, secrets: &Secrets) -> [Captured; 2] {
        [&self.captures[0], &self.captures[1]]
            .map(|capture| capture.lock().unwrap_or_else(PoisonError::into_inner).finish(secrets))
    }
}

async fn drain(stream: Option<impl AsyncRead + Unpin>, capture: Arc<Mutex<Capture>>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = Vec::with_capacity(PORTION);
    // A broken pipe ends the output like its end does.
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        capture.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer);
        buffer.clear();
    }
}
