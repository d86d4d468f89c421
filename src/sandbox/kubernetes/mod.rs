//! A Kubernetes double: the API of a server 1.20 with its controllers, for what rolls out and what rolls back.
//!
//! [`cluster`] keeps the state in a file and the controllers at work; [`api`] speaks HTTP, with [`request`] for what is asked,
//! [`access`] for who may ask it, [`patch`], [`defaults`] and [`change`] for what a change makes of an object, and [`failure`] for the words of a
//! refusal. [`controllers`] are those of Deployments, `ReplicaSets`, `StatefulSets` and `DaemonSets`, and a kubelet without containers: a pod is
//! ready after a while, or never when its image is said to be broken. JSON alone is spoken, nothing can be watched, and what a server adds to objects is
//! added as far as a client of this program could see it. `tests/adapters/kubernetes` holds the answers against a real server.

mod access;
mod api;
mod change;
mod cluster;
mod controllers;
mod defaults;
mod discovery;
mod failure;
mod fields;
mod patch;
mod request;
mod resources;
mod selector;
mod state;

pub use access::Tokens;
pub use cluster::{Cluster, Setup};
pub use controllers::Kubelet;
