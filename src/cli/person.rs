//! The person in front of a run: one question at a time, and one reader of the terminal for all of them.
//!
//! [`watch`](super::watch) shows the question and hands the answer to the engine. A question that somebody else answers
//! (`rollback confirm`, `rollback approve`), or that the end of the run makes pointless, is withdrawn.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use super::prompt;
use crate::engine::{ApprovalAnswer, Request};
use crate::event::{Channel, Event, Place};
use crate::plan::{PlannedApproval, StepId};
use crate::report::approvals::subject;
use crate::report::text::sanitize;

/// The longest name that somebody can have.
const LONGEST_NAME: usize = 128;

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
    /// Whether somebody with the role approves. First the person says who that is.
    Approval {
        /// The step; the whole run where none is named.
        step: Option<StepId>,
        /// Who is asked.
        approval: PlannedApproval,
        /// Who answers, once that is said.
        name: Option<String>,
    },
}

/// What a typed line means.
#[derive(Debug)]
pub(super) enum Heard {
    /// An answer, for the engine.
    Answer(Request),
    /// A part of an answer: the rest is asked now.
    Part,
    /// No answer; what to say to the person.
    Again(String),
}

impl Question {
    /// How it is asked. No answer is the default: an Enter too many must not stop a rollback.
    pub(super) fn prompt(&self) -> String {
        match self {
            Self::Item { text, .. } => format!("{} [y/n] ", sanitize(text)),
            Self::GoOn { step } => format!("Go on without {}? [y/n] ", sanitize(&step.0)),
            Self::Approval { step, approval, name: None } => {
                let (subject, who) = (subject(step.as_ref()), sanitize(&approval.who()));
                format!("Approval of {subject}, by {who}. Who are you? ")
            }
            Self::Approval { step, name: Some(name), .. } => {
                format!("{}, do you approve {}? [y/n] ", sanitize(name), subject(step.as_ref()))
            }
        }
    }

    fn answer(self, yes: bool) -> Request {
        let by = super::actor::this_process();
        match self {
            Self::Item { at, .. } => Request::Answer { at, by, confirmed: yes, remark: None },
            Self::GoOn { step } => Request::Decide { step, by, go_on: yes },
            Self::Approval { step, name, .. } => {
                let (name, how) = (name.unwrap_or_default(), Channel::Terminal);
                let reason = None;
                Request::Approve(ApprovalAnswer { step, name, by, how, approved: yes, reason })
            }
        }
    }

