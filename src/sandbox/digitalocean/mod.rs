//! A DigitalOcean double: apps with their deployments and rollbacks, domain records, and `GenAI` agents, as the public API has them
//! (<https://docs.digitalocean.com/reference/api/>).
//!
//! [`account`] is the state, in one file; [`apps`] and [`deployments`] live in it, a deployment runs for a time; [`records`] and
//! [`agents`] are the rest. [`api`] speaks HTTP, with the token, pages, rate-limit headers and error bodies of the real one. [`logs`] stands for the hosts that
//! logs are fetched from, which must never see the token. Every answer is held against the API's own description by `tests/adapters/digitalocean`.

mod account;
mod agents;
mod api;
mod apps;
mod deployments;
mod logs;
mod records;
mod rollbacks;
mod seeds;

pub use account::{Account, Setup};
pub use agents::{Agent, Function, Route};
pub use apps::App;
pub use deployments::{Deployment, Fate, Phase};
pub use records::{Domain, Record};
pub use seeds::Seed;
