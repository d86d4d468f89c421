//! A whole world: the doubles put together, in the state "deployed-green".
//!
//! [`seed`], [`files`], [`keys`], [`metrics`], [`cluster`] and [`account`] make that state, [`info`] says where everything is, [`status`] tells what became of it from the world's own side.
//! Everything lives under one folder, so a world can be closed and opened again; tests start one in their own
//! process, the program keeps one in a [`process`](super::process) of its own.

pub mod info;
pub mod status;

mod account;
mod addresses;
mod cluster;
mod files;
mod keys;
mod messengers;
mod metrics;
mod open;
mod orchestrators;
mod seed;

#[cfg(test)]
mod tests;

pub use account::AccountStatus;
pub use cluster::DeploymentStatus;
pub use info::WorldInfo;
pub use open::{Inhabitants, Options, World};
pub use status::Status;
