//! The only list of adapters. A new adapter is one folder here and its name below.

mod digitalocean;
mod dns;
mod docker;
mod file;
pub mod http;
mod kubernetes;
pub mod loadbalancer;
mod manual;
mod notify;
mod postgres;
mod prometheus;
mod redis;
mod script;

use crate::action::{Registry, System};

/// All systems of this build.
pub fn registry() -> Registry {
    Registry::new(systems())
}

fn systems() -> Vec<System> {
    vec![
        digitalocean::system(),
        dns::system(),
        docker::system(),
        file::system(),
        http::system(),
        kubernetes::system(),
        loadbalancer::system(),
        manual::system(),
        notify::system(),
        postgres::system(),
        prometheus::system(),
        redis::system(),
        script::system(),
    ]
}
