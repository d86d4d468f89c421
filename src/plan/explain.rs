//! `rollback plan --explain`: the plan as a checklist that a person could follow by hand, in Markdown.

use std::fmt::Write as _;

use super::layers::layers;
use super::{Items, Plan, PlannedApproval, PlannedPhase, PlannedStep};
use crate::runbook::OnFailure;
use crate::secret::hide_markers;
use crate::value::brief;

/// The checklist. Secrets appear as `[secret]`; the text is safe to paste into a chat or a wiki.
pub fn explain(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing into a `String` cannot fail.
    let _infallible = write(plan, &mut text);
    hide_markers(&text)
}

/// The checklist of what only a drill does: the one phase of this plan is `prepare` or `restore`.
pub fn explain_drill(plan: &Plan) -> String {
    let mut text = String::new();
    for phase in &plan.phases {
        let when = match phase.id.as_str() {
            "prepare" => "Before a drill: break the environment",
            _ => "After a drill: bring the environment back",
        };
        // Writing into a `String` cannot fail.
        let _infallible = write_drill(when, phase, &mut text);
    }
    hide_markers(&text)
}

fn write_drill(when: &str, phase: &PlannedPhase, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## {when}\n")?;
    writeln!(out, "Only `rollback drill` does this.\n")?;
    for steps in layers(phase) {
        for step in steps {
            write_step(step, out)?;
        }
    }
    Ok(())
}

fn write(plan: &Plan, out: &mut String) -> std::fmt::Result {
    writeln!(out, "# {}\n", line(&plan.title))?;
    writeln!(
        out,
        "Runbook `{}` for `{}` in environment `{}`. Tick every box in this order; steps that stand under one \
         heading may be done at the same time.\n",
        plan.runbook, plan.subject, plan.environment
    )?;
    if !plan.targets.is_empty() {
        writeln!(out, "Targets, measured from the start:\n")?;
        for target in &plan.targets {
            let within = brief(target.within);
            let from = target.from.as_ref().map(|from| format!(" of the end of `{from}`"));
            let (name, proof) = (&target.name, &target.reached_by);
            let from = from.unwrap_or_default();
            writeln!(out, "- **{name}** within {within}{from}, proved by `{proof}`")?;
        }
        writeln!(out)?;
    }
    if let Some(approval) = &plan.approval {
        write!(out, "- [ ] ")?;
        ask_first(approval, "", out)?;
        writeln!(out)?;
    }
    if !plan.escalation.is_empty() {
        writeln!(out, "Tell, one after the other, until somebody takes notice:\n")?;
        for rung in &plan.escalation {
            let call = rung.phone.as_deref().map(|phone| format!(", call {}", line(phone)));
            let (level, who) = (line(&rung.level), line(&rung.who));
            writeln!(out, "- **{level}** {who} {}{}", rung.when(), call.unwrap_or_default())?;
        }
        writeln!(out)?;
    }
    for (index, phase) in plan.phases.iter().enumerate() {
        write_phase(index + 1, phase, out)?;
    }
    Ok(())
}

