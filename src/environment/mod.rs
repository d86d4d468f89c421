//! Environments: the connections a runbook runs against, and how runbooks and environments are found.
//!
//! An environment is a YAML file ([`EnvironmentFile`]) whose templates are evaluated and whose references to secrets are
//! read once; from then on only markers travel ([`Environment`]). A secret that cannot be read does not stop anything by itself: its marker is known as missing, and
//! whoever needs it gets an error ([`Connections::settings`](crate::action::Connections::settings), the planner).
//! [`locate`] finds an environment by name, [`config`] reads `rollback.yaml` and the variables above it, and
//! [`runbooks`] finds the runbooks of a project.

pub mod config;
mod document;
mod file;
pub mod locate;
mod reference;
mod resolve;
pub mod runbooks;

pub use config::{Config, Places};
pub use document::{openness, read_values};
pub use file::{EnvironmentFile, PATTERNS};
pub use locate::{EnvironmentChoice, LocateError};
pub use resolve::Environment;
pub use runbooks::{Found, FoundRunbook};
