//! `rollback confirm --window`: what is looked at after a run that has recovered.
//!
//! Probes are asked at once and together, then a person is asked about the rest. What has to hold for some time is looked at again and again
//! until it has. Every look is written down, so whoever comes back soon goes on from there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::confirm::tell_what_is_left;
use super::context::Context;
use super::error::{CliError, PERSON, USAGE};
use super::ledger::Ledger;
use super::{open, prompt};
use crate::action::{
    ActionError, ErrorKind, Probe, ResolveContext, StepContext, Verdict, Window, Work,
};
use crate::engine::RunState;
use crate::event::{Actor, Event, Header, Place, Standing};
use crate::journal::{LeftElsewhere, Run};
use crate::plan::StepPolicy;
use crate::report::questions::QuestionView;
use crate::report::style::{BAD, DOUBT, GOOD, brief_ms, paint};
use crate::report::text::sanitize;
use crate::report::{View, lines};
use crate::value::Shared;

/// The longest pause between two looks at what has to hold.
const PAUSE: Duration = Duration::from_secs(60);
/// The shortest one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// How often something is looked at, at least, in the time for which it has to hold.
const LOOKS: u32 = 10;

impl ValueEnum for Window {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Immediate => "In the first 3 minutes after the run",
            Self::Short => "From 3 to 15 minutes after the run",
            Self::Long => {
                "From 15 to 60 minutes after the run, with what has to hold for 30 minutes"
            }
            Self::Review => {
                "After the incident: what people found, for `rollback report --incident`"
            }
        };
        Some(PossibleValue::new(self.word()).help(help))
    }
}

/// Goes through the checks of a window.
pub(super) async fn confirm(
    cx: &Context,
    run: &Run,
    window: Window,
    early: bool,
    left: LeftElsewhere,
) -> Result<u8, CliError> {
    let validation = Validation { cx, run, window, left, by: super::actor::this_process() };
    let ledger = validation.ledger().await?;
    validation.may_begin(&ledger.view, ledger.now_ms, early)?;
    let (state, view) = (ledger.state.clone(), ledger.close().await?);
    let (probed, asked): (Vec<_>, Vec<_>) =
        validation.open(&view).into_iter().partition(|question| question.hold_ms.is_some());
    if probed.is_empty() && asked.is_empty() {
        cx.output.progress(format!("nothing is open in the window {window}"));
    }
    let mut probing = Vec::new();
    if !probed.is_empty() {
        let resolve = environment(cx, &view.header).await?;
        probing.extend(probed.iter().map(|question| Probing::of(question, &state, &resolve)));
    }
    let mut all_hold = validation.look(&mut probing).await?;
    let unanswered = !asked.is_empty() && !cx.output.interactive;
    if cx.output.interactive {
        all_hold &= validation.ask(&asked).await?;
    }
    while all_hold && !probing.is_empty() {
        sleep(pause(&probing)).await;
        all_hold = validation.look(&mut probing).await?;
    }
    let view = validation.ledger().await?.close().await?;
    tell_what_is_left(cx, &view, &[]);
    match (all_hold, unanswered) {
        (false, _) => Ok(PERSON),
        (true, true) => Err(open::nobody_to_ask("about the items without a probe").hint(format!(
            "Answer one with `rollback confirm {} --item TEXT --answer yes`.",
            run.id()
        ))),
        (true, false) => Ok(0),
    }
}

/// The validation of one run in one window.
struct Validation<'a> {
    cx: &'a Context,
    run: &'a Run,
    window: Window,
    left: LeftElsewhere,
    by: Actor,
}

