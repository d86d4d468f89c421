//! The escalation ladder: who is told, one rung after the other, until somebody acknowledges the run.
//!
//! It runs beside the steps and holds nothing up, the end of the run not either: what is on its way then is left to itself. A rung
//! is on disk before its messages leave, and so is the end of each; a resumed run sends none again whose end is known, and of the
//! others only those that may be sent twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::executor::Kit;
use super::retry;
use super::state::RunState;
use crate::action::{Action, ActionError, ErrorKind, Readiness, Repeat, StepContext, Verb, Work};
use crate::event::Event;
use crate::plan::{PlannedMessage, PlannedRung, RetryPolicy};

/// The attempts at one message. Whoever is not reached after these is not reached by waiting: the next rung is.
const ATTEMPTS: RetryPolicy =
    RetryPolicy { attempts: 4, delay: Duration::from_secs(2), max_delay: Duration::from_secs(30) };

/// A rung that is still to be climbed, or to be finished.
struct Rung {
    plan: PlannedRung,
    due: Instant,
    /// The messages whose end is known, if the rung was raised before.
    told: Option<BTreeSet<String>>,
}

/// Climbs what is left of a run's ladder, `passed` after the run's start.
pub(super) fn climb(
    kit: Arc<Kit>,
    state: &RunState,
    passed: Duration,
) -> impl Future<Output = ()> + use<> {
    let now = Instant::now();
    let rung = |plan: &PlannedRung| Rung {
        due: now + plan.after.saturating_sub(passed),
        told: state.rungs.get(&plan.level).cloned(),
        plan: plan.clone(),
    };
    let plans = left(&state.plan().escalation, |level| state.rungs.contains_key(level), passed);
    let rungs: Vec<Rung> = plans.into_iter().map(rung).collect();
    let acknowledged = kit.acknowledged.clone();
    if state.acknowledged {
        acknowledged.cancel();
    }
    async move {
        let climbing = join_all(rungs.into_iter().map(|rung| raise(&kit, rung)));
        let _acknowledged = acknowledged.run_until_cancelled(climbing).await;
    }
}

/// The rungs that are still to be climbed. While nobody ran the run, several may have become due: the highest of them is raised, since
/// who comes back has to wake somebody, and not everybody at once.
fn left(
    plans: &[PlannedRung],
    is_raised: impl Fn(&str) -> bool,
    passed: Duration,
) -> Vec<&PlannedRung> {
    let missed = |plan: &&PlannedRung| plan.after <= passed && !is_raised(&plan.level);
    let highest = plans.iter().rfind(missed);
    let stays = |plan: &&PlannedRung| !missed(plan) || highest.is_some_and(|top| top == *plan);
    plans.iter().filter(stays).collect()
}

async fn raise(kit: &Kit, rung: Rung) {
    sleep_until(rung.due).await;
    let Rung { plan: PlannedRung { level, who, phone, messages, .. }, told, .. } = rung;
    let again = told.is_some();
    if !again {
        let raised = Event::RungRaised { level: level.clone(), who, phone };
        if kit.emitter.intend(raised).await.is_err() {
            // Not on disk, so not done: a resumed run would do it once more.
            return;
        }
    }
    let told = told.unwrap_or_default();
    let left = messages.iter().filter(|message| !told.contains(&message.name));
    join_all(left.map(async |message| {
        let error = tell(kit, &level, message, again).await.err();
        let (level, message) = (level.clone(), message.name.clone());
        kit.emitter.emit(Event::RungTold { level, message, error });
    }))
    .await;
}

/// Sends one message; `again` says that it may have been sent by a process that has died.
async fn tell(
    kit: &Kit,
    level: &str,
    message: &PlannedMessage,
    again: bool,
) -> Result<(), ActionError> {
    let verb = kit.resolve.registry.verb(&message.verb).copied().ok_or_else(|| {
        ActionError::new(ErrorKind::Invalid, format!("find the verb `{}`", message.verb))
    })?;
    let Work::Action(action) = verb.make(&message.args, &kit.resolve)? else {
        return Err(ActionError::new(ErrorKind::Invalid, "send what is no message"));
    };
    if again && action.repeat() == Repeat::Never {
        let text = "learn whether it was sent: the process that sent it has died";
        return Err(ActionError::new(ErrorKind::Unknown, text));
    }
    let place = format!("escalation/{level}/{}", message.name);
    let mut waits = retry::waits(&ATTEMPTS);
    loop {
        let Err(error) = attempt(kit, &verb, &*action, &place).await else { return Ok(()) };
        let passes = if error.outcome_unknown() {
            action.repeat() != Repeat::Never
        } else {
            error.retryable
        };
        match waits.next() {
            Some(wait) if passes => sleep(wait).await,
            _ => return Err(error),
        }
    }
}

