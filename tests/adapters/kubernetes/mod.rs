//! Kubernetes: the adapter, and the API that the sandbox's double speaks, held against a real control plane with the same assertions.
//!
//! [`rig`] gives each test a namespace of its own on either, and makes workloads with a history. [`wire`] asks the API directly:
//! patches, conflicts, dry runs, access reviews, revisions, and what the controllers make of a change. [`port`] drives the adapter
//! as one of the users: [`undo`], [`changes`] and [`questions`]. [`program`] kills the whole program around an undo.

/// Every scenario on the double and on the real control plane.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod on_the_double {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&super::Rig::double().await).await;
            })+
        }

        mod on_a_real_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&super::Rig::real().await).await;
            })+
        }
    };
}

mod changes;
mod port;
mod program;
mod questions;
mod rig;
mod undo;
mod wire;
