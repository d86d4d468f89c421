//! The one event loop. Steps, signals, requests and the clock all arrive here; here alone the state changes.
//!
//! Every turn carries out what the [agenda](super::agenda) wants, then waits for the next thing to happen. Nothing in the loop
//! waits for a system or a disk, but for the lock of a subject that was lent for hours: steps run in their own tasks, and the journal has its own thread.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::agenda::Agenda;
use super::approval;
use super::custody::{Custody, Lease, Regained};
use super::decide::{Command, outcome, summary};
use super::emitter::{Emitter, Message, TaskEnd};
use super::executor::{KILL_GRACE, Kit, RunClock, run_step, undo_step, wants_undo};
use super::fanout::Limiters;
use super::item::panic_message;
use super::lifecycle::Stage;
use super::state::{RunState, StepState};
use super::{Request, Vault, deadline, ladder, verdict};
use crate::action::{ActionError, ErrorKind, ResolveContext};
use crate::event::{Actor, Event, Header, Outcome, Place, Record, StopReason};
use crate::failpoint;
use crate::journal::{Journal, JournalError};
use crate::plan::{PlannedStep, PlannedTarget, StepId};
use crate::runbook::OnFailure;
use crate::signal::Signal;

/// How often a subject is asked for that somebody else has for the moment.
const LOOK_FOR_SUBJECT: Duration = Duration::from_millis(500);

/// A run about to start, with everything it needs from the outside.
pub struct Engine {
    /// Connections and verbs.
    pub resolve: Arc<ResolveContext>,
    /// Where events become durable.
    pub journal: Journal,
    /// Where private saved states lie.
    pub vault: Arc<dyn Vault>,
    /// A private folder for what steps park.
    pub scratch: PathBuf,
    /// Signals to this process.
    pub signals: mpsc::UnboundedReceiver<Signal>,
    /// Requests from people.
    pub requests: mpsc::UnboundedReceiver<Request>,
    /// Whether somebody can be asked (`on_failure: ask`).
    pub attended: bool,
    /// Who keeps the subject.
    pub custody: Arc<dyn Custody>,
}

impl Engine {
    /// Runs a plan from its start, which the journal has recorded already. The run's state is made with this call, on the thread that has
    /// made the plan: there the memory is free that the planning needed. Its clock starts when the run does.
    pub fn run(self, header: Arc<Header>) -> impl Future<Output = Ended> + use<> {
        let state = RunState::new(header);
        async move { Dispatcher::new(self, state, 0).run_out().await }
    }

    /// Goes on with a run that was interrupted. `elapsed_ms` is the time since its first start.
    pub async fn resume(
        self,
        state: RunState,
        elapsed_ms: u64,
        by: Actor,
        salvaged: Option<String>,
    ) -> Ended {
        let mut run = Dispatcher::new(self, state, elapsed_ms);
        run.emit(Event::RunResumed { by, salvaged });
        run.reach_targets_of_finished_steps();
        run.let_go_of_finished_steps();
        run.run_out().await
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The state in which it ended.
    pub state: RunState,
    /// What could not be recorded because the journal was lost, for the eyes of whoever watches.
    pub unrecorded: Vec<Record>,
}

struct Dispatcher {
    state: RunState,
    agenda: Agenda,
    unrecorded: Vec<Record>,
    journal: Journal,
    kit: Arc<Kit>,
    /// Dropped with the dispatcher: no step outlives its run.
    tasks: JoinSet<()>,
    messages: mpsc::UnboundedReceiver<Message>,
    signals: mpsc::UnboundedReceiver<Signal>,
    requests: mpsc::UnboundedReceiver<Request>,
    waiting: Vec<(Place, oneshot::Sender<bool>)>,
    attended: bool,
    /// How often this process was told to end by a signal.
    told_to_end: u32,
    lease: Lease,
}

/// What ended a wait.
enum Woken {
    Message(Message),
    Signal(Signal),
    Request(Request),
    Alarm,
}

impl Dispatcher {
    fn new(engine: Engine, state: RunState, offset_ms: u64) -> Self {
        let (to, messages) = mpsc::unbounded_channel();
        let started = Instant::now();
        let give_up = state.plan().give_up.map(|limit| started + limit);
        let kit = Kit {
            resolve: engine.resolve,
            emitter: Emitter::new(to),
            vault: engine.vault,
            scratch: engine.scratch.into(),
            run: state.header.run.as_str().into(),
            reverts: state.plan().reverts.as_ref().map(|former| former.run.clone()),
            limiters: Limiters::default(),
            stopping: CancellationToken::new(),
            killing: CancellationToken::new(),
            acknowledged: CancellationToken::new(),
            kill_by: OnceLock::new(),
            give_up,
            notes: super::item::Notes::default(),
            clock: RunClock { started, offset_ms },
        };
        Self {
            agenda: Agenda::of(&state),
            state,
            unrecorded: Vec::new(),
            journal: engine.journal,
            kit: Arc::new(kit),
            tasks: JoinSet::new(),
            messages,
            signals: engine.signals,
            requests: engine.requests,
            waiting: Vec::new(),
            attended: engine.attended,
            told_to_end: 0,
            lease: Lease::of(engine.custody),
        }
    }

