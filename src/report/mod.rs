//! The reports: readers of the event stream. They know events and nothing else.
//!
//! [`state`] folds events into a [`View`]; [`lines`] tells events as lines for people, to which [`live`] adds a moving status
//! line on a terminal; [`summary`] has the last word of a run; [`markdown`] and [`json`] are for afterwards, [`ending`] for messages; [`check`] tells
//! what is wrong with files, to programs. Whatever came
//! from a remote system passes through [`text::sanitize`] before it is shown.

pub mod approvals;
pub mod check;
pub mod drill;
pub mod ending;
pub mod evidence;
mod facts;
pub mod hold;
pub mod incident;
pub mod json;
pub mod lessons;
pub mod lines;
pub mod live;
pub mod log;
pub mod markdown;
pub mod patterns;
pub mod postmortem;
pub mod questions;
pub mod reverts;
pub mod search;
pub mod state;
pub mod style;
pub mod summary;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;

pub use state::View;
