//! Shows a run while it happens, and asks the person in front of it.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use unicode_width::UnicodeWidthStr;

use super::error::{CliError, UNEXPECTED};
use super::output::{Format, Output};
use super::person::{Heard, Person, Question};
use crate::engine::Request;
use crate::event::{Event, Record};
use crate::failpoint;
use crate::plan::budget::{Schedule, Stage};
use crate::report::style::{STRONG, paint};
use crate::report::{View, approvals, json, lines, live};

/// How often the status line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// What is shown before anything new happens.
pub(super) struct Begin {
    /// The start of a run, which happened before anybody could listen.
    pub(super) first: Option<Arc<Record>>,
    /// The questions of an interrupted run that still wait for an answer.
    pub(super) open: Vec<Record>,
}

/// Counts what the streams have taken: whether anybody reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the person sees.
pub(super) struct Screen {
    output: Output,
    view: View,
    /// Made when the first line is drawn: not everybody has a terminal to draw on.
    schedule: OnceCell<Schedule>,
    /// The elapsed time of the last record, and when it came.
    last: (u64, Instant),
    /// The columns that the status line takes up; 0 when there is none.
    drawn: usize,
    /// The question that stands on the last line.
    posed: Option<String>,
    pulse: Pulse,
}

impl Screen {
    /// A screen for a run with these records. Shows nothing yet: nobody may be there to read it.
    pub(super) fn new<'a>(
        output: Output,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Self, CliError> {
        let view = View::of(records)
            .ok_or_else(|| CliError::new(UNEXPECTED, "find the start of the run in its journal"))?;
        let last = (view.elapsed_ms, Instant::now());
        let pulse = Pulse::default();
        Ok(Self { output, view, schedule: OnceCell::new(), last, drawn: 0, posed: None, pulse })
    }

    /// Beats whenever something was shown.
    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Takes a record in and shows it.
    pub(super) fn show(&mut self, record: &Record) {
        self.view.take(record);
        self.last = (record.elapsed_ms, Instant::now());
        self.tell(record);
    }

    fn tell(&mut self, record: &Record) {
        match self.output.format {
            Format::Jsonl => self.output.data(json::line(record)),
            Format::Human => {
                let lines = lines::tell(record, &self.view);
                if !lines.is_empty() {
                    self.clear();
                    for line in lines {
                        self.output.progress(line);
                    }
                }
            }
            Format::Json | Format::Junit | Format::Sarif | Format::Github => {}
        }
        self.pulse.beat();
    }

    /// Shows what came before. A program that reads along has had the open questions from the process that asked them.
    fn begin(&mut self, begin: &Begin) {
        if let Some(first) = &begin.first {
            self.tell(first);
        }
        if self.output.format == Format::Human {
            begin.open.iter().for_each(|record| self.tell(record));
        }
    }