    async fn run_out(mut self) -> Ended {
        let passed = Duration::from_millis(self.now_ms());
        let _handle = self.tasks.spawn(ladder::climb(self.kit.clone(), &self.state, passed));
        loop {
            self.check_journal();
            for event in deadline::due(&self.state, self.now_ms()) {
                self.emit(event);
            }
            while let Some(command) = self.next() {
                if self.carry_out(command).is_break() {
                    break;
                }
            }
            if self.state.ended.is_some() {
                break;
            }
            self.lease.lend_while_it_waits(&self.state, &self.agenda);
            match self.woken().await {
                Woken::Message(message) => self.on_message(message),
                Woken::Signal(signal) => self.on_signal(signal),
                Woken::Request(request) => self.on_request(request),
                Woken::Alarm => {}
            }
        }
        self.journal.close().await;
        Ended { state: self.state, unrecorded: self.unrecorded }
    }

    fn next(&mut self) -> Option<Command> {
        let now_ms = self.now_ms();
        let next = self.agenda.next(&self.state, now_ms);
        #[cfg(test)]
        assert_eq!(
            next,
            super::decide::decide(&self.state, now_ms),
            "the agenda has missed something"
        );
        #[cfg(test)]
        assert!(
            self.agenda.running(&self.state).map(|(id, _)| id).eq(self
                .state
                .steps
                .iter()
                .filter(|(_, step)| step.is_running())
                .map(|(id, _)| id)),
            "the agenda has missed the start or the end of a step"
        );
        next
    }

