//! Shows a run while it happens, and asks the person in front of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::{CliError, UNEXPECTED};
use super::output::{Format, Output};
use super::prompt;
use crate::engine::Request;
use crate::event::{Event, Place, Record};
use crate::plan::budget::{Schedule, Stage};
use crate::report::text::sanitize;
use crate::report::{View, json, lines, live};

/// How often the status line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// What the person sees.
pub(super) struct Screen {
    output: Output,
    view: View,
    schedule: Schedule,
    /// The elapsed time of the last record, and when it came.
    last: (u64, Instant),
    drawn: bool,
}

impl Screen {
    /// A screen for a run with these records; `tell` shows them, too.
    pub(super) fn new(output: Output, records: &[Record], tell: bool) -> Result<Self, CliError> {
        let view = View::of(records)
            .ok_or_else(|| CliError::new(UNEXPECTED, "find the start of the run in its journal"))?;
        let schedule = Schedule::of(&view.header.plan);
        let last = (view.elapsed_ms, Instant::now());
        let mut screen = Self { output, view, schedule, last, drawn: false };
        if tell {
            for record in records {
                screen.tell(record);
            }
        }
        Ok(screen)
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
            _ => {}
        }
    }

    /// Draws the status line anew, where there is a terminal to draw on.
    fn draw(&mut self) {
        if !self.output.live || self.output.format != Format::Human {
            return;
        }
        let (at, seen) = self.last;
        let since = u64::try_from(seen.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now_ms = at.saturating_add(since);
        let projected = self.projected(now_ms);
        let line = live::line(&self.view, now_ms, Some(projected), width());
        self.output.raw_progress(&format!("\r\u{1b}[2K{line}"));
        self.drawn = true;
    }

    fn clear(&mut self) {
        if self.drawn {
            self.output.raw_progress("\r\u{1b}[2K");
            self.drawn = false;
        }
    }

    fn projected(&self, now_ms: u64) -> Duration {
        let mut progress = self.schedule.progress(Duration::from_millis(now_ms));
        for (id, step) in &self.view.steps {
            let stage = match (step.started_ms, step.ended_ms, step.outcome) {
                (_, Some(ended), _) => Stage::Ended(Duration::from_millis(ended)),
                (started, None, Some(_)) => {
                    Stage::Ended(Duration::from_millis(started.unwrap_or(0)))
                }
                (Some(started), None, None) => Stage::Running(Duration::from_millis(started)),
                (None, None, None) => Stage::Waiting,
            };
            self.schedule.note(&mut progress, id, stage);
        }
        self.schedule.project(&progress).run
    }
}

/// Shows records until the journal closes. Returns the screen for the last word.
pub(super) async fn watch(
    mut screen: Screen,
    mut records: mpsc::UnboundedReceiver<Arc<Record>>,
    to_engine: mpsc::UnboundedSender<Request>,
) -> Screen {
    let mut ticks = interval(DRAW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            record = records.recv() => match record {
                Some(record) => {
                    screen.show(&record);
                    ask(&mut screen, &record, &to_engine);
                }
                None => break,
            },
            _ = ticks.tick() => screen.draw(),
        }
        if let Some(what) = screen.output.take_lost() {
            // The run goes on without a screen, and the journal says so. When it has ended, nobody needs to know.
            let _over = to_engine.send(Request::Tell(Event::OutputLost { what }));
        }
    }
    screen.clear();
    screen
}

/// Asks the person what the run waits for. The answer comes from a thread, since a terminal can be silent for ever.
fn ask(screen: &mut Screen, record: &Record, to_engine: &mpsc::UnboundedSender<Request>) {
    if !screen.output.interactive {
        return;
    }
    let (output, to_engine) = (screen.output.clone(), to_engine.clone());
    match &record.event {
        Event::QuestionOpened { at, text, required: true } => {
            let (at, text) = (at.clone(), sanitize(text));
            answer(screen, move || {
                if let Ok(confirmed) = prompt::confirm(&output, &text) {
                    let by = super::actor::this_process();
                    let _over = to_engine.send(Request::Answer { at, by, confirmed, remark: None });
                }
            });
        }
        Event::DecisionAsked { step } => {
            let at = Place { step: step.clone(), item: String::new() };
            answer(screen, move || {
                if let Ok(go_on) = prompt::confirm(&output, "Go on without it?") {
                    let by = super::actor::this_process();
                    let _over = to_engine.send(Request::Decide { step: at.step, by, go_on });
                }
            });
        }
        _ => {}
    }
}

fn answer(screen: &mut Screen, ask: impl FnOnce() + Send + 'static) {
    screen.clear();
    // Redrawing would overwrite the question.
    screen.output.live = false;
    let _detached = tokio::task::spawn_blocking(ask);
}

/// The width of the terminal, or 80 columns.
fn width() -> usize {
    rustix::termios::tcgetwinsize(rustix::stdio::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 20)
        .unwrap_or(80)
}
