//! A hold: hours in which nothing is changed and gates have to keep holding.
//!
//! Its time counts from its first record in the journal, on the run's own clock, which goes on while nobody runs the run. So a hold that
//! is taken up after its time has passed asks its gates once and is over. A gate that says no for longer than is tolerated fails
//! the hold. A gate of which nothing is known neither fails it nor lets it end: when the time is over, a person is asked, and the
//! gates still are, until one of the two has an answer.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::emitter::Message;
use super::item::{GRACE, ItemRun};
use super::lifecycle::Stage;
use crate::action::{ActionError, Answer, ErrorKind, Evidence, Gate, Hold, StepContext};
use crate::event::{Event, GateSeen, GateState};
use crate::value::brief;

/// How often a gate that must decide is asked at least: one that fails, or one of which nothing is known when the time is over.
const SOON: Duration = Duration::from_secs(10);

/// What a look at all gates comes to.
struct Look {
    gates: Vec<GateSeen>,
}

impl Look {
    fn any(&self, state: GateState) -> bool {
        self.gates.iter().any(|gate| gate.state == state)
    }

    /// The gates in this state with what was seen of them.
    fn told(&self, state: GateState) -> String {
        let told = self.gates.iter().filter(|gate| gate.state == state);
        told.map(|gate| format!("{}: {}", gate.gate, gate.seen)).collect::<Vec<_>>().join("; ")
    }

    /// The names of the gates in this state.
    fn named(&self, state: GateState) -> String {
        let named = self.gates.iter().filter(|gate| gate.state == state);
        named.map(|gate| gate.gate.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl ItemRun {
    /// Waits until the time is over and every gate holds, until a gate has failed for too long, or until the run stops.
    pub(super) async fn hold(&mut self, hold: &Hold) {
        let due_ms = self.began_ms(hold).saturating_add(millis(hold.lasting));
        let mut failing_ms = None;
        let mut question = None;
        loop {
            let Some(look) = self.look_at_gates(&hold.gates).await else { return };
            let now_ms = self.kit.clock.now_ms();
            let (at, gates) = (self.at.clone(), look.gates.clone());
            let left_ms = due_ms.saturating_sub(now_ms);
            self.kit.emitter.emit(Event::HoldLooked { at, left_ms, gates });
            let fails = look.any(GateState::Fails);
            let since_ms = *failing_ms.get_or_insert(now_ms);
            if fails && now_ms - since_ms >= millis(hold.tolerate) {
                return self.hold_failed(&look, hold, Duration::from_millis(left_ms));
            }
            let unknown = look.any(GateState::NoData);
            if left_ms == 0 && !fails && !unknown {
                return self.hold_is_over(hold);
            }
            if left_ms == 0 && unknown && !fails && question.is_none() {
                question = Some(self.ask_about(&look, hold));
            }
            let mut next_ms = now_ms + millis(hold.every);
            if fails {
                next_ms = next_ms.min(since_ms + millis(hold.tolerate)).min(now_ms + millis(SOON));
            } else {
                failing_ms = None;
            }
            next_ms =
                if left_ms == 0 { next_ms.min(now_ms + millis(SOON)) } else { next_ms.min(due_ms) };
            if !self.wait_until(next_ms, question.as_mut()).await {
                return;
            }
        }
    }

    /// When the hold first began, by this process or by one before.
    fn began_ms(&self, hold: &Hold) -> u64 {
        self.known.hold_ms.unwrap_or_else(|| {
            let began_ms = self.kit.clock.now_ms();
            let for_ms = millis(hold.lasting);
            self.kit.emitter.emit(Event::HoldBegan { at: self.at.clone(), for_ms });
            began_ms
        })
    }

    /// Asks all gates at once. `None` when the run stops: a hold changes nothing, so there is nothing to settle.
    async fn look_at_gates(&self, gates: &[Gate]) -> Option<Look> {
        let deadline = Instant::now() + self.policy.timeout;
        let (stopping, scratch) = (self.kit.stopping.child_token(), self.kit.scratch.clone());
        let cx = StepContext::new(deadline, stopping, scratch, self.kit.run.clone());
        let cx = cx.at(self.place.clone());
        let late = self.policy.timeout;
        let asked = join_all(gates.iter().map(|gate| ask(gate, &cx, late)));
        let stopped = async {
            self.kit.stopping.cancelled().await;
            sleep(GRACE).await;
        };
        let gates = tokio::select! {
            biased;
            gates = asked => gates,
            () = stopped => return None,
        };
        // What was cut off says nothing about the gates.
        (!self.kit.stopping.is_cancelled()).then_some(Look { gates })
    }

    fn hold_is_over(&self, hold: &Hold) {
        let held = match hold.gates.len() {
            0 => format!("waited for {}", brief(hold.lasting)),
            1 => format!("the gate has held for {}", brief(hold.lasting)),
            gates => format!("all {gates} gates have held for {}", brief(hold.lasting)),
        };
        let (at, evidence) = (self.at.clone(), Evidence::new(held));
        self.kit.emitter.emit(Event::Verified { at, evidence });
    }

    fn hold_failed(&self, look: &Look, hold: &Hold, left: Duration) {
        let told = look.told(GateState::Fails);
        let left = if left.is_zero() {
            String::new()
        } else {
            format!(", {} before its end", brief(left))
        };
        let text = format!("hold for {}{left}: {told}", brief(hold.lasting));
        let error = ActionError::new(ErrorKind::Failed, text)
            .hint("Nothing was changed by the hold. A resumed run asks the gates again, and its time goes on.");
        self.kit.emitter.emit(Event::VerifyFailed { at: self.at.clone(), error });
    }

    /// Asks a person whether the hold may end without the gates of which nothing is known.
    fn ask_about(&self, look: &Look, hold: &Hold) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        self.kit.emitter.send(Message::Waiting { at: self.at.clone(), answer });
        if self.known.stage != Stage::Open {
            let named = look.named(GateState::NoData);
            let lasting = brief(hold.lasting);
            let text = format!(
                "The {lasting} are over, and there are no data for {named}. Go on without them?"
            );
            self.kit.emitter.emit(Event::QuestionOpened {
                at: self.at.clone(),
                text,
                required: true,
                window: None,
                hold_ms: None,
            });
        }
        answered
    }

    /// False when the run stops, or a person has answered.
    async fn wait_until(&self, ms: u64, question: Option<&mut oneshot::Receiver<bool>>) -> bool {
        let answered = async {
            match question {
                // When the sender is gone, the run is.
                Some(question) => drop(question.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.kit.stopping.cancelled() => false,
            () = answered => false,
            () = sleep_until(self.kit.clock.instant(ms)) => true,
        }
    }
}

async fn ask(gate: &Gate, cx: &StepContext, patience: Duration) -> GateSeen {
    let answer = timeout_at(cx.deadline() + GRACE, gate.probe.answer(cx)).await;
    let (state, seen) = match answer {
        Ok(Ok(Answer::Yes { evidence })) => (GateState::Holds, evidence.summary),
        Ok(Ok(Answer::No { observed })) => (GateState::Fails, observed),
        Ok(Ok(Answer::NoData { reason })) => (GateState::NoData, reason),
        Ok(Err(error)) => (GateState::NoData, format!("failed to {}", error.message)),
        Err(_) => (GateState::NoData, format!("no answer within {}", brief(patience))),
    };
    GateSeen { gate: gate.text.clone(), state, seen }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
