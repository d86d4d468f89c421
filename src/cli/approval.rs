//! `--approval-role`: somebody has to approve this run, although its runbook does not say so.

use std::time::Duration;

use clap::Args;

use super::error::{CliError, USAGE};
use crate::environment::Environment;
use crate::plan::{Plan, PlannedApproval};
use crate::report::text::sanitize;
use crate::runbook::suggest;
use crate::value::Lasting;

/// How long the answer may take, unless it is said.
const WITHIN: Duration = Duration::from_secs(300);

/// Whose approval the whole run needs, beside what its runbook says.
#[derive(Debug, Clone, Args)]
pub(super) struct ApprovalArgs {
    /// Ask somebody with this role before the first change, as `rollback decide` tells it
    #[arg(long, value_name = "ROLE", help_heading = "Run")]
    approval_role: Option<String>,
    /// How long that answer may take [default: 5m]
    #[arg(long, value_name = "TIME", requires = "approval_role", help_heading = "Run")]
    approval_within: Option<Lasting>,
}

impl ApprovalArgs {
    /// Adds the approval to the plan. A flag never takes the place of what the runbook asks for.
    pub(super) fn add_to(&self, plan: &mut Plan, at: &Environment) -> Result<(), CliError> {
        let Some(role) = &self.approval_role else { return Ok(()) };
        if let Some(declared) = &plan.approval {
            return if declared.role == *role {
                Ok(())
            } else {
                Err(another(&declared.role, role))
            };
        }
        let approvers = match at.approvers.get(role) {
            Some(names) => names.clone(),
            None if at.approvers.is_empty() => Vec::new(),
            // A slip of the keyboard must not let anybody approve.
            None => return Err(unknown(role, at)),
        };
        let within = self.approval_within.map_or(WITHIN, |within| within.0);
        plan.approval =
            Some(PlannedApproval { role: role.clone(), within, reason: None, approvers });
        Ok(())
    }
}

fn another(declared: &str, role: &str) -> CliError {
    let role = sanitize(role);
    CliError::new(USAGE, format!("ask {role} for approval: the runbook asks {declared}"))
        .hint("Leave `--approval-role` out; the run asks as its runbook says.")
}

fn unknown(role: &str, at: &Environment) -> CliError {
    let known: Vec<&str> = at.approvers.keys().map(String::as_str).collect();
    let (shown, name) = (sanitize(role), &at.name);
    CliError::new(USAGE, format!("ask {shown} for approval: environment {name} lists no such role"))
        .hints(
            suggest::closest(role, known.iter().copied())
                .map(|meant| format!("Did you mean `--approval-role {meant}`?")),
        )
        .hint(format!("The roles under its `approvers` are {}.", known.join(", ")))
}
