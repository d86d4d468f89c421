//! The nginx of an environment: test, reload, and one change at a time.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::command::{self, Ended, NotEnded};
use super::connection::{LoadbalancerConnection, NginxSettings};
use super::error_log::{Mark, told};
use crate::action::{ActionError, Connections, ErrorKind, StepContext};

/// The shared client.
pub(super) struct Nginx {
    pub(super) settings: LoadbalancerConnection,
    /// Held from the first write to the proof: the test reads all files, so two changes at once would blame each other.
    pub(super) turn: Mutex<()>,
}

impl Nginx {
    /// The nginx of these connections.
    pub(super) fn shared(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        connections.client::<LoadbalancerConnection, Self, _>(|settings, _| {
            settings.check()?;
            Ok(Self { settings, turn: Mutex::default() })
        })
    }

    fn program(&self) -> &NginxSettings {
        &self.settings.nginx
    }

    /// The command with these arguments, for people.
    fn shown(&self, args: &[&str]) -> String {
        let own = self.program().command.iter().map(String::as_str);
        let words: Vec<&str> = own.chain(args.iter().copied()).collect();
        words.join(" ")
    }

    /// Has nginx test all of its configuration. Changes nothing.
    pub(super) async fn test(&self, cx: &StepContext) -> Result<(), ActionError> {
        let ended = self.run(&["-t"], cx).await?;
        if ended.success {
            return Ok(());
        }
        let shown = self.shown(&["-t"]);
        let error = ActionError::new(
            ErrorKind::Failed,
            format!("get the configuration past `{shown}`: {}", told_by(&ended)),
        );
        Err(error.hint(format!("Mend what it names, then look with `{shown}`.")))
    }

    /// Tells nginx to take the configuration; that it was told says nothing about whether it did.
    pub(super) async fn reload(&self, cx: &StepContext) -> Result<(), ActionError> {
        let args = ["-s", "reload"];
        let ended = self.run(&args, cx).await.map_err(|error| match error.kind {
            // The signal may have been sent before the command was killed.
            ErrorKind::TimedOut | ErrorKind::Cancelled => {
                ActionError { kind: ErrorKind::Unknown, retryable: false, ..error }
            }
            _ => error,
        })?;
        if ended.success {
            return Ok(());
        }
        let shown = self.shown(&args);
        let error = ActionError::new(
            ErrorKind::Failed,
            format!("reload nginx with `{shown}`: {}", told_by(&ended)),
        );
        Err(error.hint("See whether nginx is running: a reload needs its master process."))
    }

    /// The present end of the error log.
    pub(super) fn mark(&self) -> Result<Mark, ActionError> {
        Mark::now(self.program().error_log.as_deref()).map_err(|error| {
            ActionError::new(ErrorKind::Failed, "read nginx's error log")
                .caused_by(&error)
                .hint("Mend `loadbalancer.nginx.error_log` in the environment file, or the log's permissions.")
        })
    }

    async fn run(&self, args: &[&str], cx: &StepContext) -> Result<Ended, ActionError> {
        let words = &self.program().command;
        let shown = self.shown(args);
        let missing = || {
            ActionError::new(ErrorKind::NotFound, format!("find the program of `{shown}`"))
                .hint("Mend `loadbalancer.nginx.command` in the environment file.")
        };
        let (program, own) = words.split_first().ok_or_else(missing)?;
        let path = command::find(program).ok_or_else(missing)?;
        let args: Vec<&str> = own.iter().map(String::as_str).chain(args.iter().copied()).collect();
        command::run(&path, &args, cx.deadline(), cx.cancelled()).await.map_err(|end| match end {
            NotEnded::NotStarted(error) => {
                ActionError::new(ErrorKind::Failed, format!("start `{shown}`")).caused_by(&error)
            }
            NotEnded::TimedOut => {
                ActionError::new(ErrorKind::TimedOut, format!("see `{shown}` end in time"))
            }
            NotEnded::Cancelled => {
                let text = format!("finish `{shown}`: the run was told to stop");
                ActionError::new(ErrorKind::Cancelled, text)
            }
        })
    }
}

/// nginx's own reason, or how it ended.
fn told_by(ended: &Ended) -> String {
    let last = || ended.output.lines().rfind(|line| !line.trim().is_empty());
    ended
        .output
        .lines()
        .find_map(told)
        .or_else(|| last().map(|line| line.trim().chars().take(500).collect()))
        .unwrap_or_else(|| ended.status.clone())
}
