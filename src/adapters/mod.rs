//! The only list of adapters. A new adapter is one folder here and one line below.

mod docker;

use crate::action::{Registry, System};

/// All systems of this build.
pub fn registry() -> Registry {
    Registry::new(systems())
}

fn systems() -> Vec<System> {
    vec![docker::system()]
}
