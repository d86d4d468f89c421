//! Who is woken: a text message is for what is critical, since one that comes too often is not read.

use crate::runbook::Severity;
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::model::{Runbook, Step};
use crate::runbook::node::{NodeValue, Span};

/// The verb that wakes people.
const WAKES: &str = "notify.sms";

/// Warns of every text message that a runbook sends although what it is for is not critical.
pub(super) fn check(runbook: &Runbook, problems: &mut Vec<Diagnostic>) {
    if runbook.severity == Severity::Critical {
        return;
    }
    let of_steps = runbook.all_steps().filter(|step| step.verb == WAKES && !looks(step));
    let rungs = runbook.escalation.iter().filter(|rung| rung.severity != Some(Severity::Critical));
    let of_rungs = rungs.flat_map(|rung| &rung.tell).filter(|message| message.verb == WAKES);
    let places = of_steps.map(|step| step.verb_span).chain(of_rungs.map(|message| message.span));
    let closing = runbook.closing.iter().filter(|verb| *verb == WAKES).map(|_| None);
    for place in places.map(Some).chain(closing) {
        problems.push(warning(runbook, place));
    }
}

/// Whether the step itself looks how bad it is.
fn looks(step: &Step) -> bool {
    step.when.as_ref().is_some_and(|when| match &when.value {
        NodeValue::Text(text) => text.contains("run.severity"),
        _ => false,
    })
}

fn warning(runbook: &Runbook, place: Option<Span>) -> Diagnostic {
    let severity = runbook.severity.word();
    let message = format!("`{WAKES}` wakes people, and this runbook is for what is {severity}");
    let warning = Diagnostic::warning("sms-below-critical", message);
    let warning = place.into_iter().fold(warning, Diagnostic::at);
    warning.hint("Tell them by another channel, or write `severity: critical` if it is.")
}
