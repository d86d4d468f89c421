//! The only place that writes to standard output and standard error. A reader that goes away never stops the program.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;

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

type Stream = Mutex<AutoStream<Box<dyn Write + Send>>>;

/// Standard output for data, standard error for progress.
#[derive(Clone)]
pub(super) struct Output {
    streams: Arc<Streams>,
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
    /// What became of the stream that was lost first.
    lost: Mutex<Option<String>>,
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
            data: Mutex::new(AutoStream::new(Box::new(io::stdout()), data_color)),
            progress: Mutex::new(AutoStream::new(Box::new(io::stderr()), progress_color)),
            lost: Mutex::default(),
        };
        Self {
            streams: Arc::new(streams),
            format,
            live: terminal && !plain,
            color: progress_color == ColorChoice::Always,
            interactive: terminal && io::stdin().is_terminal(),
        }
    }

    /// Writes a line of data.
    pub(super) fn data(&self, line: impl AsRef<str>) {
        self.write(&self.streams.data, "standard output", &format!("{}\n", line.as_ref()));
    }

    /// Writes a line of progress.
    pub(super) fn progress(&self, line: impl AsRef<str>) {
        self.raw_progress(&format!("{}\n", line.as_ref()));
    }

    /// Writes to standard error as it is: for the line that is redrawn in place, and for prompts.
    pub(super) fn raw_progress(&self, text: &str) {
        self.write(&self.streams.progress, "standard error", text);
    }

    /// What became of the first stream that was lost, once.
    pub(super) fn take_lost(&self) -> Option<String> {
        self.streams.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn write(&self, stream: &Stream, name: &str, text: &str) {
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
            // A closed pipe, a full disk, a terminal that is gone: news for the journal, never a reason to stop.
            let mut lost = self.streams.lost.lock().unwrap_or_else(PoisonError::into_inner);
            let _first = lost.get_or_insert_with(|| format!("{name}: {error}"));
        }
    }
}

fn choice(color: Color, usable: bool) -> ColorChoice {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => ColorChoice::Always,
        Color::Auto if usable && !forbidden => ColorChoice::Always,
        Color::Auto | Color::Never => ColorChoice::Never,
    }
}
