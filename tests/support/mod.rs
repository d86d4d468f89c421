//! What integration tests stand on: the program in a world of its own, and the real servers.
//!
//! [`world`] runs the `rollback` binary with a clean environment under a temporary home; [`output`] is what it said,
//! as one text for a snapshot; [`terminal`] puts it in front of a person, and [`desk`] gives it a runbook and reads its
//! journal; [`back`] takes changes back; [`dice`] makes chance repeatable; [`certificates`] are made for one test; [`docker`], [`kubernetes`], [`nginx`], [`postgres`] and [`prometheus`] are the real servers that `scripts/servers` found or started.
//! Nothing here skips: a server that is missing fails the test and says how to get it.

pub(crate) mod back;
pub(crate) mod certificates;
pub(crate) mod counter;
pub(crate) mod desk;
pub(crate) mod dice;
pub(crate) mod docker;
pub(crate) mod kubernetes;
pub(crate) mod nginx;
pub(crate) mod output;
pub(crate) mod postgres;
pub(crate) mod prometheus;
pub(crate) mod terminal;
pub(crate) mod world;

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

/// A wait that only a hang reaches. It is no claim about how fast anything is.
pub(crate) const HANG: Duration = Duration::from_secs(300);

/// The value of a variable that `scripts/servers env` exports.
pub(crate) fn server_variable(names: &[&str]) -> String {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| {
            panic!(
                "{} is not set: run `make test`, or: eval \"$(scripts/servers env)\"",
                names.join(" or ")
            )
        })
}

/// Gives this process the TLS provider that the program installs at its start.
pub(crate) fn install_tls() {
    // Whoever comes first installs it.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A port on 127.0.0.1 that nobody listens on right now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("the loopback interface has a free port")
        .port()
}

/// Asks `ready` again every 20 ms until it holds; panics with `what` when only a hang can be the reason.
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let pause = Duration::from_millis(20);
    let tries = HANG.as_millis() / pause.as_millis();
    for _ in 0..tries {
        if ready() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("{what} did not happen within {HANG:?}");
}

/// A command with the rights of root: directly, or through `sudo`, which must not ask.
pub(crate) fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