impl Validation<'_> {
    async fn ledger(&self) -> Result<Ledger, CliError> {
        Ledger::open(self.run, &self.by, self.left).await?.ok_or_else(|| {
            let id = self.run.id();
            CliError::new(USAGE, format!("validate run {id}: a process is running it"))
                .hint(format!("Watch it to its end: `rollback status {id} --follow`."))
        })
    }

    /// Whether the window is open; too late is only news.
    fn may_begin(&self, view: &View, now_ms: u64, early: bool) -> Result<(), CliError> {
        let (id, window) = (self.run.id(), self.window);
        // A rollback that failed is reviewed as well.
        if view.standing < Some(Standing::Recovered) && window != Window::Review {
            return Err(CliError::new(USAGE, format!("validate run {id}: it has not recovered"))
                .hint(format!("See what is left to do: `rollback status {id}`.")));
        }
        let since = Duration::from_millis(now_ms.saturating_sub(view.elapsed_ms));
        let (opens, closes) = window.span();
        if since < opens && !early {
            let at = (view.at + opens).strftime("%H:%M:%S UTC").to_string();
            let wait = crate::value::brief(Duration::from_secs(
                opens.saturating_sub(since).as_secs().max(1),
            ));
            let text = format!("validate run {id}: the window {window} opens at {at}, in {wait}");
            return Err(
                CliError::new(USAGE, text).hint("Wait until then, or look now with `--early`.")
            );
        }
        if since > closes {
            let (late, mark) = (crate::value::brief(since), paint(DOUBT, "!"));
            let text = format!("{mark} late: {late} after the run, for the window {window}");
            self.cx.output.progress(text);
        }
        Ok(())
    }

    /// What nobody has said yes to.
    fn open(&self, view: &View) -> Vec<QuestionView> {
        let of_window = view.questions.iter().filter(|asked| asked.window == Some(self.window));
        of_window.filter(|asked| !asked.is_confirmed()).cloned().collect()
    }

    /// Asks every probe once, writes down what it says, and keeps those that have to hold for longer. False when one does not hold.
    async fn look(&self, probing: &mut Vec<Probing>) -> Result<bool, CliError> {
        if probing.is_empty() {
            return Ok(true);
        }
        let looks = join_all(probing.iter().map(|probe| probe.look(self.run))).await;
        let mut ledger = self.ledger().await?;
        let mut all_hold = true;
        for (probe, (held, seen)) in probing.iter_mut().zip(looks) {
            all_hold &= held;
            self.write_down(&mut ledger, probe, held, seen).await?;
        }
        let view = ledger.close().await?;
        let open = self.open(&view);
        probing.retain(|probe| open.iter().any(|asked| asked.at == probe.at));
        if all_hold && !probing.is_empty() {
            self.tell_the_wait(&view);
        }
        Ok(all_hold)
    }

    async fn write_down(
        &self,
        ledger: &mut Ledger,
        probe: &mut Probing,
        held: bool,
        seen: String,
    ) -> Result<(), CliError> {
        let (at, by) = (probe.at.clone(), self.by.clone());
        let event = Event::QuestionProbed { at, by, held, seen };
        let record = ledger.append(event.redacted(probe.resolve.connections.secrets())).await?;
        // In half an hour the same answer is news once.
        if probe.told.replace(held) != Some(held) {
            let told = lines::tell(&record, &ledger.view);
            told.into_iter().for_each(|line| self.cx.output.progress(line));
        }
        let known = ledger.view.questions.iter().find(|asked| asked.at == probe.at);
        if let Some(known) = known.filter(|known| !known.is_confirmed() && known.has_held()) {
            let (at, by, remark) = (probe.at.clone(), self.by.clone(), Some(remark(known)));
            ledger.append(Event::QuestionAnswered { at, by, confirmed: true, remark }).await?;
        }
        Ok(())
    }

    /// What still has to hold, and for how long.
    fn tell_the_wait(&self, view: &View) {
        let open = self.open(view);
        let left = open.iter().filter_map(|asked| {
            asked.hold_ms.map(|hold| hold.saturating_sub(asked.held_ms().unwrap_or(0)))
        });
        let left = brief_ms(left.max().unwrap_or(0).div_ceil(1000) * 1000);
        let text = format!(
            "{} so far; {left} more. Ctrl-C keeps what was seen: type the same within 5 minutes to go on",
            paint(GOOD, "it holds")
        );
        self.cx.output.progress(text);
    }

    /// What a person says: yes or no; in the review what was found, or nothing yet.
    async fn answer(
        &self,
        asked: &QuestionView,
    ) -> Result<Option<(bool, Option<String>)>, CliError> {
        let text = sanitize(&asked.text);
        if self.window != Window::Review {
            return Ok(Some((prompt::confirm(&self.cx.output, &text).await?, None)));
        }
        let question = format!("{text} (what was found; nothing leaves it open): ");
        let said = prompt::ask(&self.cx.output, &question).await?;
        Ok((!said.is_empty()).then_some((true, Some(said))))
    }

    /// Asks a person about the rest. False when something does not hold.
    async fn ask(&self, asked: &[QuestionView]) -> Result<bool, CliError> {
        let mut all_hold = true;
        for question in asked {
            let Some((yes, remark)) = self.answer(question).await? else { continue };
            all_hold &= yes;
            if !yes {
                let text = format!("{}: {}", paint(BAD, "denied"), sanitize(&question.text));
                self.cx.output.progress(text);
            }
            let mut ledger = self.ledger().await?;
            let mut known = ledger.view.questions.iter();
            let known = known.find(|known| known.at == question.at);
            // Somebody else may have answered while this person was thinking; and a second no is no news.
            let unanswered = known.is_some_and(|known| known.answer == question.answer);
            if unanswered && (yes || question.answer.is_none()) {
                let (at, by) = (question.at.clone(), self.by.clone());
                let event = Event::QuestionAnswered { at, by, confirmed: yes, remark };
                ledger.append(event).await?;
            }
            ledger.close().await?;
        }
        Ok(all_hold)
    }
}

