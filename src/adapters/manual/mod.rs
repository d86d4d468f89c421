//! Questions on a checklist: `manual.confirm`.
//!
//! An item with a probe needs no person: the probe is any other verb that only asks, made through the registry. An
//! item without one is recorded as open and asked later by `rollback confirm`, unless it is `required`.

mod confirm;
#[cfg(test)]
mod tests;

use crate::action::{System, Verb};

/// The system `manual`.
pub(super) fn system() -> System {
    System {
        name: "manual",
        summary: "Questions that a person, or a probe in a person's place, answers",
        connections: Vec::new(),
        verbs: vec![Verb::of::<confirm::Checklist>()],
    }
}
