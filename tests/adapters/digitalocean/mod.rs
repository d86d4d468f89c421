//! The digitalocean adapter, driven through the port against the sandbox's double, every exchange with which is held against the API's own
//! description ([`contract`]); `scripts/contract` has them judged by a validating proxy as well.

mod agents;
mod contract;
mod faults;
mod logs;
mod pause;
mod program;
mod questions;
mod rig;
mod rollback;
