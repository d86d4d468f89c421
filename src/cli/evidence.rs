//! `rollback evidence`: what the systems can tell about the time around a run, in one archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::archive::Archive;
use super::context::Context;
use super::error::{CliError, UNEXPECTED};
use super::ledger::{Ledger, no_start};
use super::lock::LockArgs;
use super::open;
use crate::action::{ActionError, Gather, Gathering, Piece, ResolveContext};
use crate::environment::{Environment, PATTERNS};
use crate::event::Event;
use crate::journal;
use crate::report::patterns::Patterns;
use crate::report::style::{DOUBT, paint};
use crate::report::text::sanitize;
use crate::report::{View, json as documents, markdown};

/// How much time before the incident and after the run counts.
const MARGIN: Duration = Duration::from_secs(600);
/// How long all systems together may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most bytes of one piece.
const MOST: usize = 2 << 20;

/// Gather logs, metrics and files around a run into one archive
///
/// What is gathered stands in the environment under `evidence`. Beside it come the run's journal, its report and its plan, and a manifest
/// with the SHA-256 of every piece, what was left out, and what could not be had and why: a system that is down costs its own part alone.
#[derive(Debug, Args)]
pub(super) struct EvidenceArgs {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// The archive [default: rollback-evidence-RUN-TIME.tar.gz in the current folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    lock: LockArgs,
}

/// What was measured: its mean before and after the rollback.
type Compared = BTreeMap<String, (Option<f64>, Option<f64>)>;

pub(super) async fn run(cx: &Context, args: EvidenceArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    let history = journal::read(&run.journal_path())?;
    let view = View::of(&history.records).ok_or_else(no_start)?;
    let mut archive = Archive::default();
    own_pieces(&mut archive, &run, &view, &history.head())?;
    let now = crate::clock::now();
    let (patterns, compared) = gather(cx, &view, now, &mut archive).await;
    let failures = patterns.count(archive.pieces());
    let by = super::actor::this_process();
    let folder = format!("rollback-evidence-{}-{}", run.id(), now.strftime("%Y%m%d-%H%M%S"));
    let path = args.output.unwrap_or_else(|| format!("{folder}.tar.gz").into());
    let manifest = json!({
        "format": 1,
        "run": run.id(),
        "made": now,
        "by": by,
        "members": archive.members,
        "missing": archive.missing,
        "failures": failures,
    });
    let sha256 = archive.write(&path, &folder, format!("{manifest:#}\n").as_bytes());
    let sha256 = sha256.map_err(|error| {
        CliError::new(UNEXPECTED, format!("write {}", path.display()))
            .caused_by(&error)
            .hint("Name another place with `--output FILE`.")
    })?;
    tell(cx, &path, &archive, &failures);
    let event = Event::EvidenceGathered {
        by: by.clone(),
        archive: std::path::absolute(&path).unwrap_or(path).display().to_string(),
        sha256,
        pieces: archive.members.len(),
        missing: archive.missing,
        failures,
        compared,
    };
    match Ledger::open(&run, &by, args.lock.left_elsewhere()).await? {
        Some(mut ledger) => {
            ledger.append(event).await?;
            let _view = ledger.close().await?;
        }
        None => cx.output.progress("the run goes on, so its journal does not name this archive"),
    }
    Ok(0)
}

/// What the run itself has left.
fn own_pieces(
    archive: &mut Archive,
    run: &journal::Run,
    view: &View,
    head: &str,
) -> Result<(), CliError> {
    let path = run.journal_path();
    let journal = std::fs::read(&path).map_err(|error| {
        CliError::new(UNEXPECTED, format!("read {}", path.display())).caused_by(&error)
    })?;
    archive.add("run/journal.jsonl", journal, 0);
    archive.add("run/report.md", markdown::document(view, head).into_bytes(), 0);
    archive.add("run/report.json", format!("{:#}\n", documents::document(view)).into_bytes(), 0);
    archive.add("run/plan.md", crate::plan::explain(&view.header.plan).into_bytes(), 0);
    archive.add("run/runbook.yaml", view.header.runbook_text.as_bytes().to_vec(), 0);
    Ok(())
}