/// The systems of the run's environment, as they are now.
async fn environment(cx: &Context, header: &Header) -> Result<Arc<ResolveContext>, CliError> {
    let registry = Arc::new(crate::adapters::registry());
    let path = Path::new(&header.environment_path);
    let (environment, resolve) = open::enter(cx, path, registry, &cx.config).await?;
    if crate::digest::sha256(environment.source.text.as_bytes()) != header.environment_sha256 {
        let path = sanitize(&header.environment_path);
        let mark = paint(DOUBT, "!");
        cx.output
            .progress(format!("{mark} {path} has changed since the run; asking what it names now"));
    }
    Ok(resolve)
}

/// What is kept of a probe that has held for as long as it has to.
fn remark(question: &QuestionView) -> String {
    let seen = question.look.as_ref().map(|look| look.seen.clone()).unwrap_or_default();
    match question.held_ms() {
        None | Some(0) => seen,
        Some(held) => format!("held for {}: {seen}", brief_ms(held)),
    }
}

/// How long to wait for the next look.
fn pause(probing: &[Probing]) -> Duration {
    let shortest = probing.iter().map(|probe| probe.hold).min().unwrap_or_default();
    (shortest / LOOKS).clamp(SHORTEST_PAUSE, PAUSE)
}

/// What has to be asked of a system.
struct Probing {
    at: Place,
    hold: Duration,
    resolve: Arc<ResolveContext>,
    made: Result<(Box<dyn Probe>, Shared<StepPolicy>), ActionError>,
    /// What the last look came to.
    told: Option<bool>,
}

impl Probing {
    fn of(question: &QuestionView, state: &RunState, resolve: &Arc<ResolveContext>) -> Self {
        Self {
            at: question.at.clone(),
            hold: Duration::from_millis(question.hold_ms.unwrap_or(0)),
            resolve: resolve.clone(),
            made: made(&question.at, state, resolve),
            told: None,
        }
    }

    /// Asks as a step does: until it holds, or the step's time is up.
    async fn look(&self, run: &Run) -> (bool, String) {
        let (probe, policy) = match &self.made {
            Ok(made) => made,
            Err(error) => return (false, format!("failed to {error}")),
        };
        let deadline = Instant::now() + policy.timeout;
        loop {
            let cx = StepContext::new(deadline, CancellationToken::new(), run.scratch(), run.id());
            let seen = match timeout_at(deadline, probe.observe(&cx)).await {
                Ok(Ok(Verdict::Holds { evidence })) => return (true, evidence.summary),
                Ok(Ok(Verdict::NotYet { observed })) => observed,
                Ok(Err(error)) => format!("failed to {error}"),
                Err(_) => format!("no answer within {}", crate::value::brief(policy.timeout)),
            };
            if Instant::now() + policy.verify.every >= deadline {
                return (false, seen);
            }
            sleep(policy.verify.every).await;
        }
    }
}

/// The probe at a place of the run's plan, and how its step asks.
fn made(
    at: &Place,
    state: &RunState,
    resolve: &ResolveContext,
) -> Result<(Box<dyn Probe>, Shared<StepPolicy>), ActionError> {
    let lost =
        || ActionError::new(ErrorKind::Invalid, format!("find the probe of {at} in the plan"));
    let step = state.plan().step(&at.step).ok_or_else(lost)?;
    let mut items = step.items.resolved().iter();
    let item = items.find(|item| item.name == at.item).ok_or_else(lost)?;
    match resolve.registry.verb(&step.verb).ok_or_else(lost)?.make(&item.args, resolve)? {
        Work::Later(later) => Ok((later.probe, step.policy.clone())),
        _ => Err(lost()),
    }
}
