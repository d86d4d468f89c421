//! What a run that takes another one back says of it: which run, and what stays.

use super::style::{DOUBT, STRONG, paint};
use super::text::sanitize;
use crate::plan::{Left, Reverts};

/// The lines for a person.
pub fn lines(reverts: &Reverts) -> Vec<String> {
    let mut lines = vec![format!("takes back run {}", paint(STRONG, sanitize(&reverts.run)))];
    lines.extend(stays(reverts).into_iter().map(|text| paint(DOUBT, text)));
    lines
}

/// What cannot be taken back, one line for each step, and one for all messages.
pub fn stays(reverts: &Reverts) -> Vec<String> {
    let (messages, changes): (Vec<&Left>, Vec<&Left>) =
        reverts.left.iter().partition(|left| left.message);
    let mut lines: Vec<String> = changes.into_iter().map(stays_because).collect();
    if !messages.is_empty() {
        let count: usize = messages.iter().map(|left| left.items).sum();
        let steps: Vec<String> = messages.iter().map(|left| sanitize(&left.step.0)).collect();
        let word = if count == 1 { "message stays" } else { "messages stay" };
        lines.push(format!("{count} {word} sent: {}", steps.join(", ")));
    }
    lines
}

fn stays_because(left: &Left) -> String {
    let items = if left.items > 1 { format!(" ({} items)", left.items) } else { String::new() };
    let (step, because) = (sanitize(&left.step.0), sanitize(&left.because));
    format!("cannot be taken back: {step}{items}, because {because}")
}
