//! The person in front of a run: one question at a time, and one reader of the terminal for all of them.
//!
//! [`watch`](super::watch) shows the question and hands the answer to the engine. A question that somebody else answers
//! (`rollback confirm`), or that the end of the run makes pointless, is withdrawn.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use super::prompt;
use crate::engine::Request;
use crate::event::{Event, Place};
use crate::plan::StepId;
use crate::report::text::sanitize;

/// Something that the run waits for a person to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether a required item of a checklist holds.
    Item {
        /// The item's place.
        at: Place,
        /// What is asked.
        text: String,
    },
    /// Whether to go on without a step that failed.
    GoOn {
        /// The step.
        step: StepId,
    },
}

impl Question {
    /// How it is asked. No answer is the default: an Enter too many must not stop a rollback.
    pub(super) fn prompt(&self) -> String {
        match self {
            Self::Item { text, .. } => format!("{} [y/n] ", sanitize(text)),
            Self::GoOn { step } => format!("Go on without {}? [y/n] ", sanitize(&step.0)),
        }
    }

    fn answer(self, yes: bool) -> Request {
        let by = super::actor::this_process();
        match self {
            Self::Item { at, .. } => Request::Answer { at, by, confirmed: yes, remark: None },
            Self::GoOn { step } => Request::Decide { step, by, go_on: yes },
        }
    }
}

/// Whoever sits at the terminal, if anybody does.
pub(super) struct Person {
    present: bool,
    waiting: VecDeque<Question>,
    /// A line that is being typed. It outlives its question, since a read cannot be taken back.
    reading: Option<JoinHandle<Option<String>>>,
}

impl Person {
    /// Nobody is there unless `present`.
    pub(super) fn new(present: bool) -> Self {
        Self { present, waiting: VecDeque::new(), reading: None }
    }

    /// Learns from an event what is to be asked, and what no longer.
    pub(super) fn hear(&mut self, event: &Event) {
        let before = self.waiting.front().cloned();
        self.learn(event);
        self.turn_to_the_next(before.as_ref());
    }

    fn turn_to_the_next(&self, before: Option<&Question>) {
        if self.waiting.front().is_some_and(|question| before != Some(question)) {
            prompt::forget_typed();
        }
    }

    fn learn(&mut self, event: &Event) {
        match event {
            Event::QuestionOpened { at, text, required: true } if self.present => {
                self.waiting.push_back(Question::Item { at: at.clone(), text: text.clone() });
            }
            Event::DecisionAsked { step } if self.present => {
                self.waiting.push_back(Question::GoOn { step: step.clone() });
            }
            Event::QuestionAnswered { at, .. } => self
                .waiting
                .retain(|open| !matches!(open, Question::Item { at: asked, .. } if asked == at)),
            Event::FailureDecided { step, .. } => self
                .waiting
                .retain(|open| !matches!(open, Question::GoOn { step: asked } if asked == step)),
            Event::StopRequested { .. } | Event::RunEnded { .. } => self.waiting.clear(),
            _ => {}
        }
    }

    /// What to ask now.
    pub(super) fn question(&self) -> Option<&Question> {
        self.waiting.front()
    }

    /// The next line that the person types, or `None` when the terminal is gone; nothing is asked after that.
    /// Without a question it waits for ever. May be dropped and called again.
    pub(super) async fn line(&mut self) -> Option<String> {
        if self.reading.is_none() && self.waiting.is_empty() {
            return std::future::pending().await;
        }
        let line = if prompt::in_foreground() || self.reading.is_some() {
            let reading =
                self.reading.get_or_insert_with(|| tokio::task::spawn_blocking(prompt::read_line));
            reading.await.ok().flatten()
        } else {
            None
        };
        self.reading = None;
        if line.is_none() {
            self.present = false;
            self.waiting.clear();
        }
        line
    }

    /// Takes the present question as answered.
    pub(super) fn answered(&mut self, yes: bool) -> Option<Request> {
        let question = self.waiting.pop_front()?;
        self.turn_to_the_next(Some(&question));
        Some(question.answer(yes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(item: &str) -> Event {
        Event::QuestionOpened { at: at(item), text: format!("{item}?"), required: true }
    }

    fn at(item: &str) -> Place {
        Place { step: StepId("check/list".into()), item: item.into() }
    }

    #[test]
    fn questions_are_asked_in_turn_and_withdrawn_when_somebody_else_answers() {
        let mut person = Person::new(true);
        ["one", "two", "three"].iter().for_each(|item| person.hear(&opened(item)));
        assert_eq!(person.question().map(Question::prompt).as_deref(), Some("one? [y/n] "));
        let by = crate::cli::actor::this_process();
        person.hear(&Event::QuestionAnswered { at: at("two"), by, confirmed: true, remark: None });
        let request = person.answered(true);
        assert!(
            matches!(&request, Some(Request::Answer { at: place, confirmed: true, .. }) if *place == at("one")),
            "{request:?}"
        );
        assert_eq!(person.question().map(Question::prompt).as_deref(), Some("three? [y/n] "));
        person.hear(&Event::StopRequested { reason: crate::event::StopReason::Interrupted });
        assert_eq!(person.question(), None);
    }

    #[test]
    fn nobody_is_asked_where_nobody_is() {
        let mut person = Person::new(false);
        person.hear(&opened("one"));
        person.hear(&Event::DecisionAsked { step: StepId("check/list".into()) });
        assert_eq!(person.question(), None);
    }
}