fn write_phase(number: usize, phase: &PlannedPhase, out: &mut String) -> std::fmt::Result {
    write!(out, "## {number}. {}", line(&phase.title))?;
    match phase.budget {
        Some(budget) => writeln!(out, " ({})\n", brief(budget))?,
        None => writeln!(out, "\n")?,
    }
    for (layer, steps) in layers(phase).into_iter().enumerate() {
        writeln!(out, "### {number}.{}\n", layer + 1)?;
        for step in steps {
            write_step(step, out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_step(step: &PlannedStep, out: &mut String) -> std::fmt::Result {
    let title = step.title.as_deref().unwrap_or(&step.id.0);
    if let Some(because) = &step.skip {
        return writeln!(out, "- ~~{}~~ left out: {}", line(title), line(because));
    }
    let optional = if step.policy.optional { " (optional)" } else { "" };
    let for_good = if step.policy.irreversible { " (cannot be undone)" } else { "" };
    write!(out, "- [ ] **{}**{optional}{for_good} `{}`", line(title), step.verb)?;
    match &step.items {
        Items::Resolved(items) => match items.as_slice() {
            [one] => {
                writeln!(out, ": {}", line(&one.does))?;
                write_undo(&one.undo, "  ", out)?;
            }
            many => {
                writeln!(out, ", {} items:", many.len())?;
                for item in many {
                    writeln!(out, "  - [ ] {}", line(&item.does))?;
                    write_undo(&item.undo, "    ", out)?;
                }
            }
        },
        Items::Deferred(deferred) => {
            let reason = line(&deferred.reason);
            writeln!(out, ": to be worked out when its turn comes (failed to {reason})")?;
        }
    }
    if let Some(approval) = &step.policy.approval {
        write!(out, "  - ")?;
        ask_first(approval, if step.policy.optional { "leave it out" } else { "" }, out)?;
    }
    if let Some(probe) = &step.policy.verify.probe {
        let within = brief(step.policy.verify.within);
        writeln!(out, "  - Check with `{}` within {within}: `{}`", probe.verb, probe.args)?;
    }
    if step.policy.optional {
        return Ok(());
    }
    let then = match step.policy.on_failure {
        OnFailure::Stop => "stop here, keep what was achieved",
        OnFailure::Continue => "go on",
        OnFailure::Ask => "decide whether to go on",
        OnFailure::Undo => "take this step back, then stop",
    };
    writeln!(out, "  - If it fails: {then}")
}

/// Who has to be asked, and what to do without a yes: stop, unless something else is said.
fn ask_first(approval: &PlannedApproval, otherwise: &str, out: &mut String) -> std::fmt::Result {
    let (who, within) = (line(&approval.who()), brief(approval.within));
    let why = approval.reason.as_ref().map(|reason| format!(" ({})", line(reason)));
    let otherwise =
        if otherwise.is_empty() { "stop here, keep what was achieved" } else { otherwise };
    let why = why.unwrap_or_default();
    writeln!(
        out,
        "Before it, ask {who} for approval{why}; without a yes within {within}: {otherwise}"
    )
}

fn write_undo(undo: &str, indent: &str, out: &mut String) -> std::fmt::Result {
    if undo.is_empty() {
        return Ok(());
    }
    writeln!(out, "{indent}- To undo: {}", line(undo))
}

/// Text that stays on its line and is no Markdown heading or markup of its own.
fn line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => escaped.push(' '),
            '`' | '*' | '_' | '[' | ']' | '<' | '>' | '\\' | '~' | '|' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::plan::testing::{plan, planned, planned_phase};
    use crate::plan::{PlannedItem, PlannedProbe};

    #[test]
    fn reads_like_a_checklist() {
        let mut fleet = planned("stop/fleet", &["stop/a"]);
        fleet.title = Some("All agents".into());
        fleet.policy.on_failure = OnFailure::Continue;
        fleet.policy.verify.probe =
            Some(PlannedProbe { verb: "memory.expect".into(), args: json!({"key": "k"}).into() });
        fleet.items = Items::Resolved(
            ["a", "b"]
                .map(|name| PlannedItem {
                    name: name.into(),
                    args: json!({}).into(),
                    does: format!("stop {name}").into(),
                    undo: String::new(),
                })
                .into(),
        );
        let mut chat = planned("stop/chat", &[]);
        chat.policy.optional = true;
        chat.policy.irreversible = true;
        let mut left_out = planned("stop/no", &["stop/a"]);
        left_out.skip = Some("its condition is false".into());
        chat.policy.approval = Some(PlannedApproval {
            role: "team".into(),
            within: Duration::from_secs(120),
            reason: Some("all will read it".into()),
            approvers: vec!["ada".into(), "bob".into()],
        });
        let mut phase = planned_phase("stop", vec![planned("stop/a", &[]), chat, fleet, left_out]);
        phase.budget = Some(Duration::from_secs(30));
        let text = explain(&plan(vec![phase], &[("traffic", 60, "stop/fleet")]));
        let wanted = "\
# A test

Runbook `test` for `thing` in environment `test`. Tick every box in this order; steps that stand under one heading may be done at the same time.

Targets, measured from the start:

- **traffic** within 1m, proved by `stop/fleet`

## 1. stop (30s)

### 1.1

- [ ] **stop/a** `memory.set`: set stop/a to new
  - To undo: set stop/a back
  - If it fails: stop here, keep what was achieved
- [ ] **stop/chat** (optional) (cannot be undone) `memory.set`: set stop/chat to new
  - To undo: set stop/chat back
  - Before it, ask team (ada, bob) for approval (all will read it); without a yes within 2m: leave it out

### 1.2

- [ ] **All agents** `memory.set`, 2 items:
  - [ ] stop a
  - [ ] stop b
  - Check with `memory.expect` within 10s: `{\"key\":\"k\"}`
  - If it fails: go on
- ~~stop/no~~ left out: its condition is false

";
        assert_eq!(text, wanted);
    }

    #[test]
    fn hostile_text_stays_text_and_secrets_stay_hidden() {
        let mut step = planned("p/a", &[]);
        let marker = crate::secret::Secrets::default().insert("values.token", "s3cret".into());
        step.items = Items::Resolved(vec![PlannedItem {
            name: String::new(),
            args: json!({}).into(),
            does: format!("call\n# heading <script> {marker}").into(),
            undo: String::new(),
        }]);
        let text = explain(&plan(vec![planned_phase("p", vec![step])], &[]));
        assert!(text.contains("call # heading \\<script\\> [secret]"), "{text}");
    }
}