async fn attempt(
    kit: &Kit,
    verb: &Verb,
    action: &dyn Action,
    place: &str,
) -> Result<(), ActionError> {
    let deadline = Instant::now() + verb.timeout;
    let cx = StepContext::new(deadline, kit.killing.clone(), kit.scratch.clone(), kit.run.clone());
    let cx = cx.at(place);
    match action.inspect(&cx).await? {
        Readiness::AlreadyDone { .. } => Ok(()),
        Readiness::Needed { saved, .. } => action.apply(&cx, &saved).await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Request;
    use crate::engine::testing::{Bench, Switch, Trouble, actor, bad, on, plan, switch};
    use crate::journal::MemoryLog;
    use crate::plan::{Plan, PlannedMessage};
    use crate::value::JsonText;

    const MINUTE: u64 = 60;

    fn rung(level: &str, after: u64, messages: &[Switch]) -> PlannedRung {
        let message = |args: &Switch| PlannedMessage {
            name: args.key.clone(),
            verb: "test.switch".into(),
            args: JsonText::of(args).unwrap(),
        };
        PlannedRung {
            level: level.into(),
            who: "somebody".into(),
            after: Duration::from_secs(after),
            phone: None,
            messages: messages.iter().map(message).collect(),
        }
    }

    /// A run of one step that takes three minutes.
    fn slow(escalation: Vec<PlannedRung>) -> Plan {
        let mut work = switch("work", Switch { takes_ms: 3 * MINUTE * 1000, ..on("work") });
        work.policy.timeout = Duration::from_secs(10 * MINUTE);
        Plan { escalation, ..plan(vec![vec![work]]) }
    }

    /// The rungs that were raised, and what became of each message.
    fn told(log: &MemoryLog) -> (Vec<String>, Vec<(String, Option<ErrorKind>)>) {
        let (mut raised, mut told) = (Vec::new(), Vec::new());
        for record in log.records() {
            match &record.event {
                Event::RungRaised { level, .. } => raised.push(level.clone()),
                Event::RungTold { message, error, .. } => {
                    told.push((message.clone(), error.as_ref().map(|error| error.kind)));
                }
                _ => {}
            }
        }
        (raised, told)
    }

    #[test]
    fn of_the_rungs_that_were_missed_the_highest_is_raised() {
        let plans: Vec<PlannedRung> = [("L1", 0), ("L2", 2), ("L3", 5), ("L4", 10)]
            .map(|(level, after)| rung(level, after, &[]))
            .into();
        let levels = |raised: &[&str], passed| -> Vec<String> {
            let is_raised = |level: &str| raised.contains(&level);
            let left = left(&plans, is_raised, Duration::from_secs(passed));
            left.into_iter().map(|plan| plan.level.clone()).collect()
        };
        assert_eq!(levels(&[], 0), ["L1", "L2", "L3", "L4"]);
        // What was raised stays, for messages whose end is not known.
        assert_eq!(levels(&["L1"], 6), ["L1", "L3", "L4"]);
        assert_eq!(levels(&["L1"], 60), ["L1", "L4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn rungs_are_raised_in_their_time_and_hold_nothing_up() {
        let alone = Instant::now();
        let (_, _) = Bench::new().run(slow(Vec::new())).await;
        let alone = alone.elapsed();

        let bench = Bench::new();
        let hangs = Switch { takes_ms: 0, ..bad("hangs", Trouble::Hangs) };
        let ladder = vec![
            rung("L1", 0, &[on("first"), hangs]),
            rung("L2", 2 * MINUTE, &[on("second")]),
            rung("L3", 3 * MINUTE - 1, &[bad("late", Trouble::Hangs)]),
            rung("L4", 10 * MINUTE, &[on("never")]),
        ];
        let began = Instant::now();
        let (state, log) = bench.run(slow(ladder)).await;
        assert_eq!(began.elapsed(), alone);
        assert_eq!(state.ended.unwrap().1, 0);
        let (raised, told) = told(&log);
        assert_eq!(raised, ["L1", "L2", "L3"]);
        let wanted =
            [("first", None), ("second", None)].map(|(name, kind)| (name.to_owned(), kind));
        assert_eq!(told, wanted, "what hangs has no end, and nobody waits for it");
        assert!(!bench.world().is_on("never"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_further_up_is_told_once_somebody_takes_notice() {
        let bench = Bench::new();
        let ladder =
            || vec![rung("L1", 0, &[on("first")]), rung("L2", 2 * MINUTE, &[on("second")])];
        let (run, handles) = bench.start(slow(ladder()));
        let requests = handles.requests.clone();
        let noticed = async {
            tokio::time::sleep(Duration::from_secs(MINUTE)).await;
            for remark in ["on it", "twice"] {
                let remark = Some(remark.to_owned());
                requests.send(Request::Acknowledge { by: actor(), remark }).unwrap();
            }
        };
        let (ended, ()) = tokio::join!(run, noticed);
        assert!(ended.state.acknowledged);
        assert_eq!(told(&handles.log).0, ["L1"]);
        let notices = handles.log.records();
        let notices: Vec<_> = notices
            .iter()
            .filter_map(|record| match &record.event {
                Event::Acknowledged { remark, .. } => remark.clone(),
                _ => None,
            })
            .collect();
        assert_eq!(notices, ["on it"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resumed_run_sends_again_only_what_may_come_twice() {
        let bench = Bench::new();
        let once = Switch { takes_ms: 1000, never_twice: true, ..on("once") };
        let again = Switch { takes_ms: 1000, ..on("again") };
        let ladder = vec![rung("L1", 0, &[on("done"), once, again]), rung("L2", 30, &[on("next")])];
        let (run, handles) = bench.start(slow(ladder));
        assert!(tokio::time::timeout(Duration::from_millis(500), run).await.is_err(), "killed");
        assert_eq!(told(&handles.log).0, ["L1"]);
        let (run, handles) = bench.resume(handles.log, None);
        let _ended = run.await;
        let (raised, told) = told(&handles.log);
        assert_eq!(raised, ["L1", "L2"]);
        let of = |name: &str| {
            let ends = told.iter().filter(|(message, _)| message == name);
            ends.map(|(_, kind)| *kind).collect::<Vec<_>>()
        };
        assert_eq!(of("done"), [None]);
        assert_eq!(of("once"), [Some(ErrorKind::Unknown)]);
        assert_eq!(of("again"), [None]);
        assert_eq!(of("next"), [None]);
        let attempts = bench.world().attempts.lock().unwrap().clone();
        assert_eq!((attempts["done"], attempts["once"], attempts["again"]), (1, 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_and_what_does_not_is_told() {
        let bench = Bench::new();
        let ladder = [
            bad("passes", Trouble::FailsTwice),
            bad("stays", Trouble::Unreachable),
            bad("fails", Trouble::Fails),
            Switch { never_twice: true, ..bad("lost", Trouble::RequestLost) },
        ];
        let (state, log) = bench.run(slow(vec![rung("L1", 0, &ladder)])).await;
        assert_eq!(state.ended.unwrap().1, 0, "a message that fails is no failure of the run");
        let mut ends = told(&log).1;
        ends.sort_by(|one, other| one.0.cmp(&other.0));
        let wanted = [
            ("fails", Some(ErrorKind::Failed)),
            ("lost", Some(ErrorKind::Unknown)),
            ("passes", None),
            ("stays", Some(ErrorKind::Unreachable)),
        ];
        assert_eq!(ends, wanted.map(|(name, kind)| (name.to_owned(), kind)));
        let attempts = bench.world().attempts.lock().unwrap().clone();
        assert_eq!((attempts["fails"], attempts["lost"]), (1, 1));
        assert_eq!((attempts["passes"], attempts["stays"]), (3, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledged_run_stays_so_when_it_is_resumed() {
        let bench = Bench::new();
        let (run, handles) = bench.start(slow(vec![rung("L1", 2 * MINUTE, &[on("first")])]));
        handles.requests.send(Request::Acknowledge { by: actor(), remark: None }).unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), run).await.is_err(), "killed");
        let (run, handles) = bench.resume(handles.log, None);
        assert!(run.await.state.acknowledged);
        assert!(told(&handles.log).0.is_empty());
    }
}
