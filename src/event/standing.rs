//! What a run has come to for those who depend on it.

use serde::{Deserialize, Serialize};

use super::{Event, RunVerdict};
use crate::plan::Plan;

/// What a run has come to for those who depend on it. Later ones include the earlier ones. One that takes another back comes to
/// none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Users are served again: the first target was reached.
    TrafficRestored,
    /// Everything required is done and every target was reached.
    Recovered,
    /// Every question of the checklist is answered with yes, and what had to hold has held.
    Confirmed,
}

impl Standing {
    /// What an event makes of it.
    pub fn after(former: Option<Self>, event: &Event, plan: &Plan) -> Option<Self> {
        let reached = match event {
            Event::TargetReached { target, .. } => plan
                .targets
                .first()
                .filter(|first| first.name == *target)
                .map(|_| Self::TrafficRestored),
            Event::RunEnded {
                verdict: RunVerdict::Recovered | RunVerdict::RecoveredLate, ..
            } if plan.reverts.is_none() => Some(Self::Recovered),
            Event::RunConfirmed { .. } => Some(Self::Confirmed),
            _ => None,
        };
        former.max(reached)
    }

    /// The words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::TrafficRestored => "traffic restored",
            Self::Recovered => "recovered",
            Self::Confirmed => "confirmed",
        }
    }
}
