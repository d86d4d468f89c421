//! The server of a world: its keys, the faults before it, and the ledger of what really went.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;

use super::commands::{self, Session};
use super::keyspace::Keyspace;
use super::resp::{Command, Reply};
use super::session;
use crate::sandbox::SandboxError;
use crate::sandbox::faults::Faults;
use crate::sandbox::ledger::Ledger;
use crate::sandbox::wire::{Door, open_stream};

/// The server.
#[derive(Debug, Clone)]
pub struct Redis(Arc<Shared>);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    keys: Mutex<Keyspace>,
    ledger: Ledger,
    pub(super) faults: Option<Faults>,
}

impl Redis {
    /// A server with the keys in the file at `path`, behind these faults.
    pub fn open(path: &Path, ledger: Ledger, faults: Option<Faults>) -> Result<Self, SandboxError> {
        let keys = Mutex::new(Keyspace::open(path)?);
        Ok(Self(Arc::new(Shared { keys, ledger, faults })))
    }

    /// Replaces all keys.
    pub fn seed(&self, keys: impl Iterator<Item = (String, String)>) -> Result<(), SandboxError> {
        let mut held = self.0.keys();
        held.replace(keys);
        held.save()
    }

    /// Serves on a listener until the door is dropped.
    pub fn serve(&self, listener: TcpListener) -> Door {
        let shared = self.0.clone();
        open_stream(listener, move |stream| session::serve(stream, shared.clone()))
    }

    /// How many keys there are, by the first two parts of their names: `metrics:base-agent-v2`.
    pub fn groups(&self) -> BTreeMap<String, usize> {
        let mut groups = BTreeMap::new();
        for key in self.0.keys().keys(0, b"*") {
            let key = String::from_utf8_lossy(key);
            let group = key.split(':').take(2).collect::<Vec<_>>().join(":");
            *groups.entry(group).or_default() += 1;
        }
        groups
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Keyspace> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what a command says, and counts what goes.
    pub(super) fn execute(&self, session: &mut Session, command: &Command) -> Reply {
        let gone = |key: &[u8]| {
            self.ledger.record(&format!("unlink {}", String::from_utf8_lossy(key)));
        };
        commands::execute(session, &mut self.keys(), command, gone)
    }

    /// Writes what has changed.
    pub(super) fn save(&self) -> Result<(), SandboxError> {
        self.keys().save()
    }
}
