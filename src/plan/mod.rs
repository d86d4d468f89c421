//! The plan: a runbook and an environment, fully resolved. It is what a person approves, what the engine
//! executes and what the journal pins, so that a resumed run does exactly what was approved.
//!
//! [`inputs`] come first, then [`build()`] makes the plan: order from [`layers`], items from the verbs. [`preflight()`] asks whether
//! the systems answer, [`preview()`] what would change, [`budget`] when it would be over, before and during a run;
//! [`explain()`] writes the plan down for people. Nothing here changes anything.

pub mod budget;
pub mod build;
pub mod explain;
pub mod inputs;
pub mod layers;
pub mod model;
pub mod preflight;
pub mod preview;
mod refusal;
pub mod reverts;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use build::{Built, History, Request, build, expand, outline};
pub use explain::explain;
pub use model::{
    Deferred, ExpectedFrom, Items, Plan, PlannedApproval, PlannedItem, PlannedMessage,
    PlannedPhase, PlannedProbe, PlannedRung, PlannedStep, PlannedTarget, RetryPolicy, StepId,
    StepPolicy, Until, VerifyPolicy, Wait,
};
pub use preflight::{Preflight, preflight};
pub use preview::{Preview, PreviewContext, preview};
pub use refusal::{Concern, Refused};
pub use reverts::{Back, Left, Reverts};
