//! How a step is run: what the runbook says, and the defaults for what it does not say.

use std::time::Duration;

use crate::action::{Verb, VerbKind};
use crate::plan::{ExpectedFrom, PlannedApproval, RetryPolicy, StepPolicy, VerifyPolicy};
use crate::runbook::{Approval, Retry, Step};

/// How long a change may take to show, unless the runbook says otherwise.
const VERIFY_WITHIN: Duration = Duration::from_secs(10);
/// The pause between two looks.
const VERIFY_EVERY: Duration = Duration::from_millis(250);
/// The assumed duration of a probe that nobody has measured.
const PROBE_TAKES: Duration = Duration::from_secs(1);
/// The assumed duration of an action that nobody has measured.
const ACTION_TAKES: Duration = Duration::from_secs(2);

/// The policy of a step; `lasts` is how long it takes by its own arguments, `measured` its median in earlier runs.
pub(super) fn policy(
    step: &Step,
    verb: &Verb,
    lasts: Option<Duration>,
    measured: Option<Duration>,
) -> StepPolicy {
    let timeout = step.timeout.unwrap_or(verb.timeout);
    let (expected, expected_from) = match lasts {
        Some(lasts) => (lasts, ExpectedFrom::Declared),
        None => expected(step, verb, measured),
    };
    let declared = step.verify.as_ref();
    let within = match verb.kind {
        VerbKind::Probe => timeout,
        VerbKind::Action | VerbKind::Inventory => VERIFY_WITHIN,
    };
    StepPolicy {
        optional: step.optional,
        timeout,
        expected,
        expected_from,
        retry: retry(step.retry.as_deref()),
        on_failure: step.on_failure,
        parallel: step.parallel,
        verify: VerifyPolicy {
            within: declared.and_then(|verify| verify.within).unwrap_or(within),
            every: declared.and_then(|verify| verify.every).unwrap_or(VERIFY_EVERY),
            probe: None,
        },
        irreversible: step.irreversible,
        approval: step.approval.as_deref().map(approval),
    }
}

/// An approval; who holds the role is the environment's to say.
pub(super) fn approval(declared: &Approval) -> PlannedApproval {
    PlannedApproval {
        role: declared.role.clone(),
        within: declared.within,
        reason: declared.reason.clone(),
        approvers: Vec::new(),
    }
}

fn expected(step: &Step, verb: &Verb, measured: Option<Duration>) -> (Duration, ExpectedFrom) {
    match (step.expected, measured, verb.kind) {
        (Some(declared), ..) => (declared, ExpectedFrom::Declared),
        (None, Some(measured), _) => (measured, ExpectedFrom::Measured),
        (None, None, VerbKind::Probe) => (PROBE_TAKES, ExpectedFrom::Assumed),
        (None, None, _) => (ACTION_TAKES, ExpectedFrom::Assumed),
    }
}

fn retry(declared: Option<&Retry>) -> RetryPolicy {
    match declared {
        Some(&Retry { attempts, delay, max_delay }) => {
            RetryPolicy { attempts: attempts.max(1), delay, max_delay }
        }
        None => RetryPolicy {
            attempts: 1,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
        },
    }
}
