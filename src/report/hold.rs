//! Holds as the readers of a run see them: how much of the time is left, and how the gates answered last.

use serde::Serialize;

use super::style::{BAD, DOUBT, GOOD, STRONG, brief_ms, paint};
use super::text::sanitize;
use crate::event::{GateSeen, GateState};

/// A hold.
#[derive(Debug, Clone, Serialize)]
pub struct HoldView {
    /// When it first began, milliseconds since the run's start.
    pub began_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
    /// The last answers; none before the first look of the process that runs the run.
    pub gates: Vec<GateSeen>,
    /// Whether the last look found another state of a gate than the one before.
    #[serde(skip)]
    pub is_news: bool,
}

impl HoldView {
    /// A hold that begins.
    pub(super) fn begun(began_ms: u64, for_ms: u64) -> Self {
        Self { began_ms, for_ms, gates: Vec::new(), is_news: false }
    }

    /// Takes a look in.
    pub(super) fn looked(&mut self, gates: &[GateSeen]) {
        let states = |gates: &[GateSeen]| -> Vec<GateState> {
            gates.iter().map(|gate| gate.state).collect()
        };
        self.is_news = self.gates.is_empty() || states(&self.gates) != states(gates);
        self.gates = gates.to_vec();
    }

    /// What is left of its time at `now_ms`.
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        self.began_ms.saturating_add(self.for_ms).saturating_sub(now_ms)
    }

    /// How it stands, for people: `23h 12m left of 1d, all 3 gates hold`.
    pub fn story(&self, now_ms: u64) -> String {
        let time = match self.left_ms(now_ms) {
            0 => format!("its {} are over", brief_ms(self.for_ms)),
            left => format!("{} left of {}", brief_ms(whole_seconds(left)), brief_ms(self.for_ms)),
        };
        match self.gates() {
            None => time,
            Some(gates) => format!("{time}, {gates}"),
        }
    }

    /// How the gates answered last; `None` where there are none, or nobody has asked yet.
    fn gates(&self) -> Option<String> {
        let named = |state: GateState| {
            let of_state = self.gates.iter().filter(|gate| gate.state == state);
            of_state.map(|gate| sanitize(&gate.gate)).collect::<Vec<_>>()
        };
        let (fail, unknown) = (named(GateState::Fails), named(GateState::NoData));
        let told = match (fail.as_slice(), unknown.as_slice(), self.gates.len()) {
            (_, _, 0) => return None,
            ([], [], 1) => "the gate holds".to_owned(),
            ([], [], all) => format!("all {all} gates hold"),
            ([], unknown, _) => format!("no data for {}", unknown.join(", ")),
            (fail, [], _) => format!("FAILING: {}", fail.join(", ")),
            (fail, unknown, _) => {
                format!("FAILING: {}; no data for {}", fail.join(", "), unknown.join(", "))
            }
        };
        Some(told)
    }
}

/// A time that is drawn again and again moves by whole seconds.
fn whole_seconds(ms: u64) -> u64 {
    if ms < 1000 { ms } else { ms / 1000 * 1000 }
}

/// The lines that tell the beginning of a hold; `until` is when it will be over, in words.
pub(super) fn begun(label: &str, for_ms: u64, until: &str) -> String {
    let (sign, time) = (paint(DOUBT, "…"), brief_ms(for_ms));
    format!("{sign} {label:<24} holding for {}, until {until}", paint(STRONG, time))
}

/// The lines that tell a look that found news; nothing for another look that found the same.
pub(super) fn looked(label: &str, hold: &HoldView, now_ms: u64) -> Vec<String> {
    if !hold.is_news {
        return Vec::new();
    }
    let bad: Vec<&GateSeen> =
        hold.gates.iter().filter(|gate| gate.state != GateState::Holds).collect();
    if bad.is_empty() {
        // Not a tick: the hold is not over.
        return vec![format!("{} {label:<24} {}", paint(GOOD, "…"), hold.story(now_ms))];
    }
    let line = |gate: &GateSeen| {
        let (name, seen) = (sanitize(&gate.gate), sanitize(&gate.seen));
        match gate.state {
            GateState::NoData => {
                format!("{} {label:<24} no data for {name}: {seen}", paint(DOUBT, "!"))
            }
            _ => format!("{} {label:<24} {name} fails: {seen}", paint(BAD, "✗")),
        }
    };
    bad.into_iter().map(line).collect()
}
