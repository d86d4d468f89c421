//! A Docker Engine double that speaks the engine's HTTP API 1.41 over a Unix socket or TCP.
//!
//! [`model`] is what the engine knows, [`engine`] keeps it on disk, [`create`], [`lifecycle`] and [`change`] are what it does,
//! [`contention`] how long that takes (a real engine saturates, see there), [`filters`] and [`view`] how it answers, [`routes`] the
//! API. A container is only its state: no process runs. Labels under `sandbox.behaviour` make one behave
//! badly: `ignores-sigterm`, `exits-at-start`, `never-healthy`. Semantics and texts follow moby 20.10.

pub mod contention;
pub mod engine;
pub mod model;
pub mod routes;

mod change;
mod create;
mod filters;
mod lifecycle;
mod view;

#[cfg(test)]
mod tests;

pub use engine::{Engine, EngineError, Setup};
