//! Kubernetes: workloads are paused, undone, scaled, restarted and asked about, as kubectl does it, or better.
//!
//! - [`connection`] is the block `kubernetes` of the environment; [`transport`] and [`client`] speak to the API server, and
//!   [`errors`] turns what comes back into the port's kinds.
//! - [`workload`] is a Deployment, StatefulSet, DaemonSet or Argo Rollout as the API server describes it; [`history`] its
//!   revisions, [`rollout`] whether its present one is complete, [`ownership`] which GitOps controller puts changes back.
//! - [`access`] asks before the run whether this account may do all that; [`change`] is how a change is made to what was looked
//!   at, or not at all.
//! - [`halt`] (`pause`, `resume`), [`undo`], [`scale`], [`restart`], [`abort`], [`expect`] and [`wait`] are the verbs.

mod abort;
mod access;
mod change;
mod client;
mod connection;
mod errors;
mod expect;
mod halt;
mod history;
mod ownership;
mod restart;
mod rollout;
mod scale;
mod transport;
mod undo;
mod wait;
mod workload;

use crate::action::{Connection, System, Verb};
use connection::KubernetesConnection;

/// The system `kubernetes` and its verbs.
pub(super) fn system() -> System {
    let cluster = Connection::of::<KubernetesConnection>("A cluster and a namespace of it")
        .reached_by(|connections| Box::pin(client::reach(connections)));
    System {
        name: "kubernetes",
        summary: "Workloads of a Kubernetes cluster",
        connections: vec![cluster],
        verbs: vec![
            Verb::of::<halt::Pause>(),
            Verb::of::<halt::Resume>(),
            Verb::of::<undo::Undo>(),
            Verb::of::<scale::Scale>(),
            Verb::of::<restart::Restart>(),
            Verb::of::<abort::Abort>(),
            Verb::of::<expect::Expect>(),
            Verb::of::<wait::Wait>(),
        ],
    }
}
