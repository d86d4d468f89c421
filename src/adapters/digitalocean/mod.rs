//! DigitalOcean: apps are paused, resumed, rolled back, deployed and asked about; agents lose a route and get it back.
//!
//! - [`connection`] is the block `digitalocean` of the environment; [`client`] speaks to the API over the client of `http`, and
//!   [`errors`] turns what comes back into the port's kinds.
//! - [`app`] is an app with its specification and deployments, [`find`] finds it by its exact name, [`follow`] follows a deployment to its end.
//! - [`pause`] (`pause`, `resume`), [`rollback`], [`settle`] (`commit`, `revert`), [`start`] (`restart`, `deploy`), [`expect`], [`logs`] and [`apps`] are
//!   the verbs for apps.
//! - [`agent`] is a `GenAI` agent; [`link`] (`detach`, `attach`) and [`instruct`] are the verbs for agents.

mod agent;
mod app;
mod apps;
mod client;
mod connection;
mod errors;
mod expect;
mod find;
mod follow;
mod instruct;
mod link;
mod logs;
mod pause;
mod rollback;
mod settle;
mod start;

use crate::action::{Connection, System, Verb};

pub(in crate::adapters) use client::{DigitalOcean, segment};
pub(in crate::adapters) use connection::DigitalOceanConnection;

/// The system `digitalocean` and its verbs.
pub(super) fn system() -> System {
    let account = Connection::of::<DigitalOceanConnection>("A DigitalOcean account")
        .reached_by(|connections| Box::pin(client::reach(connections)))
        .gathered_by(|connections, gathering| Box::pin(logs::gather(connections, gathering)));
    let verbs = vec![
        Verb::of::<pause::Pause>(),
        Verb::of::<pause::Resume>(),
        Verb::of::<rollback::Rollback>(),
        Verb::of::<settle::Commit>(),
        Verb::of::<settle::Revert>(),
        Verb::of::<start::Restart>(),
        Verb::of::<start::Deploy>(),
        Verb::of::<expect::Expect>(),
        Verb::of::<logs::Logs>(),
        Verb::inventory::<apps::Apps>(),
        Verb::of::<link::Detach>(),
        Verb::of::<link::Attach>(),
        Verb::of::<instruct::Instruct>(),
    ];
    let summary = "Apps and agents of a DigitalOcean account";
    System { name: "digitalocean", summary, connections: vec![account], verbs }
}
