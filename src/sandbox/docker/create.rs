//! Creating a container: the client's configuration merged with the image's defaults.
//!
//! The rules are moby's (`daemon/commit.go`, `merge`): what the client gives wins, environment and labels are united,
//! an entry point of the client's hides the image's command.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::engine::{Engine, EngineError, Objects, find_image_in, fresh_id};
use super::model::{Config, Container, Endpoint, NEVER, State, Status};
use crate::clock;

/// The body of a create request.
#[derive(Debug, Deserialize)]
pub(super) struct CreateBody {
    #[serde(flatten)]
    config: Config,
}

impl Engine {
    /// Creates a container and returns its id.
    pub(super) async fn create(
        self: &Arc<Self>,
        name: Option<&str>,
        body: CreateBody,
    ) -> Result<String, EngineError> {
        self.register.pass().await;
        let mut config = body.config;
        let host_config = take_object(&mut config, "HostConfig");
        let networking = take_object(&mut config, "NetworkingConfig");
        let reference = config.image.clone().filter(|image| !image.is_empty());
        let reference = reference.ok_or_else(|| EngineError::bad_request("no image specified"))?;
        let mut objects = self.objects();
        let image = find_image_in(&objects, &reference)?;
        let id = fresh_id();
        let name = name.map_or_else(|| format!("sandbox_{}", &id[..8]), str::to_owned);
        check_name(&objects, &name)?;
        merge(&mut config, &image.config);
        config.hostname.get_or_insert_with(|| id[..12].to_owned());
        let networks = join_networks(&objects, &id, &host_config, &networking)?;
        let container = Container {
            mounts: mounts(&host_config, &config, &id),
            created: clock::now().to_string(),
            image_id: image.id,
            state: State {
                status: Status::Created,
                process: false,
                stopped_by_hand: false,
                exit_code: 0,
                started_at: NEVER.to_owned(),
                finished_at: NEVER.to_owned(),
                health: None,
            },
            id: id.clone(),
            name,
            config,
            host_config,
            networks,
            restart_count: 0,
        };
        let key = container.key();
        self.insert(&mut objects, container)?;
        drop(objects);
        self.ledger.record(&format!("create {key}"));
        Ok(id)
    }
}

