//! How bad it is: of a trigger that fires, and of the incident that a runbook is for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scenario;

/// How bad it is; later ones are worse.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Somebody should know.
    Low,
    /// Somebody should look.
    Medium,
    /// Users are likely to notice.
    High,
    /// Users are hurt.
    Critical,
}

impl Severity {
    /// All of them, the least one first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word of the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.word() == word)
    }

    /// That of a runbook which does not say its own.
    pub fn usual(scenario: Scenario) -> Self {
        match scenario {
            Scenario::Emergency => Self::Critical,
            Scenario::Graceful => Self::High,
            Scenario::Partial => Self::Medium,
            Scenario::KnowledgeBase | Scenario::Validation | Scenario::Prevention => Self::Low,
        }
    }
}
