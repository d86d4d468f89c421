//! Prometheus: what a query gives, against a bound (`prometheus.expect`), and whether alerts fire (`prometheus.alerts`).
//!
//! - [`connection`] is the block `prometheus` of the environment; [`client`] asks its HTTP API, over the client of `http`; [`envelope`]
//!   reads the answer and turns a refusal into the port's kinds.
//! - [`series`] is what came back, [`comparison`] a bound, [`judge`] holds one against the other: it is so, it is not, or there
//!   are no data, which is neither.
//! - [`expect`] and [`alerts`] are the verbs.
//!
//! Questions only read, and every time in them is the server's own: the clock of this machine is never compared with it.

mod alerts;
mod client;
mod comparison;
mod connection;
mod envelope;
mod expect;
mod gather;
mod judge;
mod series;

use crate::action::{Connection, System, Verb};
use connection::PrometheusConnection;

/// The system `prometheus` and its verbs.
pub(super) fn system() -> System {
    let server = Connection::of::<PrometheusConnection>(
        "A Prometheus server, or one that speaks as it does",
    )
    .reached_by(|connections| Box::pin(client::reach(connections)))
    .gathered_by(|connections, gathering| Box::pin(gather::gather(connections, gathering)));
    System {
        name: "prometheus",
        summary: "Metrics and alerts of a Prometheus server",
        connections: vec![server],
        verbs: vec![Verb::of::<expect::Expect>(), Verb::of::<alerts::Alerts>()],
    }
}
