//! When, after a recovery, something is looked at.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A span of time after the end of a run that has recovered.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// The first 3 minutes.
    Immediate,
    /// From 3 to 15 minutes.
    Short,
    /// From 15 to 60 minutes. What a probe answers has to hold for 30 minutes, unless the runbook says otherwise.
    Long,
    /// The review after the incident, at any time. It confirms nothing: people write down what they found.
    Review,
}

impl Window {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Immediate, Self::Short, Self::Long, Self::Review];

    /// The word of the runbook and of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Short => "short",
            Self::Long => "long",
            Self::Review => "review",
        }
    }

    /// When it opens and closes, from the end of the run.
    pub fn span(self) -> (Duration, Duration) {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        match self {
            Self::Immediate => (Duration::ZERO, minutes(3)),
            Self::Short => (minutes(3), minutes(15)),
            Self::Long => (minutes(15), minutes(60)),
            Self::Review => (Duration::ZERO, Duration::MAX),
        }
    }

    /// How long a probe's answer has to hold, unless the runbook says so.
    pub fn hold(self) -> Duration {
        match self {
            Self::Immediate | Self::Short | Self::Review => Duration::ZERO,
            Self::Long => Duration::from_secs(30 * 60),
        }
    }
}

impl std::fmt::Display for Window {
    /// `short (3–15 min)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::Review {
            return f.write_str(self.word());
        }
        let (opens, closes) = self.span();
        let minutes = |time: Duration| time.as_secs() / 60;
        write!(f, "{} ({}–{} min)", self.word(), minutes(opens), minutes(closes))
    }
}
