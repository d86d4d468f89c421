//! One step at work: finds its items, fans out over them, and takes its own changes back when its policy says so.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Vault;
use super::back::take_back;
use super::emitter::{Emitter, TaskEnd};
use super::fanout::{Limiter, Limiters, Permit};
use super::item::{ItemRun, Notes, panic_message};
use super::lifecycle::Stage;
use super::state::{ItemState, StepState};
use crate::action::{ActionError, ErrorKind, Probe, ResolveContext, Reversal, Verb, Work};
use crate::event::{Event, Place};
use crate::plan::{Items, PlannedItem, PlannedStep};
use crate::runbook::OnFailure;
use crate::value::JsonText;

/// How long all calls together may take to settle when the run is stopped at once.
pub(super) const KILL_GRACE: Duration = Duration::from_millis(1500);

/// What all steps of a run work with.
pub(super) struct Kit {
    pub(super) resolve: Arc<ResolveContext>,
    pub(super) emitter: Emitter,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) scratch: Arc<Path>,
    pub(super) run: Arc<str>,
    /// The run that this one takes back.
    pub(super) reverts: Option<String>,
    pub(super) limiters: Limiters,
    /// Cancelled when nothing more may be started.
    pub(super) stopping: CancellationToken,
    /// Cancelled when what is in flight must stop, too.
    pub(super) killing: CancellationToken,
    /// Cancelled when somebody has taken notice of the run.
    pub(super) acknowledged: CancellationToken,
    /// When what is in flight is cut off; set before `killing` is cancelled.
    pub(super) kill_by: OnceLock<Instant>,
    pub(super) give_up: Option<Instant>,
    pub(super) notes: Notes,
    pub(super) clock: RunClock,
}

/// The time since a run's start, that of earlier processes included.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunClock {
    /// When this process took the run up.
    pub(super) started: Instant,
    /// How much time had passed then, in milliseconds.
    pub(super) offset_ms: u64,
}

impl RunClock {
    /// Milliseconds since the run's start.
    pub(super) fn now_ms(self) -> u64 {
        let here = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.offset_ms.saturating_add(here)
    }

    /// The instant at `ms` since the run's start; this process's own start when that is earlier.
    pub(super) fn instant(self, ms: u64) -> Instant {
        self.started + Duration::from_millis(ms.saturating_sub(self.offset_ms))
    }
}

impl Kit {
    /// Whether there is time for a wait before another attempt.
    pub(super) fn may_wait(&self, wait: Duration) -> bool {
        !self.stopping.is_cancelled()
            && self.give_up.is_none_or(|give_up| Instant::now() + wait < give_up)
    }

    /// Returns when a run that is stopped at once waits no longer for what is in flight.
    pub(super) async fn cut(&self) {
        self.killing.cancelled().await;
        sleep_until(self.kill_by.get().copied().unwrap_or_else(Instant::now)).await;
    }

    /// Waits between two looks; false when the run is stopped at once.
    pub(super) async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = sleep(wait) => true,
            () = self.killing.cancelled() => false,
        }
    }
}

/// Runs a step from where `known` says it stands.
pub(super) async fn run_step(kit: Arc<Kit>, step: PlannedStep, known: StepState) -> TaskEnd {
    let found = tokio::select! {
        biased;
        found = find_items(&kit, &step) => found,
        () = kit.cut() => return TaskEnd::Through,
    };
    let items = match found {
        Ok(items) => items,
        Err(error) => return TaskEnd::Unresolved(error),
    };
    match work_on_all(&kit, &Arc::new(step), items, &known).await {
        Ok(()) => TaskEnd::Through,
        Err(panic) => TaskEnd::Panicked(panic),
    }
}