    async fn woken(&mut self) -> Woken {
        let due = deadline::next_ms(&self.state).map(|at| self.kit.clock.instant(at));
        let look = self.lease.is_awaited().then(|| Instant::now() + LOOK_FOR_SUBJECT);
        let alarm = due.into_iter().chain(look).min();
        let alarm = async {
            match alarm {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(signal) = self.signals.recv() => Woken::Signal(signal),
            Some(message) = self.messages.recv() => Woken::Message(message),
            Some(request) = self.requests.recv() => Woken::Request(request),
            () = alarm => Woken::Alarm,
            else => Woken::Alarm,
        }
    }

    fn now_ms(&self) -> u64 {
        self.kit.clock.now_ms()
    }

    /// Takes an event into the state, acts on it, hands it to the journal, and goes on with what follows from it.
    fn emit(&mut self, event: Event) {
        if !self.take_in(&event) {
            return;
        }
        // Whoever is woken by this can tell of it only through the messages, of which none is read before this one is on its way to the journal.
        let follows = self.react_to(&event);
        // A full disk still takes what announces no change; a journal that is lost takes nothing.
        match self.journal.trouble() {
            Some(error) if !error.is_no_space() => {
                let (at, elapsed_ms) = (crate::clock::now(), self.now_ms());
                self.unrecorded.push(Record { seq: 0, at, elapsed_ms, event });
            }
            _ => self.journal.append_nowait(event, self.now_ms()),
        }
        if let Some(event) = follows {
            self.emit(event);
        }
    }

    /// An event that may not follow is a bug in this program: it is not written, and the run stops.
    fn take_in(&mut self, event: &Event) -> bool {
        match self.state.apply(self.now_ms(), event) {
            Ok(()) => {
                self.agenda.note(&self.state, event);
                true
            }
            Err(illegal) => {
                self.stop(StopReason::Panicked { message: illegal.to_string() });
                false
            }
        }
    }

    /// What a change of the state means for the tasks at work, and the event that follows from it, if one does.
    fn react_to(&mut self, event: &Event) -> Option<Event> {
        match event {
            Event::StopRequested { reason } => {
                self.kit.stopping.cancel();
                (*reason == StopReason::GaveUp).then_some(Event::KillRequested)
            }
            Event::KillRequested => {
                self.kit.kill_by.get_or_init(|| Instant::now() + KILL_GRACE);
                self.kit.killing.cancel();
                None
            }
            Event::ApprovalAnswered { step, role, name, approved: false, .. } => {
                let missing = approval::missing(&self.state, step.as_ref(), role, Some(name));
                self.request_to_stop(missing?)
            }
            Event::ApprovalExpired { step, role } => {
                self.request_to_stop(approval::missing(&self.state, step.as_ref(), role, None)?)
            }
            Event::Acknowledged { .. } => {
                self.kit.acknowledged.cancel();
                None
            }
            Event::QuestionAnswered { at, confirmed, .. } => {
                let index = self.waiting.iter().position(|(place, _)| place == at)?;
                let (_, answer) = self.waiting.swap_remove(index);
                // The item may have stopped waiting in the same moment.
                let _stopped = answer.send(*confirmed);
                None
            }
            _ => None,
        }
    }

    /// The first reason to stop is the one that counts, but for a bug.
    fn request_to_stop(&self, reason: StopReason) -> Option<Event> {
        let counts = self.state.stop.is_none() || matches!(reason, StopReason::Panicked { .. });
        counts.then_some(Event::StopRequested { reason })
    }

    fn stop(&mut self, reason: StopReason) {
        if let Some(event) = self.request_to_stop(reason) {
            self.emit(event);
        }
    }

    /// A journal that cannot be written stops the run before anything else is changed.
    fn check_journal(&mut self) {
        if self.state.stop.is_none()
            && let Some(error) = self.journal.trouble()
        {
            self.stop(StopReason::JournalLost { error: error.to_string() });
        }
    }

    /// Breaks when nothing more can be done for now.
    fn carry_out(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::StartPhase(phase) => self.emit(Event::PhaseStarted { phase }),
            Command::EndPhase(phase) => self.emit(Event::PhaseEnded { phase }),
            Command::Skip(step, reason) => self.emit(Event::StepSkipped { step, reason }),
            Command::AskApproval(step) => {
                if let Some(approval) = self.state.plan().approval_of(step.as_ref()).cloned() {
                    self.emit(Event::ApprovalAsked { step, approval });
                }
            }
            Command::Start(step) => {
                failpoint::fall_over("engine.start");
                let waits_already = self.lease.is_awaited();
                match self.lease.take_back() {
                    Ok(Regained::Held) => self.start(&step),
                    Ok(Regained::NotYet { holder }) => {
                        if !waits_already {
                            let message = format!(
                                "{step} waits for the subject: {holder} has it; this run goes on when it is free"
                            );
                            self.emit(Event::Warned { message });
                        }
                        return ControlFlow::Break(());
                    }
                    Err(reason) => self.stop(reason),
                }
            }
            Command::End => {
                let verdict = verdict::judge(&self.state);
                self.emit(Event::RunEnded { verdict, exit_code: verdict::exit_code(verdict) });
            }
        }
        ControlFlow::Continue(())
    }

    fn start(&mut self, id: &StepId) {
        let left_ms = deadline::left_ms(&self.state, self.now_ms());
        self.emit(Event::StepStarted { step: id.clone(), left_ms });
        let Some((step, known)) = self.state.step(id) else { return };
        let (step, known) = (step.clone(), known.clone());
        if known.is_on_its_way_back() {
            self.spawn(id.clone(), undo_step(self.kit.clone(), step, known));
        } else {
            self.spawn(id.clone(), run_step(self.kit.clone(), step, known));
        }
    }

    fn spawn(&mut self, step: StepId, task: impl Future<Output = TaskEnd> + Send + 'static) {
        let emitter = self.kit.emitter.clone();
        let _handle = self.tasks.spawn(async move {
            let end = std::panic::AssertUnwindSafe(task)
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| TaskEnd::Panicked(panic_message(panic.as_ref())));
            emitter.send(Message::Finished { step, end });
        });
    }