    /// Whether this question is the approval of that step, or of the run.
    fn approves(&self, of: Option<&StepId>) -> bool {
        matches!(self, Self::Approval { step, .. } if step.as_ref() == of)
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

    fn turn_to_the_next(&mut self, before: Option<&Question>) {
        if self.waiting.front().is_some_and(|question| before != Some(question)) {
            prompt::forget_typed();
            // What was read already was typed for the question before.
            if self.reading.as_ref().is_some_and(JoinHandle::is_finished) {
                self.reading = None;
            }
        }
    }

    fn learn(&mut self, event: &Event) {
        match event {
            Event::QuestionOpened { at, text, required: true, .. } if self.present => {
                self.waiting.push_back(Question::Item { at: at.clone(), text: text.clone() });
            }
            Event::DecisionAsked { step } if self.present => {
                self.waiting.push_back(Question::GoOn { step: step.clone() });
            }
            Event::ApprovalAsked { step, approval } if self.present => {
                let (step, approval) = (step.clone(), approval.clone());
                self.waiting.push_back(Question::Approval { step, approval, name: None });
            }
            Event::ApprovalAnswered { step, .. } | Event::ApprovalExpired { step, .. } => {
                self.waiting.retain(|open| !open.approves(step.as_ref()));
            }
            Event::QuestionAnswered { at, .. }
            | Event::Verified { at, .. }
            | Event::VerifyFailed { at, .. } => self
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

    /// Takes a line as the answer to the present question.
    pub(super) fn answered(&mut self, line: &str) -> Option<Heard> {
        if let Some(Question::Approval { approval, name: name @ None, .. }) =
            self.waiting.front_mut()
        {
            return Some(match introduced(line, approval) {
                Ok(said) => {
                    *name = Some(said);
                    Heard::Part
                }
                Err(why) => Heard::Again(why),
            });
        }
        let Some(yes) = prompt::yes_or_no(line) else {
            return self.question().map(|_| Heard::Again(prompt::AGAIN.to_owned()));
        };
        let question = self.waiting.pop_front()?;
        self.turn_to_the_next(Some(&question));
        Some(Heard::Answer(question.answer(yes)))
    }
}

/// Who the person says to be, or what to say to it. A yes or a no comes too early: it is nobody's yet.
fn introduced(line: &str, approval: &PlannedApproval) -> Result<String, String> {
    let plain = !line.is_empty() && line.len() <= LONGEST_NAME && !line.contains(char::is_control);
    if !plain || prompt::yes_or_no(line).is_some() {
        return Err("Please type your name.".to_owned());
    }
    if !approval.may_answer(line) {
        return Err(sanitize(&format!("{line} does not hold the role {}.", approval.who())));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(item: &str) -> Event {
        let (at, text) = (at(item), format!("{item}?"));
        Event::QuestionOpened { at, text, required: true, window: None, hold_ms: None }
    }

    fn at(item: &str) -> Place {
        Place { step: StepId("check/list".into()), item: item.into() }
    }

    #[tokio::test]
    async fn a_line_that_was_typed_for_one_question_answers_no_other() {
        let mut person = Person::new(true);
        person.hear(&opened("one"));
        let typed = tokio::spawn(async { Some("y".to_owned()) });
        while !typed.is_finished() {
            tokio::task::yield_now().await;
        }
        person.reading = Some(typed);
        person.hear(&opened("two"));
        assert!(person.reading.is_some(), "it was typed for what is still asked");
        let by = crate::cli::actor::this_process();
        person.hear(&Event::QuestionAnswered { at: at("one"), by, confirmed: true, remark: None });
        assert_eq!(person.question().map(Question::prompt).as_deref(), Some("two? [y/n] "));
        assert!(person.reading.is_none(), "it was typed before this was asked");
    }

    #[test]
    fn questions_are_asked_in_turn_and_withdrawn_when_somebody_else_answers() {
        let mut person = Person::new(true);
        ["one", "two", "three"].iter().for_each(|item| person.hear(&opened(item)));
        assert_eq!(person.question().map(Question::prompt).as_deref(), Some("one? [y/n] "));
        let by = crate::cli::actor::this_process();
        person.hear(&Event::QuestionAnswered { at: at("two"), by, confirmed: true, remark: None });
        assert!(matches!(person.answered("perhaps"), Some(Heard::Again(_))));
        let heard = person.answered("yes");
        assert!(
            matches!(&heard, Some(Heard::Answer(Request::Answer { at: place, confirmed: true, .. })) if *place == at("one")),
            "{heard:?}"
        );
        assert_eq!(person.question().map(Question::prompt).as_deref(), Some("three? [y/n] "));
        person.hear(&Event::StopRequested { reason: crate::event::StopReason::Interrupted });
        assert_eq!(person.question(), None);
    }

    #[test]
    fn who_approves_says_first_who_that_is() {
        let approval = PlannedApproval {
            role: "lead".into(),
            within: std::time::Duration::from_secs(60),
            reason: None,
            approvers: vec!["ada".into()],
        };
        let mut person = Person::new(true);
        let asked = Event::ApprovalAsked { step: None, approval };
        person.hear(&asked);
        let prompt = |person: &Person| person.question().map(Question::prompt).unwrap_or_default();
        assert_eq!(prompt(&person), "Approval of the whole run, by lead (ada). Who are you? ");
        for nobody in ["", "y", "NO", "a\u{1b}b", "bob"] {
            assert!(matches!(person.answered(nobody), Some(Heard::Again(_))), "{nobody:?}");
        }
        assert!(matches!(person.answered("ada"), Some(Heard::Part)));
        assert_eq!(prompt(&person), "ada, do you approve the whole run? [y/n] ");
        let heard = person.answered("n");
        let Some(Heard::Answer(Request::Approve(answer))) = heard else { panic!("{heard:?}") };
        assert_eq!((answer.name.as_str(), answer.approved), ("ada", false));
        person.hear(&asked);
        person.hear(&Event::ApprovalExpired { step: None, role: "lead".into() });
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