/// Asks every system that the environment names, all at the same time. Returns what a failure looks like there.
async fn gather(
    cx: &Context,
    view: &View,
    now: Timestamp,
    archive: &mut Archive,
) -> (Patterns, Compared) {
    let registry = Arc::new(crate::adapters::registry());
    let path = Path::new(&view.header.environment_path);
    let (environment, resolve) = match open::enter(cx, path, registry, &cx.config).await {
        Ok(entered) => entered,
        Err(error) => {
            let text = anstream::adapter::strip_str(&error.lines().join("; ")).to_string();
            let _new = archive.missing.insert("environment".to_owned(), text);
            return (Patterns::default(), Compared::new());
        }
    };
    let deadline = Instant::now() + PATIENCE;
    let began = view.header.since.unwrap_or(view.header.started);
    let (since, until) = (began - MARGIN, now.min(view.at + MARGIN));
    let asked = systems(&environment, &resolve).map(|(key, gather, settings)| {
        let rollback = (view.header.started, view.at);
        let gathering = Gathering { settings, since, until, rollback, most: MOST, deadline };
        let connections = resolve.connections.clone();
        async move {
            let answer = tokio::time::timeout_at(deadline, gather(&connections, &gathering)).await;
            (key, answer.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs())))
        }
    });
    let mut compared = Compared::new();
    for (key, answer) in join_all(asked.collect::<Vec<_>>()).await {
        match answer {
            Ok(Ok(pieces)) => {
                for piece in pieces {
                    let metric = piece.name.trim_end_matches(".json").to_owned();
                    compared.extend(piece.compared.map(|means| (metric, means)));
                    take(archive, key, piece, &resolve);
                }
            }
            Ok(Err(error)) => {
                let _new = archive.missing.insert(key.to_owned(), why(&error, &resolve));
            }
            Err(late) => {
                let _new = archive.missing.insert(key.to_owned(), late);
            }
        }
    }
    let declared = environment.evidence.get(PATTERNS).cloned().unwrap_or_default();
    let patterns = Patterns::read(declared).unwrap_or_else(|problem| {
        let _new = archive.missing.insert(PATTERNS.to_owned(), problem);
        Patterns::default()
    });
    (patterns, compared)
}

/// The systems that the environment names, with how they are asked and for what.
fn systems<'a>(
    environment: &'a Environment,
    resolve: &'a ResolveContext,
) -> impl Iterator<Item = (&'static str, Gather, serde_json::Value)> + 'a {
    resolve.registry.connections().filter_map(|connection| {
        let settings = environment.evidence.get(connection.key)?;
        Some((connection.key, connection.gather?, settings.clone()))
    })
}

/// Takes a piece in, without the secrets that the environment knows.
fn take(archive: &mut Archive, key: &str, piece: Piece, resolve: &ResolveContext) {
    let name = format!("{key}/{}", piece.name);
    match piece.content {
        Ok(content) => {
            let text = String::from_utf8_lossy(&content);
            let clean = resolve.connections.secrets().redact(&text);
            archive.add(&name, clean.into_bytes(), piece.left_out);
        }
        Err(error) => {
            let _new = archive.missing.insert(name, why(&error, resolve));
        }
    }
}

fn why(error: &ActionError, resolve: &ResolveContext) -> String {
    let told = std::iter::once(format!("failed to {error}")).chain(error.causes.iter().cloned());
    resolve.connections.secrets().redact(&told.collect::<Vec<_>>().join(": "))
}

fn tell(
    cx: &Context,
    path: &Path,
    archive: &Archive,
    failures: &BTreeMap<String, BTreeMap<String, u64>>,
) {
    let pieces = archive.members.len();
    cx.output.data(format!("{} ({pieces} pieces)", sanitize(&path.display().to_string())));
    for (name, reason) in &archive.missing {
        let text = sanitize(&format!("missing: {name}: {reason}"));
        cx.output.progress(format!("{} {text}", paint(DOUBT, "!")));
    }
    for (pattern, found) in failures {
        let count: u64 = found.values().sum();
        let text = sanitize(&format!("{pattern}: {count} lines in {} pieces", found.len()));
        cx.output.progress(format!("  {text}"));
    }
}
