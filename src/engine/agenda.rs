//! What may be done next, kept up to date from event to event.
//!
//! [`decide`](super::decide) tells what becomes of one step; which steps are worth asking about is remembered here: those whose
//! waits have changed since they were last asked. So are those that are running. An event costs what follows from it, however long the
//! runbook is.

use std::collections::BTreeSet;
use std::ops::Range;

use super::approval::{Gate, gate, waiting};
use super::decide::{Command, asks, start_or_skip};
use super::state::{RunState, StepState};
use crate::event::Event;
use crate::plan::StepId;

/// What is left to be done, by the plan's order of steps.
pub(super) struct Agenda {
    steps: Vec<Entry>,
    phases: Vec<Span>,
    /// The steps that may be startable now.
    candidates: BTreeSet<usize>,
    /// The steps that are running.
    running: BTreeSet<usize>,
}

/// A step.
struct Entry {
    phase: usize,
    required: bool,
    /// The steps that wait for it.
    followers: Vec<usize>,
    settled: bool,
}

/// A phase.
struct Span {
    steps: Range<usize>,
    /// Its required steps that have not settled.
    unsettled: usize,
}

impl Agenda {
    /// Everything that is left in this state.
    pub(super) fn of(state: &RunState) -> Self {
        let mut agenda = Self {
            steps: Vec::with_capacity(state.steps.len()),
            phases: Vec::new(),
            candidates: (0..state.steps.len()).collect(),
            running: BTreeSet::new(),
        };
        for (phase, planned) in state.plan().phases.iter().enumerate() {
            let first = agenda.steps.len();
            let entry = |required| Entry { phase, required, followers: Vec::new(), settled: false };
            agenda.steps.extend(planned.steps.iter().map(|step| entry(!step.policy.optional)));
            let unsettled = agenda.steps[first..].iter().filter(|step| step.required).count();
            agenda.phases.push(Span { steps: first..agenda.steps.len(), unsettled });
        }
        for (index, step) in state.plan().steps().enumerate() {
            for wait in &step.waits {
                if let Some(awaited) = state.steps.get_index_of(&wait.step) {
                    agenda.steps[awaited].followers.push(index);
                }
            }
        }
        for (index, known) in state.steps.values().enumerate() {
            agenda.update(index, known);
        }
        agenda
    }

    /// Takes in what an event, which the state has taken in already, means for what follows.
    pub(super) fn note(&mut self, state: &RunState, event: &Event) {
        match event {
            Event::StepStarted { step, .. }
            | Event::StepSkipped { step, .. }
            | Event::StepEnded { step, .. }
            | Event::DecisionAsked { step }
            | Event::FailureDecided { step, .. } => self.look_at(state, step),
            Event::ApprovalAnswered { step: Some(step), .. }
            | Event::ApprovalExpired { step: Some(step), .. } => {
                self.candidates.extend(state.steps.get_index_of(step));
            }
            Event::RunResumed { .. } => *self = Self::of(state),
            _ => {}
        }
    }

    fn look_at(&mut self, state: &RunState, id: &StepId) {
        if let Some((index, _, known)) = state.steps.get_full(id) {
            self.update(index, known);
        }
    }

    fn update(&mut self, index: usize, known: &StepState) {
        let step = &mut self.steps[index];
        if known.is_running() {
            self.running.insert(index);
        } else {
            self.running.remove(&index);
        }
        let settled = known.outcome.is_some() && !asks(known);
        if settled == step.settled {
            return;
        }
        step.settled = settled;
        let phase = &mut self.phases[step.phase];
        if step.required {
            phase.unsettled = if settled { phase.unsettled - 1 } else { phase.unsettled + 1 };
        }
        self.candidates.extend(&step.followers);
    }

    /// The steps that are running, with what is known of them.
    pub(super) fn running<'a>(
        &'a self,
        state: &'a RunState,
    ) -> impl Iterator<Item = (&'a StepId, &'a StepState)> {
        let step = |index: &usize| state.steps.get_index(*index).expect("a step of this state");
        self.running.iter().map(step)
    }

    /// The next thing to do at `now_ms` (since the run's start), or `None` when something in flight has to settle first.
    pub(super) fn next(&mut self, state: &RunState, now_ms: u64) -> Option<Command> {
        if state.ended.is_some() {
            return None;
        }
        let nothing_in_flight = self.running.is_empty();
        if state.stop.is_some() {
            return nothing_in_flight.then_some(Command::End);
        }
        match gate(state, None, state.plan().approval.as_ref()) {
            Gate::Open => {}
            Gate::Ask => return Some(Command::AskApproval(None)),
            Gate::Waits | Gate::Shut => return None,
        }
        for (phase, span) in state.plan().phases.iter().zip(&self.phases) {
            if !state.phases_started.contains_key(&phase.id) {
                return Some(Command::StartPhase(phase.id.clone()));
            }
            while let Some(index) = self.candidates.range(span.steps.clone()).next().copied() {
                let step = &phase.steps[index - span.steps.start];
                if let Some(command) = start_or_skip(state, step, now_ms) {
                    return Some(command);
                }
                // Asked again when something that it waits for changes.
                self.candidates.remove(&index);
            }
            if !state.phases_ended.contains(&phase.id) {
                // The next phase has to wait. Optional steps hold nobody up.
                return (span.unsettled == 0).then(|| Command::EndPhase(phase.id.clone()));
            }
        }
        (nothing_in_flight && waiting(state).next().is_none()).then_some(Command::End)
    }
}