fn take_object(config: &mut Config, name: &str) -> Map<String, Value> {
    match config.other.remove(name) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Refuses a name that the engine does not accept or that is taken.
pub(super) fn check_name(objects: &Objects, name: &str) -> Result<(), EngineError> {
    let valid = |index: usize, c: char| {
        c.is_ascii_alphanumeric() || (index > 0 && matches!(c, '_' | '.' | '-'))
    };
    if name.len() < 2 || !name.chars().enumerate().all(|(index, c)| valid(index, c)) {
        return Err(EngineError::bad_request(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    match objects.containers.values().find(|container| container.name == name) {
        None => Ok(()),
        Some(owner) => Err(EngineError::conflict(format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{}\". \
             You have to remove (or rename) that container to be able to reuse that name.",
            owner.id
        ))),
    }
}

/// Gives `config` the defaults of an image.
pub(super) fn merge(config: &mut Config, image: &Config) {
    let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    if empty(&config.user) {
        config.user.clone_from(&image.user);
    }
    if empty(&config.working_dir) {
        config.working_dir.clone_from(&image.working_dir);
    }
    if empty(&config.stop_signal) {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    merge_command(config, image);
    if let Some(defaults) = &image.env {
        let env = config.env.get_or_insert_default();
        for default in defaults {
            let name = default.split('=').next().unwrap_or(default);
            if !env.iter().any(|given| given.split('=').next() == Some(name)) {
                env.push(default.clone());
            }
        }
    }
    if let Some(defaults) = &image.labels {
        let labels = config.labels.get_or_insert_default();
        for (name, value) in defaults {
            labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    fill(&mut config.healthcheck, image.healthcheck.as_ref());
    fill(&mut config.exposed_ports, image.exposed_ports.as_ref());
    fill(&mut config.volumes, image.volumes.as_ref());
}

fn merge_command(config: &mut Config, image: &Config) {
    let none = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if none(&config.entrypoint) {
        if none(&config.cmd) {
            config.cmd.clone_from(&image.cmd);
        }
        // An empty entry point, unlike none, switches the image's off.
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    // An empty word does so, too, and is not kept.
    if config.entrypoint.as_deref().is_some_and(|words| words == [""]) {
        config.entrypoint = None;
    }
}

/// Adds what `defaults` has and `given` lacks; a zero or empty list counts as lacking.
fn fill(given: &mut Option<Map<String, Value>>, defaults: Option<&Map<String, Value>>) {
    let Some(defaults) = defaults else { return };
    let given = given.get_or_insert_default();
    for (name, value) in defaults {
        let lacking = given.get(name).is_none_or(|found| {
            found.is_null() || *found == json!(0) || found.as_array().is_some_and(Vec::is_empty)
        });
        if lacking {
            given.insert(name.clone(), value.clone());
        }
    }
}

/// The endpoints of a new container: those that were asked for, else the network of the host configuration.
fn join_networks(
    objects: &Objects,
    id: &str,
    host_config: &Map<String, Value>,
    networking: &Map<String, Value>,
) -> Result<BTreeMap<String, Endpoint>, EngineError> {
    let asked = networking.get("EndpointsConfig").and_then(Value::as_object);
    let mut wanted: Vec<(String, Map<String, Value>)> = asked
        .into_iter()
        .flatten()
        .map(|(name, settings)| (name.clone(), settings.as_object().cloned().unwrap_or_default()))
        .collect();
    if wanted.len() > 1 {
        // moby before API 1.44, `daemon/create.go`, verifyNetworkingConfig.
        let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        return Err(EngineError::bad_request(format!(
            "Container cannot be connected to network endpoints: {}",
            names.join(", ")
        )));
    }
    if wanted.is_empty() {
        let mode = host_config.get("NetworkMode").and_then(Value::as_str).unwrap_or("default");
        match mode {
            "none" | "host" => return Ok(BTreeMap::new()),
            "" | "default" => wanted.push(("bridge".to_owned(), Map::new())),
            name => wanted.push((name.to_owned(), Map::new())),
        }
    }
    wanted.into_iter().map(|(name, settings)| join(objects, id, &name, settings)).collect()
}

/// Makes the endpoint of a container in a network.
pub(super) fn join(
    objects: &Objects,
    id: &str,
    network: &str,
    settings: Map<String, Value>,
) -> Result<(String, Endpoint), EngineError> {
    let found = objects
        .networks
        .iter()
        .find(|each| each.name == network || (network.len() >= 12 && each.id.starts_with(network)));
    let found =
        found.ok_or_else(|| EngineError::not_found(format!("network {network} not found")))?;
    let taken = objects.containers.values().filter_map(|each| each.networks.get(&found.name));
    // The first address is the gateway's.
    let address = taken.map(|endpoint| endpoint.address).max().unwrap_or(1) + 1;
    let given = settings.get("Aliases").and_then(Value::as_array);
    let mut aliases: Vec<String> =
        given.into_iter().flatten().filter_map(|alias| alias.as_str().map(str::to_owned)).collect();
    // The engine adds the short id in every network but its default one.
    if found.name != "bridge" && !aliases.iter().any(|alias| alias == &id[..12]) {
        aliases.push(id[..12].to_owned());
    }
    Ok((found.name.clone(), Endpoint { aliases, settings, address }))
}

/// What the engine reports under `Mounts`: binds, mounts, and a new volume for each anonymous one.
fn mounts(host_config: &Map<String, Value>, config: &Config, id: &str) -> Vec<Value> {
    let mut mounts = Vec::new();
    let binds = host_config.get("Binds").and_then(Value::as_array);
    for bind in binds.into_iter().flatten().filter_map(Value::as_str) {
        let mut parts = bind.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else { continue };
        let writable = !parts.next().is_some_and(|mode| mode.split(',').any(|word| word == "ro"));
        mounts.push(mount(source, target, writable));
    }
    let given = host_config.get("Mounts").and_then(Value::as_array);
    for each in given.into_iter().flatten() {
        let text = |name: &str| each.get(name).and_then(Value::as_str).unwrap_or_default();
        let read_only = each.get("ReadOnly").and_then(Value::as_bool).unwrap_or_default();
        mounts.push(mount(text("Source"), text("Target"), !read_only));
    }
    for target in config.volumes.iter().flat_map(Map::keys) {
        if !mounts.iter().any(|mount| mount["Destination"] == **target) {
            let name = super::engine::digest_of(&format!("{id}{target}"));
            mounts.push(mount(&name, target, true));
        }
    }
    mounts
}

fn mount(source: &str, target: &str, writable: bool) -> Value {
    if source.starts_with('/') {
        return json!({"Type": "bind", "Source": source, "Destination": target, "Mode": "",
            "RW": writable, "Propagation": "rprivate"});
    }
    json!({"Type": "volume", "Name": source, "Driver": "local", "Destination": target,
        "Source": format!("/var/lib/docker/volumes/{source}/_data"), "Mode": "z",
        "RW": writable, "Propagation": ""})
}
