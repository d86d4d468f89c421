//! The sandbox: a small world on loopback for the first minute, for tests and for drills.
//!
//! Its inhabitants speak the real protocols, so adapters cannot tell them from the systems they stand for: an engine
//! in [`docker`], a load balancer in [`nginx`], one HTTP service per colour in [`services`], a cache in [`redis`], a chat in [`chat`],
//! a pager in [`pager`], text messages in [`texts`], a mail server in [`mail`], a tracker in [`tracker`], metrics in [`prometheus`], a cluster in [`kubernetes`], an account in [`digitalocean`], a private root of files, and a real server in [`postgres`] where there is one. [`wire`] is the one way in to each of them and asks
//! [`faults`] before it answers; [`ledger`]
//! counts what was really changed, independently of what a client believes. [`world`] puts them together in the
//! state "deployed-green"; [`control`] is how one talks to a world that runs; [`process`] keeps one running
//! detached, so that it outlives the runs that are tried on it.

pub mod chat;
pub mod client;
pub mod control;
pub mod digitalocean;
pub mod docker;
pub mod faults;
pub mod kubernetes;
pub mod ledger;
pub mod mail;
pub mod nginx;
pub mod orchestrator;
pub mod pager;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod redis;
pub mod services;
pub mod store;
pub mod texts;
pub mod tracker;
pub mod wire;
pub mod world;

mod error;
mod kept;

pub use error::SandboxError;
