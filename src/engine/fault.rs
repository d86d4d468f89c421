//! Faults of a drill: what goes wrong where the engine calls the adapters.
//!
//! A fault is read from `SYSTEM[.VERB]:KIND` with perhaps `,step=phase/step` and `,times=N`. [`Faults`] stands between the engine and
//! the work of every verb, checklists' probes and messages included, so an adapter cannot tell a drill from an incident. Only a
//! drill puts it there: no other run can have any.

mod faulty;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{sleep, sleep_until};

use self::faulty::{FaultyAction, FaultyProbe};
use crate::action::{ActionError, Between, ErrorKind, Gate, Hold, StepContext, Verb, Work};
use crate::value::Lasting;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Every call takes this much longer before it begins.
    Latency(Duration),
    /// The system says that it failed. No attempt is made, and none that follows would do better.
    Error,
    /// The system cannot be reached: nothing is sent. The next attempt may do better.
    Unreachable,
    /// Nothing is sent and nothing answers until the attempt's time is up.
    Timeout,
    /// The change is made, and its answer is lost. A question is answered as always.
    Unknown,
}

/// A fault as it is typed: `docker.stop:latency=4s,step=redirect/drain-green,times=2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The system that it is about.
    pub system: String,
    /// The one verb of it, without the system; all of them when there is none.
    pub verb: Option<String>,
    /// The one step in which it happens, `phase/step`; everywhere when there is none.
    pub step: Option<String>,
    /// What goes wrong.
    pub effect: Effect,
    /// How many calls meet it; all of them when it is not said.
    pub times: Option<u64>,
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// Nothing says what goes wrong.
    #[error("say what goes wrong: `{0}` has no `:`")]
    Shape(String),
    /// Not something that can go wrong.
    #[error("understand `{0}`")]
    Setting(String),
    /// None of the effects, or more than one.
    #[error("find one effect in `{0}`")]
    Effect(String),
}

impl FaultError {
    /// What can be typed.
    pub const HINT: &'static str = "Write SYSTEM:KIND or SYSTEM.VERB:KIND, such as `docker:latency=4s`; KIND is latency=TIME, error, unreachable, timeout or unknown, \
         perhaps followed by `,step=PHASE/STEP` and `,times=N`.";
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (about, settings) =
            text.trim().split_once(':').ok_or_else(|| FaultError::Shape(text.to_owned()))?;
        let (system, verb) = about
            .split_once('.')
            .map_or((about, None), |(system, verb)| (system, Some(verb.to_owned())));
        let (mut effect, mut step, mut times) = (None, None, None);
        for setting in settings.split(',').map(str::trim) {
            let wrong = || FaultError::Setting(setting.to_owned());
            match setting.split_once('=') {
                Some(("step", value)) if !value.is_empty() => step = Some(value.to_owned()),
                Some(("times", value)) => {
                    times = Some(value.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?);
                }
                _ => {
                    let found = understood(setting).ok_or_else(wrong)?;
                    if effect.replace(found).is_some() {
                        return Err(FaultError::Effect(text.to_owned()));
                    }
                }
            }
        }
        let effect = effect.ok_or_else(|| FaultError::Effect(text.to_owned()))?;
        Ok(Self { system: system.to_owned(), verb, step, effect, times })
    }
}

fn understood(setting: &str) -> Option<Effect> {
    match setting.split_once('=') {
        None if setting == "error" => Some(Effect::Error),
        None if setting == "unreachable" => Some(Effect::Unreachable),
        None if setting == "timeout" => Some(Effect::Timeout),
        None if setting == "unknown" => Some(Effect::Unknown),
        Some(("latency", value)) => {
            value.parse::<Lasting>().ok().map(|lasting| Effect::Latency(lasting.0))
        }
        _ => None,
    }
}

impl fmt::Display for Fault {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.system)?;
        if let Some(verb) = &self.verb {
            write!(f, ".{verb}")?;
        }
        match self.effect {
            Effect::Latency(time) => write!(f, ":latency={}", Lasting(time))?,
            Effect::Error => f.write_str(":error")?,
            Effect::Unreachable => f.write_str(":unreachable")?,
            Effect::Timeout => f.write_str(":timeout")?,
            Effect::Unknown => f.write_str(":unknown")?,
        }
        if let Some(step) = &self.step {
            write!(f, ",step={step}")?;
        }
        if let Some(times) = self.times {
            write!(f, ",times={times}")?;
        }
        Ok(())
    }
}

impl Fault {
    /// Whether it is about this verb: its whole name.
    pub fn is_about(&self, verb: &str) -> bool {
        let (system, name) = verb.split_once('.').unwrap_or((verb, ""));
        self.system == system && self.verb.as_deref().is_none_or(|wanted| wanted == name)
    }

