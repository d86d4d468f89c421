//! The connections of an environment, as adapters see them.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ActionError, ErrorKind};
use crate::secret::Secrets;

/// The settings with which a system of one environment is reached, deserialized by the adapter.
pub trait SystemConnection: DeserializeOwned {
    /// The key under `connections` in the environment file: `docker`.
    const KEY: &'static str;
}

/// All connections of one environment. Clients are built on first use and shared.
pub struct Connections {
    environment: String,
    settings: HashMap<String, Value>,
    secrets: Arc<Secrets>,
    clients: Mutex<HashMap<&'static str, Arc<dyn Any + Send + Sync>>>,
}

impl Connections {
    /// The connections of the environment `environment`: settings by system, with secrets as markers.
    pub fn new(
        environment: impl Into<String>,
        settings: HashMap<String, Value>,
        secrets: Arc<Secrets>,
    ) -> Self {
        Self { environment: environment.into(), settings, secrets, clients: Mutex::default() }
    }

    /// The environment's name.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The secrets behind the markers in settings and arguments.
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// Whether the environment file has a block for this system.
    pub fn has(&self, system: &str) -> bool {
        self.settings.contains_key(system)
    }

    /// The settings of a system. A missing block reads as an empty one, so that a connection whose
    /// settings all have defaults needs none. Fails when a secret in the block could not be read.
    pub fn settings<C: SystemConnection>(&self) -> Result<C, ActionError> {
        let value = self
            .settings
            .get(C::KEY)
            .cloned()
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if let Some(missing) = self.secrets.missing_in(&value) {
            return Err(ActionError::new(
                ErrorKind::Invalid,
                format!("read the secret `{}`: {}", missing.name, missing.reason),
            )
            .hint(format!(
                "Provide it, or change `{}` in the environment file `{}`.",
                missing.name, self.environment
            )));
        }
        serde_json::from_value(value).map_err(|error| {
            ActionError::new(
                ErrorKind::Invalid,
                format!(
                    "read the connection `{}` of environment `{}`: {error}",
                    C::KEY,
                    self.environment
                ),
            )
            .hint(format!("Add or mend `connections: {{{}: …}}` in the environment file.", C::KEY))
        })
    }

    /// The shared client of a system, built from its settings on first use.
    pub fn client<C, T, F>(&self, build: F) -> Result<Arc<T>, ActionError>
    where
        C: SystemConnection,
        T: Any + Send + Sync,
        F: FnOnce(C, &Secrets) -> Result<T, ActionError>,
    {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(C::KEY).cloned()
            && let Ok(client) = client.downcast::<T>()
        {
            return Ok(client);
        }
        let client = Arc::new(build(self.settings::<C>()?, &self.secrets)?);
        let shared: Arc<dyn Any + Send + Sync> = client.clone();
        let _former = clients.insert(C::KEY, shared);
        Ok(client)
    }
}
