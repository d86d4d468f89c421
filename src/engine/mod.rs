//! The engine: drives a plan to its end against the clock, and can be killed at any instant.
//!
//! [`dispatcher`] is the one event loop. It folds every event into the [`state`], asks the `agenda` and the pure functions in
//! [`decide`] what to do next, whether somebody has to [approve](approval) it first, and hands events to the journal. Steps run in tasks
//! of their own, and so do the items of a fleet ([`executor`]; one item's life in `item`, a wait of hours in `hold`). They talk to the
//! dispatcher through an emitter; they never share state. [`lifecycle`] holds the one transition table, [`deadline`] the targets and
//! budgets, `ladder` whom to tell until somebody takes notice, [`fanout`] the number of items at work, [`retry`] the waits,
//! [`verdict`] the final word.

mod agenda;
pub mod approval;
mod back;
pub mod custody;
pub mod deadline;
pub mod decide;
pub mod dispatcher;
mod emitter;
mod executor;
pub mod fanout;
pub mod fault;
mod hold;
mod item;
mod ladder;
pub mod lifecycle;
pub mod recover;
mod request;
pub mod retry;
pub mod state;
mod vault;
pub mod verdict;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use approval::ApprovalAnswer;
pub use back::take_back;
pub use dispatcher::{Ended, Engine};
pub use request::Request;
pub use state::{IllegalEvent, RunState};
pub use vault::{MemoryVault, Vault};
