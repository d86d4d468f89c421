//! The only list of adapters. A new adapter is one folder here and one line below.

mod file;
mod manual;
mod notify;
mod script;

use crate::action::{Registry, System};

/// All systems of this build.
pub fn registry() -> Registry {
    Registry::new(systems())
}

fn systems() -> Vec<System> {
    vec![
        script::system(),
        file::system(),
        file::files_connection(),
        manual::system(),
        notify::system(),
        notify::slack_connection(),
    ]
}
