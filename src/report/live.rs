//! The moving status line on a terminal: what runs, the time, what is left, and where this is heading.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::state::{StepView, View};
use super::style::{BAD, DOUBT, FAINT, GOOD, STRONG, brief_ms, clock, paint};
use super::text::sanitize;
use crate::plan::StepId;

/// The status line at `now_ms` (since the run's start), narrower than `width` columns: a terminal may start a new line
/// when the last column is written.
pub fn line(view: &View, now_ms: u64, projected: Option<Duration>, width: usize) -> String {
    let running: Vec<_> = view.steps.iter().filter(|(_, step)| step.is_at_work()).collect();
    let mut plain = Vec::new();
    let mut painted = Vec::new();
    let mut push = |text: String, style| {
        painted.push(paint(style, &text));
        plain.push(text);
    };
    push(format!("{:>7}", clock(now_ms)), STRONG);
    if let Some((text, late)) = next_target(view, now_ms) {
        push(text, if late { BAD } else { GOOD });
    }
    if let Some(asked) = view.open_approvals().next() {
        push(format!("waits for the approval of {}", sanitize(&asked.approval.role)), DOUBT);
    } else if view.waits_for_person() {
        // Nobody can tell how long a person takes.
        push("waits for you".to_owned(), DOUBT);
    } else if let Some(projected) = projected {
        let at_ms = u64::try_from(projected.as_millis()).unwrap_or(u64::MAX);
        push(format!("done at about {}", clock(at_ms.max(now_ms))), FAINT);
    }
    match view.holds().next() {
        Some((id, hold)) => {
            push(format!("{}: {}", sanitize(name(id)), hold.story(now_ms)), STRONG);
        }
        None => push(work(&running), STRONG),
    }
    let shown = plain.join(" · ");
    if shown.width() < width { painted.join(" · ") } else { cut(&shown, width) }
}

/// The next open target, and what is left of it.
fn next_target(view: &View, now_ms: u64) -> Option<(String, bool)> {
    let open = view.targets.iter().filter(|(_, target)| target.took_ms.is_none());
    let (name, target, passed) = open
        .filter_map(|(name, target)| Some((name, target, view.passed_ms(target, now_ms)?)))
        .min_by_key(|(_, target, passed)| i128::from(target.within_ms) - i128::from(*passed))?;
    let name = sanitize(name);
    Some(match target.within_ms.checked_sub(passed) {
        Some(left) => (format!("{} left to {name}", brief_ms(left.max(1000) / 1000 * 1000)), false),
        None => (
            format!(
                "{name} LATE by {}",
                brief_ms((passed - target.within_ms).max(1000) / 1000 * 1000)
            ),
            true,
        ),
    })
}

fn work(running: &[(&StepId, &StepView)]) -> String {
    let told: Vec<_> = running
        .iter()
        .map(|(id, step)| {
            let name = sanitize(name(id));
            match step.progress() {
                (done, all) if all > 1 => format!("{name} {done}/{all}"),
                _ => name,
            }
        })
        .collect();
    told.join(", ")
}

/// The step's own id, without its phase.
fn name(id: &StepId) -> &str {
    id.0.split_once('/').map_or(id.as_str(), |(_, name)| name)
}

fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    let mut short = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used >= width {
            break;
        }
        short.push(character);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::report::testing::{begun, opened, place};

    fn shown(view: &View, now_ms: u64, projected_s: u64) -> String {
        let line = line(view, now_ms, Some(Duration::from_secs(projected_s)), 200);
        anstream::adapter::strip_str(&line).to_string()
    }

    #[test]
    fn the_projected_end_never_lies_in_the_past() {
        let (view, _) = begun();
        assert!(shown(&view, 60_000, 90).contains(&format!("done at about {}", clock(90_000))));
        assert!(shown(&view, 60_000, 30).contains(&format!("done at about {}", clock(60_000))));
    }

    #[test]
    fn while_a_person_is_asked_no_end_is_promised() {
        let (mut view, mut take) = begun();
        take(&mut view, Event::StepStarted { step: place().step, left_ms: None });
        take(&mut view, opened("Does it hold?"));
        let line = shown(&view, 60_000, 90);
        assert!(line.contains("waits for you") && !line.contains("done at"), "{line}");
    }
}
