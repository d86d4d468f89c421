//! `rollback doctor`

use std::path::Path;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;

use super::context::Context;
use super::error::{CliError, REFUSED};
use super::open;
use crate::environment::locate;
use crate::journal::LockDir;
use crate::report::style::{BAD, DOUBT, FAINT, GOOD, paint};
use crate::report::text::sanitize;

/// How long one system may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Find out what would stand in the way of a run: state, locks, configuration, connections
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Ask the systems of this environment, too
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
}

pub(super) async fn run(cx: &Context, args: DoctorArgs) -> Result<u8, CliError> {
    let mut healthy = true;
    let mut tell = |name: &str, answer: Result<String, (String, Vec<String>)>| match answer {
        Ok(text) => cx.output.data(format!("{} {name:<14} {}", paint(GOOD, "✓"), sanitize(&text))),
        Err((text, hints)) => {
            healthy = false;
            cx.output.data(format!("{} {name:<14} failed to {}", paint(BAD, "✗"), sanitize(&text)));
            for hint in &hints {
                cx.output.data(format!("  hint: {}", sanitize(hint)));
            }
        }
    };
    let config = cx.config.clone();
    let read: Vec<_> = config.files.iter().map(|path| path.display().to_string()).collect();
    tell(
        "configuration",
        Ok(if read.is_empty() { "no rollback.yaml; defaults".to_owned() } else { read.join(", ") }),
    );
    let store = open::store(cx, &config);
    tell(
        "state",
        match &store {
            Ok(store) => Ok(format!("{} can be written", store.dir().display())),
            Err(error) => {
                let why: Vec<_> =
                    std::iter::once(&error.message).chain(&error.causes).cloned().collect();
                Err((why.join(": "), error.hints.clone()))
            }
        },
    );
    if let Ok(store) = &store {
        match LockDir::usual(store.dir()) {
            Ok((_, None)) => tell("locks", Ok("shared by all users of this machine".to_owned())),
            Ok((_, Some(warning))) => {
                cx.output.data(format!(
                    "{} {:<14} {}",
                    paint(DOUBT, "!"),
                    "locks",
                    sanitize(&warning)
                ));
            }
            Err(error) => tell("locks", Err((error.to_string(), error.hints()))),
        }
    }
    match args.env.as_deref().or(config.environment.as_deref()) {
        None => {
            cx.output.data(paint(FAINT, "  add `--env NAME` to ask the systems of an environment"));
        }
        Some(env) => {
            for (name, answer) in systems(cx, env, &config).await? {
                tell(&name, answer);
            }
        }
    }
    Ok(if healthy { 0 } else { REFUSED })
}

type Answer = (String, Result<String, (String, Vec<String>)>);

async fn systems(
    cx: &Context,
    env: &str,
    config: &crate::environment::Config,
) -> Result<Vec<Answer>, CliError> {
    let here = std::env::current_dir().unwrap_or_default();
    let found = runbook_folder(&here, config);
    let choice = locate::locate(Some(env), &found, config).map_err(|error| {
        CliError::new(super::error::USAGE, error.to_string()).hints(error.hints())
    })?;
    let registry = std::sync::Arc::new(crate::adapters::registry());
    let (_, resolve) = open::enter(cx, &choice.path, registry, config).await?;
    let asked = resolve.registry.connections().filter_map(|connection| {
        let reach = connection.reach.filter(|_| resolve.connections.has(connection.key))?;
        let connections = &resolve.connections;
        Some(async move {
            let answer = match tokio::time::timeout(PATIENCE, reach(connections)).await {
                Ok(Ok(line)) => Ok(line),
                Ok(Err(error)) => Err((error.message, error.hints)),
                Err(_) => {
                    Err((format!("get an answer within {} s", PATIENCE.as_secs()), Vec::new()))
                }
            };
            (connection.key.to_owned(), answer)
        })
    });
    Ok(join_all(asked).await)
}

/// Environments are looked for beside runbooks: the first runbook of the project, or this folder.
fn runbook_folder(here: &Path, config: &crate::environment::Config) -> std::path::PathBuf {
    crate::environment::runbooks::search(here, config)
        .0
        .into_iter()
        .next()
        .map_or_else(|| here.join("runbook.yaml"), |found| found.path)
}
