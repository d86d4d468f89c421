//! A real PostgreSQL in the world: the register of agents, what it said before the deployment, and what the agents know ([`knowledge`]).
//!
//! [`choice`] finds one on the machine, or takes the one that the feature `embedded-postgres` carries; [`cluster`] runs an
//! installed one in its [`home`], as a process group that never outlives the world. [`front`] is the address that clients
//! know: it is open from the first moment, and holds them back until the server behind it answers. [`seed`] is the state
//! "deployed-green". [`database`] puts these together for the [`world`](super::world).

#[cfg(not(feature = "embedded-postgres"))]
mod absent;
mod choice;
mod cluster;
mod database;
#[cfg(feature = "embedded-postgres")]
mod embedded;
mod front;
mod home;
mod knowledge;
mod seed;

#[cfg(test)]
mod tests;

#[cfg(not(feature = "embedded-postgres"))]
use absent as embedded;
pub use choice::Choice;
pub(crate) use database::Place;
pub use database::{Database, DatabaseStatus};
pub use home::settle;
pub use seed::clients_config;
