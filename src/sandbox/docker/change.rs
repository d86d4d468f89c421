//! Rename, update, remove, and the connections to networks.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::create::{check_name, join};
use super::engine::{Engine, EngineError, find_in};

impl Engine {
    /// Gives a container another name.
    pub(super) fn rename(&self, reference: &str, name: &str) -> Result<(), EngineError> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let allocating = |error: EngineError| EngineError {
            message: format!("Error when allocating new name: {}", error.message),
            ..error
        };
        let key = self.update_with(reference, |container, objects| {
            if name.is_empty() {
                return Err(EngineError::bad_request("Neither old nor new names may be empty"));
            }
            if container.name == name {
                return Err(EngineError::bad_request(
                    "Renaming a container with the same name as its current name",
                ));
            }
            check_name(objects, name).map_err(allocating)?;
            name.clone_into(&mut container.name);
            Ok(container.key())
        })?;
        self.ledger.record(&format!("rename {key}"));
        Ok(())
    }

    /// Changes restart policy and resources.
    pub(super) fn change(
        &self,
        reference: &str,
        settings: Map<String, Value>,
    ) -> Result<(), EngineError> {
        let key = self.update(reference, |container| {
            for (name, value) in settings {
                if !value.is_null() {
                    container.host_config.insert(name, value);
                }
            }
            Ok(container.key())
        })?;
        self.ledger.record(&format!("update {key}"));
        Ok(())
    }

    /// Removes a container; one that runs only with `force`, which kills it.
    pub(super) async fn remove(
        self: &Arc<Self>,
        reference: &str,
        force: bool,
    ) -> Result<(), EngineError> {
        let container = self.find(reference)?;
        if container.is_running() {
            if !force {
                return Err(EngineError::conflict(format!(
                    "You cannot remove a running container {}. Stop the container before \
                     attempting removal or force remove",
                    container.id
                )));
            }
            self.end_now(&container.id).await;
        }
        self.register.pass().await;
        let mut objects = self.objects();
        find_in(&objects, &container.id)?;
        self.forget(&mut objects, &container.id)?;
        drop(objects);
        self.ledger.record(&format!("remove {}", container.key()));
        Ok(())
    }

    /// Connects a container to a network.
    pub(super) fn connect(
        &self,
        network: &str,
        reference: &str,
        settings: Map<String, Value>,
    ) -> Result<(), EngineError> {
        let key = self.update_with(reference, |container, objects| {
            if container.networks.contains_key(network) {
                return Err(EngineError::new(
                    axum::http::StatusCode::FORBIDDEN,
                    format!(
                        "endpoint with name {} already exists in network {network}",
                        container.name
                    ),
                ));
            }
            let (name, endpoint) = join(objects, &container.id, network, settings)?;
            container.networks.insert(name, endpoint);
            Ok(container.key())
        })?;
        self.ledger.record(&format!("connect {key}"));
        Ok(())
    }

    /// Takes a container out of a network.
    pub(super) fn disconnect(&self, network: &str, reference: &str) -> Result<(), EngineError> {
        let name = self.find_network(network)?.name;
        let key = self.update(reference, |container| match container.networks.remove(&name) {
            Some(_) => Ok(container.key()),
            None => Err(EngineError::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                format!("container {} is not connected to network {name}", container.id),
            )),
        })?;
        self.ledger.record(&format!("disconnect {key}"));
        Ok(())
    }

    pub(super) fn find_network(
        &self,
        reference: &str,
    ) -> Result<super::model::Network, EngineError> {
        self.networks()
            .into_iter()
            .find(|each| {
                each.name == reference || (reference.len() >= 12 && each.id.starts_with(reference))
            })
            .ok_or_else(|| EngineError::not_found(format!("network {reference} not found")))
    }
}