    /// Draws the status line anew, where there is a terminal to draw on and no question stands there.
    ///
    /// Blanks instead of escape sequences remove what was there: they work on every terminal, and without colour, too.
    fn draw(&mut self) {
        if !self.output.live || self.output.format != Format::Human || self.posed.is_some() {
            return;
        }
        let (at, seen) = self.last;
        let since = u64::try_from(seen.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now_ms = at.saturating_add(since);
        let projected = self.projected(now_ms);
        let line = live::line(&self.view, now_ms, Some(projected), width());
        let columns = anstream::adapter::strip_str(&line).to_string().width();
        let rest = " ".repeat(self.drawn.saturating_sub(columns));
        self.output.raw_progress(&format!("\r{line}{rest}"));
        self.drawn = columns;
    }

    /// Leaves an empty last line.
    fn clear(&mut self) {
        if self.posed.take().is_some() {
            self.output.raw_progress("\n");
        }
        if self.drawn > 0 {
            self.output.raw_progress(&format!("\r{}\r", " ".repeat(self.drawn)));
            self.drawn = 0;
        }
    }

    /// Shows the question that waits for an answer, or takes it away.
    fn pose(&mut self, question: Option<&Question>) {
        let prompt = question.map(Question::prompt);
        if self.posed == prompt {
            return;
        }
        self.clear();
        if let Some(prompt) = &prompt {
            self.output.raw_progress(&paint(STRONG, prompt));
        }
        self.posed = prompt;
    }

    fn projected(&self, now_ms: u64) -> Duration {
        let schedule = self.schedule.get_or_init(|| Schedule::of(&self.view.header.plan));
        let mut progress = schedule.progress(Duration::from_millis(now_ms));
        for (id, step) in &self.view.steps {
            let stage = match (step.at_work_since_ms(), step.ended_ms, step.outcome) {
                (_, Some(ended), _) => Stage::Ended(Duration::from_millis(ended)),
                (started, None, Some(_)) => {
                    Stage::Ended(Duration::from_millis(started.unwrap_or(0)))
                }
                (Some(started), None, None) => Stage::Running(Duration::from_millis(started)),
                (None, None, None) => Stage::Waiting,
            };
            schedule.note(&mut progress, id, stage);
        }
        schedule.project(&progress).run
    }
}

/// Shows records until the journal closes. Returns the screen for the last word.
pub(super) async fn watch(
    mut screen: Screen,
    begin: Begin,
    mut records: mpsc::UnboundedReceiver<Vec<Arc<Record>>>,
    to_engine: mpsc::UnboundedSender<Request>,
) -> Screen {
    let mut person = Person::new(screen.output.interactive);
    screen.begin(&begin);
    tell_what_was_lost(&screen, &to_engine);
    begin.open.iter().for_each(|record| person.hear(&record.event));
    let mut ticks = interval(DRAW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            group = records.recv() => match group {
                Some(group) => for record in group {
                    failpoint::fall_over("cli.watch");
                    person.hear(&record.event);
                    screen.show(&record);
                },
                None => break,
            },
            line = person.line() => take(line, &mut screen, &mut person, &to_engine),
            _ = ticks.tick() => screen.draw(),
        }
        screen.pose(person.question());
        tell_what_was_lost(&screen, &to_engine);
    }
    screen.clear();
    screen
}

/// The run goes on without a screen, and the journal says so.
fn tell_what_was_lost(screen: &Screen, to_engine: &mpsc::UnboundedSender<Request>) {
    while let Some(what) = screen.output.take_lost() {
        // When the run has ended, nobody needs to know.
        let _over = to_engine.send(Request::Tell(Event::OutputLost { what }));
    }
}

/// Takes a line that the person has typed.
fn take(
    line: Option<String>,
    screen: &mut Screen,
    person: &mut Person,
    to_engine: &mpsc::UnboundedSender<Request>,
) {
    let Some(line) = line else {
        // First the engine: a terminal that is gone may take no hint. When the run has ended, nobody needs to know.
        let _over = to_engine.send(Request::Unattended);
        let run = &screen.view.header.run;
        let hint = if let Some(asked) = screen.view.open_approvals().next() {
            let command = approvals::command(run, asked.step.as_ref());
            format!("nobody can be asked here; answer with `{command}`")
        } else if screen.view.undecided.is_empty() {
            format!("nobody can be asked here; answer with `rollback confirm {run}`")
        } else {
            "nobody can be asked here whether to go on: the run stops".to_owned()
        };
        screen.clear();
        screen.output.progress(hint);
        return;
    };
    // The terminal has echoed the line end.
    if screen.posed.take().is_none() {
        return;
    }
    match person.answered(&line) {
        Some(Heard::Answer(request)) => {
            // When the run has ended in the same moment, the answer comes too late.
            let _over = to_engine.send(request);
        }
        Some(Heard::Again(why)) => screen.output.progress(why),
        Some(Heard::Part) | None => {}
    }
}

/// The width of the terminal, or 80 columns.
fn width() -> usize {
    rustix::termios::tcgetwinsize(rustix::stdio::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(80)
}
