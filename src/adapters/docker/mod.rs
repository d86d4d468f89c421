//! Containers of Docker Compose projects, through the Docker Engine API.
//!
//! The verbs stop and start containers (`docker.stop`, `docker.start`), change how many a service has (`docker.scale`), exchange
//! their image (`docker.swap`), and ask how they are (`docker.expect`); `docker.services` lists a project's services as an
//! input. Containers are selected by Compose's own labels alone, never by a part of a name (`project`).
//!
//! Where the engine is, is decided in `endpoint`; what is sent to it, in `client`, which also turns every failure into one of
//! the port's kinds with `errors`, over a connection that bounds answers (`transport`). Containers that leave service are parked and not removed (`parking`), so that undo finds
//! their files, their anonymous volumes and their environment where they were: in the engine, and in no file of ours.

mod client;
mod connection;
mod container;
mod endpoint;
mod errors;
mod expect;
mod handover;
mod image;
mod logs;
mod parking;
mod power;
mod project;
mod recreate;
mod scale;
mod scaling;
mod services;
mod start;
mod stop;
mod swap;
mod transport;

use crate::action::{Connection, System, Verb};
use connection::DockerConnection;

/// The system `docker` and its verbs.
pub(super) fn system() -> System {
    let engine = Connection::of::<DockerConnection>("The Docker Engine")
        .reached_by(|connections| Box::pin(client::reach(connections)))
        .gathered_by(|connections, gathering| Box::pin(logs::gather(connections, gathering)));
    System {
        name: "docker",
        summary: "Containers of Docker Compose projects",
        connections: vec![engine],
        verbs: vec![
            Verb::of::<stop::Stop>(),
            Verb::of::<start::Start>(),
            Verb::of::<scale::Scale>(),
            Verb::of::<swap::Swap>(),
            Verb::of::<expect::Expect>(),
            Verb::inventory::<services::Services>(),
        ],
    }
}