/// Works on the items of a step: they begin in their order, since people count questions by it, and go on side by side. Only the
/// first of those that have no turn yet stands in the limiter's line, so that another step of the same verb has the next turn
/// and does not wait for a whole fleet. Returns the message of a panic, once all others have settled: a bug in one item must not
/// make a fleet unknown.
async fn work_on_all(
    kit: &Arc<Kit>,
    step: &Arc<PlannedStep>,
    items: Vec<PlannedItem>,
    known: &StepState,
) -> Result<(), String> {
    let limiter = kit.limiters.of(&step.verb);
    let mut at_work = JoinSet::new();
    let mut items = items
        .into_iter()
        .filter_map(|item| {
            let state = known.items.get(&item.name).cloned().unwrap_or_default();
            let open =
                !state.stage.is_settled() || matches!(state.stage, Stage::Unknown | Stage::Open);
            open.then_some((item, state))
        })
        .peekable();
    let mut through = Ok(());
    while let Some((item, state)) = items.next() {
        let Some(permit) = turn(kit, &limiter, step.policy.parallel, &state).await else {
            continue;
        };
        let mut work = work_on(kit.clone(), step.clone(), item, state, permit).boxed();
        if items.peek().is_none() {
            // The last one, which is most often the only one, needs no task of its own.
            through = through.and(work.await);
        } else if let Some(worked) = (&mut work).now_or_never() {
            through = through.and(worked);
        } else {
            let _handle = at_work.spawn(work);
        }
        // A set of tasks keeps those that have ended until somebody asks for them.
        while let Some(worked) = at_work.try_join_next() {
            through = through.and(of_task(worked));
        }
    }
    while let Some(worked) = at_work.join_next().await {
        through = through.and(of_task(worked));
    }
    through
}

/// How an item's task ended. It catches its own panics, but for one of a value that panics when it is dropped.
fn of_task(worked: Result<Result<(), String>, JoinError>) -> Result<(), String> {
    worked.unwrap_or_else(|gone| Err(gone.to_string()))
}

/// Waits until an item may begin; `None` when it may not any more.
async fn turn(
    kit: &Kit,
    limiter: &Arc<Limiter>,
    parallel: Option<usize>,
    known: &ItemState,
) -> Option<Permit> {
    // What a crash has left in doubt is looked at even if the run stops: nobody should have to do that by hand.
    let in_doubt = matches!(known.stage, Stage::Unknown | Stage::Applied);
    tokio::select! {
        biased;
        () = kit.stopping.cancelled(), if !in_doubt => None,
        () = kit.cut() => None,
        permit = limiter.acquire(parallel) => Some(permit),
    }
}

/// Works on an item until it is settled. Returns the message of a panic, after which nothing more is begun.
async fn work_on(
    kit: Arc<Kit>,
    step: Arc<PlannedStep>,
    item: PlannedItem,
    known: ItemState,
    _permit: Permit,
) -> Result<(), String> {
    let life = async {
        let at = Place { step: step.id.clone(), item: item.name };
        let made = make(&kit, &step, &item.args)
            .await
            .and_then(|work| Ok((work, extra_probe(&kit, &step)?)));
        match made {
            Ok((work, probe)) => {
                let policy = step.policy.clone();
                ItemRun::new(kit.clone(), policy, at, known, probe).work(work).await;
            }
            Err(error) => kit.emitter.emit(match known.stage {
                Stage::Unknown => Event::ApplyUnknown { at, error },
                Stage::Applied => Event::VerifyFailed { at, error },
                _ => Event::InspectFailed { at, error },
            }),
        }
    };
    AssertUnwindSafe(life).catch_unwind().await.map_err(|panic| {
        kit.stopping.cancel();
        panic_message(panic.as_ref())
    })
}

/// Makes the work of an item: what its verb does or, in a run that takes another one back, its reverse.
async fn make(kit: &Kit, step: &PlannedStep, args: &JsonText) -> Result<Work, ActionError> {
    let verb = verb(kit, &step.verb)?;
    match &kit.reverts {
        None => verb.make(args, &kit.resolve),
        Some(run) => take_back(verb, args, run, &kit.resolve, kit.vault.as_ref())
            .await
            .map(|back| Work::Action(Box::new(back))),
    }
}

