//! Questions to people and, after a run, to systems: what was asked, what was answered, and how long it has held.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::action::Window;
use crate::event::{Actor, Event, Place};

/// Two looks that are further apart than this say nothing about the time between them.
const FURTHEST_APART_MS: u64 = 5 * 60 * 1000;

/// A question as its readers see it.
#[derive(Debug, Clone, Serialize)]
pub struct QuestionView {
    /// Its place.
    pub at: Place,
    /// The sentence to confirm.
    pub text: String,
    /// Whether the run waits for the answer.
    #[serde(skip)]
    pub required: bool,
    /// When, after the run, it is asked; a part of the run itself where no window is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// How long a probe's answer has to hold, where a probe answers in place of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// The probe's last look, and since when it has held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look: Option<LookView>,
    /// The answer, who gave it, and a remark.
    pub answer: Option<(bool, Actor, Option<String>)>,
}

/// The last look of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookView {
    /// When, milliseconds since the run's start.
    pub at_ms: u64,
    /// Since when every look has held; `None` when the last one does not.
    pub since_ms: Option<u64>,
    /// What was seen.
    pub seen: String,
}

impl QuestionView {
    /// The question that an event asks.
    pub(super) fn opened(event: &Event) -> Option<Self> {
        let Event::QuestionOpened { at, text, required, window, hold_ms } = event else {
            return None;
        };
        Some(Self {
            at: at.clone(),
            text: text.clone(),
            required: *required,
            window: *window,
            hold_ms: *hold_ms,
            look: None,
            answer: None,
        })
    }

    /// Takes in what a probe has seen.
    pub(super) fn looked(&mut self, at_ms: u64, held: bool, seen: &str) {
        let before = self.look.take().filter(|look| at_ms - look.at_ms <= FURTHEST_APART_MS);
        let since_ms = before.and_then(|look| look.since_ms).unwrap_or(at_ms);
        self.look =
            Some(LookView { at_ms, since_ms: held.then_some(since_ms), seen: seen.to_owned() });
    }

    /// How long it has held, as far as looks tell; `None` when it does not, or nobody has looked.
    pub fn held_ms(&self) -> Option<u64> {
        let look = self.look.as_ref()?;
        Some(look.at_ms - look.since_ms?)
    }

    /// Whether it has held for as long as it has to.
    pub fn has_held(&self) -> bool {
        self.hold_ms.zip(self.held_ms()).is_some_and(|(needed, held)| held >= needed)
    }

    /// Whether somebody, or a probe that has held, has said yes.
    pub fn is_confirmed(&self) -> bool {
        matches!(self.answer, Some((true, ..)))
    }
}

/// What to type for open questions: how many each command is about.
pub fn commands<'a>(
    run: &str,
    open: impl Iterator<Item = &'a QuestionView>,
) -> Vec<(usize, String)> {
    let mut counts: BTreeMap<Option<Window>, usize> = BTreeMap::new();
    for question in open {
        *counts.entry(question.window).or_default() += 1;
    }
    let command = |(window, count): (Option<Window>, usize)| {
        let window = window.map(|window| format!(" --window {}", window.word()));
        (count, format!("rollback confirm {run}{}", window.unwrap_or_default()))
    };
    counts.into_iter().map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::place;

    fn probed(hold_ms: u64) -> QuestionView {
        let (at, text) = (place(), "It is stable".to_owned());
        let (window, hold_ms) = (Some(Window::Long), Some(hold_ms));
        let event = Event::QuestionOpened { at, text, required: false, window, hold_ms };
        QuestionView::opened(&event).expect("a question")
    }

    #[test]
    fn what_holds_has_held_since_the_last_look_that_did_not() {
        let minute = 60_000;
        let mut question = probed(30 * minute);
        assert!(!question.has_held(), "nobody has looked");
        for at in (16..=40).step_by(3) {
            question.looked(at * minute, true, "fine");
        }
        assert_eq!(question.held_ms(), Some(24 * minute));
        question.looked(41 * minute, false, "down");
        assert_eq!(question.held_ms(), None);
        for at in (42..=72).step_by(5) {
            assert!(!question.has_held());
            question.looked(at * minute, true, "fine");
        }
        assert!(question.has_held());
    }

    #[test]
    fn a_gap_between_looks_counts_for_nothing() {
        let mut question = probed(60_000);
        question.looked(0, true, "fine");
        question.looked(FURTHEST_APART_MS + 1, true, "fine");
        assert_eq!(question.held_ms(), Some(0));
        question.looked(2 * FURTHEST_APART_MS + 1, true, "fine");
        assert!(question.has_held());
        let mut once = probed(0);
        once.looked(10, true, "fine");
        assert!(once.has_held());
    }
}
