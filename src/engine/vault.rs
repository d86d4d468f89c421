//! Where the private parts of saved states lie: outside the journal, which holds only references and hashes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use crate::action::{ActionError, ErrorKind};
use crate::event::{Place, PrivateRef};

/// A store for private saved states.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Keeps a value; returns when it is on disk.
    async fn put(&self, at: &Place, value: &Value) -> Result<PrivateRef, ActionError>;

    /// Reads a value back; an error when it is not what was kept.
    async fn get(&self, reference: &PrivateRef) -> Result<Value, ActionError>;
}

/// A vault that forgets everything with the process: for runs whose journal is in memory, too.
#[derive(Default)]
pub struct MemoryVault {
    values: Mutex<HashMap<String, Value>>,
}

#[async_trait]
impl Vault for MemoryVault {
    async fn put(&self, at: &Place, value: &Value) -> Result<PrivateRef, ActionError> {
        let file = format!("{}:{}", at.step, at.item);
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let _former = values.insert(file.clone(), value.clone());
        Ok(PrivateRef { file, sha256: String::new() })
    }

    async fn get(&self, reference: &PrivateRef) -> Result<Value, ActionError> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(&reference.file).cloned().ok_or_else(|| {
            ActionError::new(
                ErrorKind::NotFound,
                format!("find the saved state {}", reference.file),
            )
        })
    }
}