    fn on_message(&mut self, message: Message) {
        match message {
            // A system may echo what it was sent, so nothing of it goes on as it came.
            Message::Event(event) if self.state.is_settled_by_a_person(&event) => {}
            Message::Event(event) => {
                self.emit(event.redacted(self.kit.resolve.connections.secrets()));
            }
            Message::Withdrawn { at } => self.state.withdraw(&at),
            Message::Intent { event, reply } => {
                if self.take_in(&event) {
                    // Nobody waits any more when the item was cut off in the same moment.
                    let _cut = reply.send(self.journal.append(event, self.now_ms()));
                }
            }
            Message::Waiting { at, answer } => self.waiting.push((at, answer)),
            Message::Finished { step, end } => {
                // A set of tasks keeps those that have ended until somebody asks for them.
                while self.tasks.try_join_next().is_some() {}
                self.finish(&step, end);
            }
        }
    }

    fn finish(&mut self, id: &StepId, end: TaskEnd) {
        // A step that ended because nothing can be recorded is not what stops the run.
        self.check_journal();
        let Some((step, known)) = self.state.step(id) else { return };
        let step = step.clone();
        let mut failure = None;
        match end {
            TaskEnd::Through => {
                let failed = matches!(outcome(known), Outcome::Failed | Outcome::Unknown);
                // A way back is new work, and told to stop at once the run begins none.
                if failed
                    && !self.state.killed
                    && wants_undo(&step, known)
                    && known.decision.is_none()
                {
                    // Marks the way back, so that it is gone once.
                    let known = known.clone();
                    self.emit(Event::FailureDecided {
                        step: id.clone(),
                        by: self.state.header.by.clone(),
                        go_on: false,
                    });
                    self.spawn(id.clone(), undo_step(self.kit.clone(), step, known));
                    return;
                }
            }
            TaskEnd::Unresolved(error) => failure = Some(error),
            TaskEnd::Panicked(message) => {
                self.mark_in_flight_unknown(id);
                let message = self.kit.resolve.connections.secrets().redact(&message);
                self.stop(StopReason::Panicked { message });
            }
        }
        self.conclude(id, &step, failure);
    }

    fn mark_in_flight_unknown(&mut self, id: &StepId) {
        let in_flight: Vec<_> = self
            .state
            .steps
            .get(id)
            .into_iter()
            .flat_map(|step| step.items.iter())
            .filter(|(_, item)| item.stage == Stage::Applying)
            .map(|(name, _)| name.to_owned())
            .collect();
        for item in in_flight {
            let at = Place { step: id.clone(), item };
            let error = ActionError::new(ErrorKind::Unknown, "see the end of the change: a bug");
            self.emit(Event::ApplyUnknown { at, error });
        }
    }

    fn conclude(&mut self, id: &StepId, step: &PlannedStep, failure: Option<ActionError>) {
        let Some(known) = self.state.steps.get(id) else { return };
        let (mut ended, mut summary) = (outcome(known), summary(known));
        if let Some(error) = failure {
            (ended, summary) = (Outcome::Failed, Some(error.message));
        }
        self.emit(Event::StepEnded { step: id.clone(), outcome: ended, summary });
        match ended {
            outcome if outcome.is_success() => {
                self.state.let_go(id);
                self.reach_targets(id, self.now_ms());
            }
            Outcome::NotStarted => {}
            _ if step.policy.optional => {}
            _ => self.on_failure(id, step.policy.on_failure),
        }
    }

    /// A crash can cut off between a step's end and the target that it proves.
    fn reach_targets_of_finished_steps(&mut self) {
        let unreached = |target: &&PlannedTarget| {
            self.state.targets.get(&target.name).is_none_or(|known| known.took_ms.is_none())
        };
        let proved = |target: &PlannedTarget| {
            let step = self.state.steps.get(&target.reached_by)?;
            let proves = step.outcome?.is_success() && step.outcome != Some(Outcome::Skipped);
            proves.then_some((target.reached_by.clone(), step.ended_ms?))
        };
        let reached: Vec<_> =
            self.state.plan().targets.iter().filter(unreached).filter_map(proved).collect();
        for (step, ended_ms) in reached {
            self.reach_targets(&step, ended_ms);
        }
    }

