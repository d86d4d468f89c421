//! What a plan says when it takes an earlier run back.

use serde::{Deserialize, Serialize};

use super::StepId;
use crate::value::JsonText;

/// The run that a plan takes back. Each item's arguments are then a [`Back`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverts {
    /// The run's id.
    pub run: String,
    /// The hash of its journal's last record when the plan was made, 64 hexadecimal digits.
    pub journal_head: String,
    /// What stays as that run left it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
}

/// A step whose change cannot be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The step of the former run.
    pub step: StepId,
    /// How many of its items were changed.
    pub items: usize,
    /// Why it stays.
    pub because: String,
    /// Whether it is a message to people, of which nobody expects otherwise.
    #[serde(default)]
    pub message: bool,
}

/// What an item of such a plan works with, in place of the arguments of its verb.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Back {
    /// The verb's arguments, as the former run had them.
    pub args: JsonText,
    /// The step, and its item behind a `/`, in the former run.
    pub place: String,
    /// The saved state, as the former run's journal has it.
    pub saved: JsonText,
    /// What the change reported, where that was learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<JsonText>,
    /// What was noted meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<JsonText>,
}
