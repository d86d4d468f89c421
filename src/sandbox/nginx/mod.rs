//! An nginx double: the command line, and the proxy that runs inside the sandbox's process.
//!
//! [`lexer`] reads nginx's configuration language, [`directives`] knows which directives there are and where, [`config`] makes a
//! [`Config`] of them, [`proxy`] answers requests by it, [`server`] listens and reloads like a master process,
//! [`mod@command`] is `nginx -t` and `nginx -s reload`. Texts and exit codes are nginx's (1.22). What the double does not implement it refuses as nginx
//! refuses an unknown directive.

pub mod command;
pub mod config;
pub mod server;

mod directives;
mod lexer;
mod proxy;

#[cfg(test)]
mod tests;

pub use command::{Outcome, command};
pub use config::Config;
pub use server::{Server, Start};