    /// As [`conclude`](Self::conclude) does with each.
    fn let_go_of_finished_steps(&mut self) {
        let steps = self.state.steps.iter();
        let succeeded = |step: &StepState| step.outcome.is_some_and(Outcome::is_success);
        let finished: Vec<StepId> =
            steps.filter(|(_, step)| succeeded(step)).map(|(id, _)| id.clone()).collect();
        finished.iter().for_each(|id| self.state.let_go(id));
    }

    /// Records the targets that a step has proved at `at_ms`, each once.
    fn reach_targets(&mut self, id: &StepId, at_ms: u64) {
        let reached: Vec<_> = self
            .state
            .plan()
            .targets
            .iter()
            .filter(|target| target.reached_by == *id)
            .map(|target| Event::TargetReached {
                target: target.name.clone(),
                took_ms: deadline::took_ms(&self.state, target, at_ms),
                in_time: deadline::target_due_ms(&self.state, target)
                    .is_none_or(|due| at_ms <= due),
            })
            .collect();
        for event in reached {
            self.emit(event);
        }
    }

    fn on_failure(&mut self, id: &StepId, policy: OnFailure) {
        match policy {
            OnFailure::Continue => {}
            OnFailure::Ask if self.attended && self.state.stop.is_none() => {
                self.emit(Event::DecisionAsked { step: id.clone() });
            }
            OnFailure::Stop | OnFailure::Undo | OnFailure::Ask => {
                self.stop(StopReason::StepFailed { step: id.clone() });
            }
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Interrupt => self.told_to_end(StopReason::Interrupted),
            Signal::Terminate => self.told_to_end(StopReason::Terminated { by: None }),
            Signal::HangUp => {
                self.emit(Event::OutputLost { what: "the terminal hung up".to_owned() });
                self.lose_person();
            }
        }
    }

    /// The first time nothing more is started, the second time what is in flight is cut off. A run that stops for
    /// another reason counts like any other: whoever interrupts it once wants it to settle.
    fn told_to_end(&mut self, reason: StopReason) {
        self.told_to_end += 1;
        if self.told_to_end > 1 && self.state.stop.is_some() {
            if !self.state.killed {
                self.emit(Event::KillRequested);
            }
        } else if self.state.stop.is_some() {
            let message = "already stopping, letting what is in flight settle; once more stops now";
            self.emit(Event::Warned { message: message.to_owned() });
        } else {
            self.stop(reason);
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Answer { at, by, confirmed, remark } => {
                let open = self.state.item(&at).is_some_and(|item| item.stage == Stage::Open);
                if open {
                    self.emit(Event::QuestionAnswered { at, by, confirmed, remark });
                }
            }
            Request::Decide { step, by, go_on } => {
                let asked =
                    self.state.steps.get(&step).is_some_and(|known| known.decision == Some(None));
                if asked {
                    self.emit(Event::FailureDecided { step: step.clone(), by, go_on });
                    if !go_on {
                        self.stop(StopReason::StepFailed { step });
                    }
                }
            }
            Request::Approve(answer) => {
                let told = approval::answered(&self.state, answer);
                self.emit(told.unwrap_or_else(|message| Event::Warned { message }));
            }
            Request::Acknowledge { by, remark } if !self.state.acknowledged => {
                self.emit(Event::Acknowledged { by, remark });
            }
            // It was known already.
            Request::Acknowledge { .. } => {}
            Request::TakeOver { run, runbook } => {
                self.stop(StopReason::TakenOver { run, runbook });
            }
            Request::Stop { by } => self.stop(StopReason::Terminated { by: Some(by) }),
            Request::Tell(event) => self.emit(event),
            Request::Unattended => self.lose_person(),
        }
    }

    /// Nobody can be asked any more: a failure that waits for a decision means stop, as without a terminal.
    fn lose_person(&mut self) {
        self.attended = false;
        let by = self.state.header.by.clone();
        let undecided = self.state.steps.iter().filter(|(_, step)| step.decision == Some(None));
        let undecided: Vec<StepId> = undecided.map(|(id, _)| id.clone()).collect();
        for step in undecided {
            self.emit(Event::FailureDecided { step: step.clone(), by: by.clone(), go_on: false });
            self.stop(StopReason::StepFailed { step });
        }
    }
}

/// The error of a run whose journal is gone.
impl From<JournalError> for ActionError {
    fn from(error: JournalError) -> Self {
        Self::new(ErrorKind::Failed, "write the journal").caused_by(&error)
    }
}