/// Takes back what a step has changed, in the reverse order of what came into force.
pub(super) async fn undo_step(kit: Arc<Kit>, step: PlannedStep, known: StepState) -> TaskEnd {
    let mut touched: Vec<_> = known.items.into_iter().filter(|(_, item)| item.touched).collect();
    touched.sort_by_key(|(_, item)| std::cmp::Reverse(item.order));
    for (name, state) in touched {
        if kit.killing.is_cancelled() {
            break;
        }
        let at = Place { step: step.id.clone(), item: name.into() };
        let planned = step.items.resolved().iter().find(|item| item.name == at.item);
        let made = planned
            .ok_or_else(|| ActionError::new(ErrorKind::Invalid, "find the item in the plan"))
            .and_then(|item| verb(&kit, &step.verb)?.make(&item.args, &kit.resolve));
        match made.and_then(undoable) {
            Ok(Work::Action(action)) => {
                let policy = step.policy.clone();
                let mut run = ItemRun::new(kit.clone(), policy, at, state, None);
                if let Err(panic) = run.undo(action.as_ref()).await {
                    return TaskEnd::Panicked(panic);
                }
            }
            Ok(Work::Probe(_) | Work::Manual(_) | Work::Later(_) | Work::Hold(_)) => {}
            Err(error) => {
                let begun = kit.emitter.intend(Event::UndoStarted { at: at.clone() }).await;
                if begun.is_ok() {
                    kit.emitter.emit(Event::UndoFailed { at, error });
                }
            }
        }
    }
    TaskEnd::Through
}

/// Refuses to take back what cannot be taken back.
fn undoable(work: Work) -> Result<Work, ActionError> {
    if let Work::Action(action) = &work
        && let Reversal::Irreversible { reason } = action.reversal()
    {
        let error = ActionError::new(ErrorKind::Invalid, format!("take it back: {reason}"));
        return Err(error.hint("Undo it by hand if that is possible."));
    }
    Ok(work)
}

/// Whether a step wants its own changes taken back after it has failed.
pub(super) fn wants_undo(step: &PlannedStep, known: &StepState) -> bool {
    step.policy.on_failure == OnFailure::Undo && known.may_have_changed_something()
}

fn verb<'a>(kit: &'a Kit, name: &str) -> Result<&'a Verb, ActionError> {
    kit.resolve.registry.verb(name).ok_or_else(|| {
        ActionError::new(ErrorKind::Invalid, format!("find the verb `{name}` in this program"))
            .hint("Resume with the version of rollback that started the run.")
    })
}

fn extra_probe(kit: &Kit, step: &PlannedStep) -> Result<Option<Box<dyn Probe>>, ActionError> {
    let Some(planned) = &step.policy.verify.probe else { return Ok(None) };
    match verb(kit, &planned.verb)?.make(&planned.args, &kit.resolve)? {
        Work::Probe(probe) => Ok(Some(probe)),
        _ => {
            Err(ActionError::new(ErrorKind::Invalid, format!("use `{}` as a probe", planned.verb)))
        }
    }
}

/// The step's items. A deferred step finds them now, and writes them down before it works on them.
async fn find_items(kit: &Kit, step: &PlannedStep) -> Result<Vec<PlannedItem>, ActionError> {
    let elements = match &step.items {
        Items::Resolved(items) => return Ok(items.clone()),
        Items::Deferred(deferred) if deferred.args.is_empty() => {
            return Err(ActionError::new(ErrorKind::Invalid, deferred.reason.clone()));
        }
        Items::Deferred(deferred) => &deferred.args,
    };
    let verb = verb(kit, &step.verb)?;
    let deadline = Instant::now() + step.policy.timeout;
    let found = crate::plan::expand(verb, elements, &kit.resolve, deadline).await?;
    let event = Event::StepResolved { step: step.id.clone(), items: found.clone() };
    kit.emitter.intend(event).await.map_err(|error| {
        ActionError::new(ErrorKind::Failed, "write the items down").caused_by(&error)
    })?;
    Ok(found)
}
