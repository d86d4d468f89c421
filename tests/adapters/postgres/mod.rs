//! The postgres adapter, driven through the port on the real server, and by the program as a whole.
//!
//! [`rig`] makes a database per test and looks at it with a client of its own; [`wire`] is a proxy that breaks the connection at a
//! chosen message, [`link`] one that counts and falls silent; [`program`] runs the program and kills it, or the server.

mod clear;
mod expect;
mod link;
mod program;
mod restore;
pub(crate) mod rig;
mod run;
mod shadow;
mod snapshot;
mod standby;
mod swap;
mod tls;
mod undo;
mod wire;
