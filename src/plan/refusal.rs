//! Why something cannot be planned, and what that means for the run.

use serde::{Deserialize, Serialize};

use super::StepId;
use super::budget::Misfit;
use crate::action::{ActionError, ErrorKind};

/// A reason against a run, or something to know before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concern {
    /// `step redirect/shift-traffic`, `input agents`, `system docker`: what it is about.
    pub about: String,
    /// The step, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// What is wrong and what can be done.
    pub error: ActionError,
}

impl Concern {
    /// A concern about a step.
    pub fn step(step: &StepId, error: ActionError) -> Self {
        Self { about: format!("step {step}"), step: Some(step.clone()), error }
    }

    /// A concern about an input.
    pub fn input(name: &str, error: ActionError) -> Self {
        Self { about: format!("input {name}"), step: None, error }
    }

    /// A target that fits, unless those who are asked for an approval take all the time that they have.
    pub fn slow_approval(misfit: &Misfit) -> Self {
        Self::misfit(misfit, "fit into the time if the approvals take all of theirs")
    }

    fn misfit(misfit: &Misfit, goal: &str) -> Self {
        let text = misfit.to_string();
        let needs = text.strip_prefix(&misfit.what).unwrap_or(&text).trim_start();
        let message = format!("{goal}: {needs}");
        let error = ActionError::new(ErrorKind::TimedOut, message).retryable(false);
        Self { about: misfit.what.clone(), step: None, error }
    }

    /// A concern about a system.
    pub fn system(name: &str, error: ActionError) -> Self {
        Self { about: format!("system {name}"), step: None, error }
    }
}

impl From<&Misfit> for Concern {
    fn from(misfit: &Misfit) -> Self {
        Self::misfit(misfit, "fit into the time")
    }
}

impl std::fmt::Display for Concern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: failed to {}", self.about, self.error)
    }
}

/// A run that must not start: nothing was touched. Exit code 4. Holds all reasons, not only the first.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", summary(.reasons))]
pub struct Refused {
    /// The reasons; at least one.
    pub reasons: Vec<Concern>,
}

fn summary(reasons: &[Concern]) -> String {
    match reasons {
        [one] => one.to_string(),
        many => format!("{} things stand in the way of the first target", many.len()),
    }
}
