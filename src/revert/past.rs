//! What a run has changed, and when.

use std::collections::HashMap;
use std::sync::Arc;

use crate::action::Evidence;
use crate::engine::lifecycle::Stage;
use crate::engine::recover::{self, RecoverError};
use crate::event::{Event, Header, Place, Record, SavedRecord};
use crate::plan::{PlannedItem, PlannedStep};
use crate::value::JsonText;

/// A run as its journal tells it.
#[derive(Debug, Clone)]
pub struct Past {
    /// What it started from, with the items that deferred steps found meanwhile.
    pub header: Arc<Header>,
    /// The hash of its last record.
    pub head: String,
    /// Every change of its own that may be in force, in the order of the plan.
    pub changes: Vec<Change>,
}

/// A change that may be in force.
#[derive(Debug, Clone)]
pub struct Change {
    /// The step.
    pub step: PlannedStep,
    /// The step's place in the plan.
    pub index: usize,
    /// The item.
    pub item: PlannedItem,
    /// The state before it.
    pub saved: SavedRecord,
    /// What it reported, where that was learnt.
    pub applied: Option<Evidence>,
    /// What was noted meanwhile.
    pub notes: Vec<JsonText>,
    /// Whether it is known to be in force. Otherwise it may have come half the way.
    pub settled: bool,
    /// The record that announced it.
    pub begun: u64,
    /// The record after which what waited for it could begin.
    pub ended: u64,
    /// How often the run had been taken up when it was made.
    pub session: u32,
    /// The resources that it was predicted to change.
    pub predicted: Vec<String>,
}

impl Change {
    /// Where it is meant.
    pub fn place(&self) -> Place {
        Place { step: self.step.id.clone(), item: self.item.name.clone() }
    }
}

/// When a change was made, and what it was predicted to do.
#[derive(Default)]
struct Marks {
    begun: u64,
    ended: u64,
    session: u32,
    predicted: Vec<String>,
}

impl Past {
    /// What the records of a journal tell; `head` is the hash of the last one.
    ///
    /// # Errors
    /// Records that cannot follow on each other.
    pub fn of(records: &[Record], head: String) -> Result<Self, RecoverError> {
        let (state, _) = recover::fold(records, false)?;
        let mut marks = marks(records);
        let mut changes = Vec::new();
        for (index, step) in state.plan().steps().enumerate() {
            for item in step.items.resolved() {
                let place = Place { step: step.id.clone(), item: item.name.clone() };
                let Some(known) = state.item(&place).filter(|known| known.touched) else {
                    continue;
                };
                let Marks { begun, ended, session, predicted } =
                    marks.remove(&place).unwrap_or_default();
                changes.push(Change {
                    step: step.clone(),
                    index,
                    item: item.clone(),
                    saved: known.saved().unwrap_or_default(),
                    applied: known.applied(),
                    notes: known.notes.clone(),
                    settled: matches!(known.stage, Stage::Verified | Stage::FoundDone),
                    begun,
                    ended,
                    session,
                    predicted,
                });
            }
        }
        Ok(Self { header: state.header.clone(), head, changes })
    }
}

fn marks(records: &[Record]) -> HashMap<Place, Marks> {
    let mut marks: HashMap<Place, Marks> = HashMap::new();
    let mut session = 0;
    for record in records {
        match &record.event {
            Event::RunResumed { .. } => session += 1,
            Event::Inspected { at, predicted, .. } => {
                let known = marks.entry(at.clone()).or_default();
                known.predicted = predicted.iter().map(|effect| effect.resource.clone()).collect();
            }
            Event::ApplyStarted { at, .. } => {
                let known = marks.entry(at.clone()).or_default();
                // Another attempt of the same session goes on with what the first one has begun.
                if known.begun == 0 || known.session != session {
                    known.begun = record.seq;
                }
                (known.ended, known.session) = (record.seq, session);
            }
            Event::Applied { at, .. }
            | Event::ApplyFailed { at, .. }
            | Event::ApplyUnknown { at, .. }
            | Event::FoundDone { at, .. }
            | Event::Verified { at, .. }
            | Event::VerifyFailed { at, .. } => {
                if let Some(known) = marks.get_mut(at).filter(|known| known.begun > 0) {
                    known.ended = record.seq;
                }
            }
            _ => {}
        }
    }
    marks
}
