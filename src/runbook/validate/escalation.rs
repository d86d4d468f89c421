//! The escalation ladder: each rung has a name of its own and comes after the one before.

use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::model::Runbook;

/// Checks every rung against those before it.
pub(super) fn check(runbook: &Runbook, problems: &mut Vec<Diagnostic>) {
    for (index, rung) in runbook.escalation.iter().enumerate() {
        let before = &runbook.escalation[..index];
        if let Some(same) = before.iter().find(|other| other.level == rung.level) {
            let message = format!("there are two rungs `{}`", rung.level);
            problems.push(
                Diagnostic::error("repeated-rung", message)
                    .at(rung.span)
                    .also(same.span, "the first"),
            );
        }
        if let Some(last) = before.last().filter(|last| last.after >= rung.after) {
            let message = format!("`{}` does not come after `{}`", rung.level, last.level);
            problems.push(
                Diagnostic::error("rungs-out-of-order", message)
                    .at(rung.span)
                    .also(last.span, "the rung before")
                    .hint("Each rung waits longer than the one before it."),
            );
        }
    }
}
