//! Kubernetes: the API that the sandbox's double speaks, held against a real control plane with the same assertions.
//!
//! [`rig`] gives each test a namespace of its own on either, and makes workloads with a history. [`wire`] asks the API directly:
//! patches, conflicts, dry runs, access reviews, revisions, and what the controllers make of a change.

mod rig;
mod wire;