    /// Whether it happens at a place: a step, perhaps with an item behind it.
    fn happens_at(&self, place: &str) -> bool {
        let Some(step) = self.step.as_deref() else { return true };
        place.strip_prefix(step).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The faults of one drill, and how often each was met.
#[derive(Debug, Default)]
pub struct Faults(Vec<(Fault, AtomicU64)>);

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// It only looks.
    Look,
    /// It changes something.
    Change,
}

/// What becomes of a call that may be made.
enum Passed {
    /// Its answer comes back.
    Answered,
    /// Its answer is lost.
    Lost,
}

impl Faults {
    /// These faults, none of which was met yet.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(faults.into_iter().map(|fault| (fault, AtomicU64::new(0))).collect())
    }

    /// Each fault, and how many calls have met it.
    pub fn met(&self) -> impl Iterator<Item = (&Fault, u64)> {
        self.0.iter().map(|(fault, met)| (fault, met.load(Ordering::Relaxed)))
    }

    /// Lets happen to a call what is to happen to it.
    async fn meet(&self, verb: &str, cx: &StepContext, call: Call) -> Result<Passed, ActionError> {
        for (fault, met) in &self.0 {
            let concerns = fault.is_about(verb)
                && fault.happens_at(cx.place())
                && (fault.effect != Effect::Unknown || call == Call::Change);
            if !concerns || !count(fault, met) {
                continue;
            }
            match fault.effect {
                Effect::Latency(time) => delayed(verb, cx, time).await?,
                Effect::Error => return Err(injected(ErrorKind::Failed, verb, "it fails")),
                Effect::Unreachable => {
                    let kind = ErrorKind::Unreachable;
                    return Err(injected(kind, verb, "it cannot be reached"));
                }
                Effect::Timeout => return Err(unanswered(verb, cx, call).await),
                Effect::Unknown => return Ok(Passed::Lost),
            }
        }
        Ok(Passed::Answered)
    }
}

/// Counts a call; false when the fault has happened as often as it is to.
fn count(fault: &Fault, met: &AtomicU64) -> bool {
    let left = |met: u64| fault.times.is_none_or(|times| met < times).then_some(met + 1);
    met.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
}

/// Waits before a call is made. A run that is stopped at once waits no longer, and nothing was sent.
async fn delayed(verb: &str, cx: &StepContext, time: Duration) -> Result<(), ActionError> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        () = cx.cancelled().cancelled() => Err(injected(ErrorKind::Cancelled, verb, "it is slow")),
        () = sleep_until(cx.deadline()) => Err(injected(ErrorKind::TimedOut, verb, "it is slow")),
    }
}

/// The error of a call that nothing answers. Whoever sent a change cannot know what became of it.
async fn unanswered(verb: &str, cx: &StepContext, call: Call) -> ActionError {
    let kind = tokio::select! {
        () = cx.cancelled().cancelled() => ErrorKind::Cancelled,
        () = sleep_until(cx.deadline()) => match call {
            Call::Look => ErrorKind::TimedOut,
            Call::Change => ErrorKind::Unknown,
        },
    };
    injected(kind, verb, "it does not answer")
}

/// An error that says where it comes from: nobody should look for it in the system.
fn injected(kind: ErrorKind, verb: &str, what: &str) -> ActionError {
    let error =
        ActionError::new(kind, format!("use `{verb}`: {what}, since the drill wants it so"));
    let retryable = error.retryable || kind == ErrorKind::Unknown;
    error.retryable(retryable)
}

impl Between for Faults {
    fn stand_before(self: Arc<Self>, verb: &Verb, work: Work) -> Work {
        if !self.0.iter().any(|(fault, _)| fault.is_about(verb.name)) {
            return work;
        }
        let (faults, verb) = (self, verb.name);
        match work {
            Work::Action(inner) => Work::Action(Box::new(FaultyAction { verb, inner, faults })),
            Work::Probe(inner) => Work::Probe(Box::new(FaultyProbe { verb, inner, faults })),
            // A hold is as good as its gates.
            Work::Hold(Hold { lasting, every, tolerate, gates }) => {
                let faulty = |Gate { text, probe: inner }: Gate| {
                    let faults = faults.clone();
                    Gate { text, probe: Box::new(FaultyProbe { verb, inner, faults }) }
                };
                let gates = gates.into_iter().map(faulty).collect();
                Work::Hold(Hold { lasting, every, tolerate, gates })
            }
            // Asked after the run, when the drill is over.
            later @ (Work::Manual(_) | Work::Later(_)) => later,
        }
    }
}
