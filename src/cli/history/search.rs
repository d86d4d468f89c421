//! `rollback history --search`: runs, drills, and the entries of the rollback log that hold all words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::HistoryArgs;
use crate::cli::context::Context;
use crate::cli::error::{CliError, UNEXPECTED, USAGE};
use crate::cli::output::Format;
use crate::journal::{self, Summary};
use crate::report::lessons::{self, Lesson};
use crate::report::search::{self, Place, Search};
use crate::report::style::{DOUBT, FAINT, STRONG, paint};
use crate::report::text::sanitize;
use crate::report::{View, drill};

/// The most places that are shown of one hit; `--format json` has all.
const MOST_PLACES: usize = 6;

/// Something that was found.
enum Hit<'a> {
    Run(&'a Summary, Vec<Place>),
    Lesson(PathBuf, Lesson, Vec<Place>),
}

/// Searches the runs that the other flags leave, newest first, then the logs.
pub(super) fn run<'a>(
    cx: &Context,
    args: &HistoryArgs,
    text: &str,
    runs: impl Iterator<Item = &'a Summary>,
) -> Result<u8, CliError> {
    let search = Search::of(text).ok_or_else(|| {
        CliError::new(USAGE, "search for nothing").hint("Name a word or two: `--search timeout`.")
    })?;
    let (mut hits, mut logs) = (Vec::new(), BTreeSet::new());
    for summary in runs {
        logs.extend(summary.header.log.as_ref().map(PathBuf::from));
        hits.extend(in_run(cx, &search, summary));
    }
    hits.truncate(args.limit);
    // A log belongs to a project, and knows neither environments nor drills.
    if !args.drills {
        logs.extend(cx.config.log.clone());
        // One that is not there yet has no entries, and one may be named in several ways.
        let mut logs: BTreeSet<PathBuf> =
            logs.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
        let named =
            args.log.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
        logs.extend(named);
        for path in logs {
            hits.extend(in_log(&search, &path)?);
        }
    }
    show(cx, &hits);
    Ok(0)
}

fn in_run<'a>(cx: &Context, search: &Search, summary: &'a Summary) -> Option<Hit<'a>> {
    let view = journal::read(&summary.run.journal_path())
        .ok()
        .and_then(|history| View::of(&history.records))?;
    let mut places = search::of_run(&view);
    match summary.run.drill() {
        Ok(drill) => places.extend(drill.iter().flat_map(search::of_drill)),
        Err(error) => {
            let text = sanitize(&format!("run {}: failed to {error}", summary.run.id()));
            cx.output.progress(format!("{} {text}", paint(DOUBT, "!")));
        }
    }
    Some(Hit::Run(summary, search.among(places)?))
}

/// The entries of a log, the newest, which stands last, first.
fn in_log<'a>(search: &Search, path: &Path) -> Result<Vec<Hit<'a>>, CliError> {
    let bytes = std::fs::read(path).map_err(|error| {
        CliError::new(UNEXPECTED, format!("read the log {}", path.display())).caused_by(&error)
    })?;
    let lessons = lessons::read(&String::from_utf8_lossy(&bytes));
    let found = lessons.into_iter().rev().filter_map(|lesson| {
        let places = search.among(search::of_lesson(&lesson))?;
        Some(Hit::Lesson(path.to_owned(), lesson, places))
    });
    Ok(found.collect())
}

fn show(cx: &Context, hits: &[Hit<'_>]) {
    match cx.output.format {
        Format::Human if hits.is_empty() => cx.output.progress("found nothing"),
        Format::Human => {
            for hit in hits {
                lines(hit).into_iter().for_each(|line| cx.output.data(line));
            }
        }
        Format::Jsonl => hits.iter().for_each(|hit| cx.output.data(entry(hit).to_string())),
        _ => {
            let hits: Vec<Value> = hits.iter().map(entry).collect();
            let document = json!({"format": 1, "hits": hits}).to_string();
            cx.output.data(crate::secret::hide_markers(&document));
        }
    }
}

fn lines(hit: &Hit<'_>) -> Vec<String> {
    let (mut lines, places) = match hit {
        Hit::Run(summary, places) => (vec![super::line(summary)], places),
        Hit::Lesson(path, lesson, places) => {
            let place = format!("{}:{}", path.display(), lesson.line);
            let (place, title) = (sanitize(&place), sanitize(&lesson.title));
            (vec![format!("{}  {title}", paint(STRONG, place))], places)
        }
    };
    lines.extend(places.iter().take(MOST_PLACES).map(|place| {
        format!(
            "  {} {}",
            paint(FAINT, format!("{}:", sanitize(&place.what))),
            sanitize(&place.text)
        )
    }));
    if let Some(more) = places.len().checked_sub(MOST_PLACES).filter(|more| *more > 0) {
        lines.push(paint(FAINT, format!("  and in {more} more places")));
    }
    lines
}

fn entry(hit: &Hit<'_>) -> Value {
    let found = |places: &[Place]| -> Vec<Value> {
        places.iter().map(|place| json!({"where": place.what, "text": place.text})).collect()
    };
    match hit {
        Hit::Run(summary, places) => {
            let drilled = super::drilled(summary);
            json!({
                "kind": if drilled.is_some() { "drill" } else { "run" },
                "run": summary.header.run,
                "title": summary.header.plan.title,
                "started": summary.header.started,
                "reason": summary.header.reason,
                "drill": drilled.as_ref().map(drill::json),
                "found": found(places),
            })
        }
        Hit::Lesson(path, lesson, places) => json!({
            "kind": "log",
            "file": path.display().to_string(),
            "line": lesson.line,
            "title": lesson.title,
            "fields": lesson.fields,
            "found": found(places),
        }),
    }
}
