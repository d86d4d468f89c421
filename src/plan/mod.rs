//! The plan: a runbook and an environment, fully resolved. It is what a person approves, what the engine
//! executes and what the journal pins, so that a resumed run does exactly what was approved.

pub mod item;
pub mod model;

pub use item::planned_item;
pub use model::{
    ExpectedFrom, Items, Plan, PlannedItem, PlannedPhase, PlannedProbe, PlannedStep, PlannedTarget,
    RetryPolicy, StepId, StepPolicy, VerifyPolicy, Wait,
};
