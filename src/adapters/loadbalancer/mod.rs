//! nginx as a load balancer: switching an upstream, rendering a configuration file, and proof that it is live.
//!
//! `nginx -s reload` exits 0 although the new configuration could not be taken (a port that cannot be bound), and the old one
//! is served on. So every change is tested, reloaded and then *proved*, while the error log is watched:
//! - [`upstream`] writes a file whose small server on loopback answers with the configuration's hash; [`proof`] asks it;
//! - [`workers`] is the proof for files without such a server: the master has started new workers since.
//!
//! [`connection`] is the block `loadbalancer` of the environment and [`nginx`] the program behind it, run by [`command`].
//! [`change`] is the one way in which [`switch`], [`weight`] (with its [`shares`]) and [`render`] replace a file ([`files`]) and take
//! it back; [`expect`] asks which side, or which shares, are live.

mod change;
mod command;
mod connection;
mod error_log;
mod expect;
mod files;
mod nginx;
mod proof;
mod reach;
mod render;
mod shares;
mod switch;
mod upstream;
mod weight;
mod workers;

use crate::action::{Connection, System, Verb};

pub use connection::{LoadbalancerConnection, NginxSettings, UpstreamSettings};
pub use expect::Expect;
pub use render::Render;
pub use switch::Switch;
pub use weight::Weight;

/// The system `loadbalancer`.
pub fn system() -> System {
    let nginx = Connection::of::<LoadbalancerConnection>("The nginx in front of the services")
        .reached_by(|connections| Box::pin(reach::reach(connections)));
    System {
        name: "loadbalancer",
        summary: "nginx in front of the services: upstreams and rendered configuration",
        connections: vec![nginx],
        verbs: vec![
            Verb::of::<Switch>(),
            Verb::of::<Weight>(),
            Verb::of::<Render>(),
            Verb::of::<Expect>(),
        ],
    }
}
