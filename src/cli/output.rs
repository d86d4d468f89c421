//! The only place that writes to standard output and standard error. A reader that goes away never stops the program.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;

use crate::report::text::escape_json;

/// The form of the data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
    /// One JSON document a line, as things happen.
    Jsonl,
    /// `rollback check` only: a JUnit test report.
    Junit,
    /// `rollback check` only: SARIF 2.1.0, for code scanning.
    Sarif,
    /// `rollback check` only: annotations for GitHub Actions.
    Github,
}

impl Format {
    /// Whether only `rollback check` writes it.
    pub(super) fn is_for_check_only(self) -> bool {
        matches!(self, Self::Junit | Self::Sarif | Self::Github)
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether standard error shows a line that is redrawn in place: what a panic has to step over.
static LIVE: AtomicBool = AtomicBool::new(false);

/// One of the two streams.
struct Stream {
    name: &'static str,
    writer: Mutex<AutoStream<Box<dyn Write + Send>>>,
    lost: AtomicBool,
}

impl Stream {
    fn new(name: &'static str, writer: Box<dyn Write + Send>, color: ColorChoice) -> Self {
        // A line is one write: pieces of two programs' lines would mix, and each is a system call.
        let writer: Box<dyn Write + Send> = Box::new(BufWriter::new(writer));
        let writer = Mutex::new(AutoStream::new(writer, color));
        Self { name, writer, lost: AtomicBool::new(false) }
    }
}

/// Where data are written.
#[derive(Debug, Clone, Copy)]
enum DataTo {
    /// Where they belong.
    StandardOutput,
    /// Among the progress: they are on the way to other data.
    Progress,
}

/// Standard output for data, standard error for progress.
#[derive(Clone)]
pub(super) struct Output {
    streams: Arc<Streams>,
    /// Where data are written.
    data_to: DataTo,
    /// The form of the data.
    pub(super) format: Format,
    /// Whether standard error is a terminal that can redraw a line.
    pub(super) live: bool,
    /// Whether errors and progress are coloured.
    pub(super) color: bool,
    /// Whether somebody can be asked: standard input and standard error are a terminal.
    pub(super) interactive: bool,
}

struct Streams {
    data: Stream,
    progress: Stream,
    /// What became of streams, each told once.
    news: Mutex<Vec<String>>,
}

impl Output {
    /// The outputs of this process.
    pub(super) fn new(format: Format, color: Color) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal();
        let plain = dumb || std::env::var_os("CI").is_some();
        let progress_color = choice(color, terminal && !plain);
        let data_color = choice(color, io::stdout().is_terminal() && !plain);
        let streams = Streams {
            data: Stream::new("standard output", Box::new(io::stdout()), data_color),
            progress: Stream::new("standard error", Box::new(io::stderr()), progress_color),
            news: Mutex::default(),
        };
        LIVE.store(terminal && !plain, Ordering::Relaxed);
        Self {
            streams: Arc::new(streams),
            data_to: DataTo::StandardOutput,
            format,
            live: terminal && !plain,
            color: progress_color == ColorChoice::Always,
            interactive: terminal && io::stdin().is_terminal(),
        }
    }

    /// The same for what happens on the way to the data: it is told to people, as progress.
    pub(super) fn aside(&self) -> Self {
        Self { data_to: DataTo::Progress, format: Format::Human, ..self.clone() }
    }

    /// Writes a line of data.
    pub(super) fn data(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        let text = match self.format {
            Format::Human | Format::Junit | Format::Github => format!("{line}\n"),
            Format::Json | Format::Jsonl | Format::Sarif => format!("{}\n", escape_json(line)),
        };
        let stream = match self.data_to {
            DataTo::StandardOutput => &self.streams.data,
            DataTo::Progress => &self.streams.progress,
        };
        self.write(stream, &text);
    }

    /// Writes a line of progress.
    pub(super) fn progress(&self, line: impl AsRef<str>) {
        self.raw_progress(&format!("{}\n", line.as_ref()));
    }

    /// Writes to standard error as it is: for the line that is redrawn in place, and for prompts.
    pub(super) fn raw_progress(&self, text: &str) {
        self.write(&self.streams.progress, text);
    }

    /// What became of a stream that was lost; once for each.
    pub(super) fn take_lost(&self) -> Option<String> {
        self.streams.news.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn write(&self, stream: &Stream, text: &str) {
        let mut writer = stream.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writer.write_all(text.as_bytes()).and_then(|()| writer.flush()) {
            // A closed pipe, a full disk, a terminal that is gone: news for the journal, never a reason to stop.
            if !stream.lost.swap(true, Ordering::Relaxed) {
                let mut news = self.streams.news.lock().unwrap_or_else(PoisonError::into_inner);
                news.push(format!("{}: {error}", stream.name));
            }
        }
    }
}

/// Says something when nothing else of the program can be relied on: past all locks but the stream's own.
pub(super) fn last_words(line: &str) {
    let start = if LIVE.load(Ordering::Relaxed) { "\n" } else { "" };
    // There is nobody left to tell.
    let _lost = io::stderr().write_all(format!("{start}{line}\n").as_bytes());
}

fn choice(color: Color, usable: bool) -> ColorChoice {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => ColorChoice::Always,
        Color::Auto if usable && !forbidden => ColorChoice::Always,
        Color::Auto | Color::Never => ColorChoice::Never,
    }
}
