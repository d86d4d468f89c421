//! The service that holds the flags, and the block `flags` of an environment file.
//!
//! Here it is a map in memory. The client of a real service would be built in [`Service::shared`] from its address, with
//! its own retries and time-outs switched off: the engine owns both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rollback::action::{ActionError, ErrorKind, ResolveContext, SystemConnection};
use schemars::JsonSchema;
use serde::Deserialize;

/// How the service is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FlagsConnection {
    /// The flags that there are, and whether each is on at first.
    flags: BTreeMap<String, bool>,
}

impl SystemConnection for FlagsConnection {
    const KEY: &'static str = "flags";
}

/// The client.
pub(super) struct Service {
    flags: Mutex<BTreeMap<String, bool>>,
}

impl Service {
    /// The one client of an environment, built on first use.
    pub(super) fn shared(cx: &ResolveContext) -> Result<Arc<Self>, ActionError> {
        cx.connections.client::<FlagsConnection, Self, _>(|settings, _secrets| {
            Ok(Self { flags: Mutex::new(settings.flags) })
        })
    }

    /// Whether a flag is on.
    pub(super) fn is_on(&self, flag: &str) -> Result<bool, ActionError> {
        let flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        flags.get(flag).copied().ok_or_else(|| {
            ActionError::new(ErrorKind::NotFound, format!("find the flag `{flag}`"))
                .hint("The connection `flags` of the environment lists the flags.")
        })
    }

    /// Turns a flag on or off.
    pub(super) fn turn(&self, flag: &str, on: bool) {
        let mut flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        let _former = flags.insert(flag.to_owned(), on);
    }
}

/// The state of a flag as people say it.
pub(super) fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
