//! How the engine shows its objects: the JSON of lists and inspections (API 1.41).

use serde_json::{Map, Value, json};

use super::model::{Container, Endpoint, Health, Image, Network, Status};
use crate::clock;

/// A container as `GET /containers/{id}/json` shows it.
pub(super) fn inspect(container: &Container, networks: &[Network]) -> Value {
    let command: Vec<&String> = [&container.config.entrypoint, &container.config.cmd]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let mut host_config = container.host_config.clone();
    host_config
        .entry("RestartPolicy")
        .or_insert_with(|| json!({"Name": "no", "MaximumRetryCount": 0}));
    host_config.entry("NetworkMode").or_insert_with(|| json!("default"));
    json!({
        "Id": container.id,
        "Created": container.created,
        "Path": command.first(),
        "Args": command.get(1..).unwrap_or_default(),
        "State": state(container),
        "Image": container.image_id,
        "Name": format!("/{}", container.name),
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": host_config,
        "Mounts": container.mounts,
        "Config": container.config,
        "NetworkSettings": {"Networks": endpoints(container, networks)},
    })
}

fn state(container: &Container) -> Value {
    let state = &container.state;
    let mut shown = json!({
        "Status": state.status.word(),
        "Running": container.is_running(),
        "Paused": false,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": false,
        "Dead": false,
        "Pid": if state.process { process_id(container) } else { 0 },
        "ExitCode": state.exit_code,
        "Error": "",
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    });
    if let Some(health) = state.health {
        let streak = u8::from(health == Health::Unhealthy);
        shown["Health"] = json!({"Status": health.word(), "FailingStreak": streak, "Log": []});
    }
    shown
}

/// A number that looks like a process id: there is no process.
fn process_id(container: &Container) -> u32 {
    let digits = container.id.get(..4).unwrap_or_default();
    u32::from_str_radix(digits, 16).unwrap_or_default() + 1000
}

fn endpoints(container: &Container, networks: &[Network]) -> Map<String, Value> {
    let shown = container.networks.iter().map(|(name, endpoint)| {
        let network = networks.iter().find(|network| network.name == *name);
        (name.clone(), show_endpoint(endpoint, network, container.state.process))
    });
    shown.collect()
}

fn show_endpoint(endpoint: &Endpoint, network: Option<&Network>, connected: bool) -> Value {
    let setting = |name: &str| endpoint.settings.get(name).cloned().unwrap_or(Value::Null);
    let subnet = network.map_or(17, |network| network.subnet);
    let (high, low) = (endpoint.address / 256, endpoint.address % 256);
    json!({
        "IPAMConfig": setting("IPAMConfig"),
        "Links": setting("Links"),
        "DriverOpts": setting("DriverOpts"),
        "Aliases": endpoint.aliases,
        "NetworkID": network.map(|network| network.id.as_str()).unwrap_or_default(),
        "EndpointID": "",
        "Gateway": if connected { format!("172.{subnet}.0.1") } else { String::new() },
        "IPAddress": if connected { format!("172.{subnet}.{high}.{low}") } else { String::new() },
        "IPPrefixLen": if connected { 16 } else { 0 },
        "MacAddress": if connected { format!("02:42:ac:{subnet:02x}:{high:02x}:{low:02x}") } else { String::new() },
    })
}

/// A container as `GET /containers/json` shows it.
pub(super) fn summary(container: &Container, networks: &[Network]) -> Value {
    let words: Vec<&str> = [&container.config.entrypoint, &container.config.cmd]
        .into_iter()
        .flatten()
        .flatten()
        .map(String::as_str)
        .collect();
    let mode = container.host_config.get("NetworkMode").and_then(Value::as_str);
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": container.config.image,
        "ImageID": container.image_id,
        "Command": words.join(" "),
        "Created": seconds(&container.created),
        "Ports": [],
        "Labels": container.config.labels.clone().unwrap_or_default(),
        "State": container.state.status.word(),
        "Status": status_line(container),
        "HostConfig": {"NetworkMode": mode.unwrap_or("default")},
        "NetworkSettings": {"Networks": endpoints(container, networks)},
        "Mounts": container.mounts,
    })
}

fn seconds(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second)
}

/// `Up 3 minutes (healthy)`, as go-units words it.
fn status_line(container: &Container) -> String {
    let state = &container.state;
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => {
            let health = match state.health {
                None => "",
                Some(Health::Starting) => " (health: starting)",
                Some(Health::Healthy) => " (healthy)",
                Some(Health::Unhealthy) => " (unhealthy)",
            };
            format!("Up {}{health}", human(clock::now().as_second() - seconds(&state.started_at)))
        }
        Status::Restarting => {
            let ago = human(clock::now().as_second() - seconds(&state.finished_at));
            format!("Restarting ({}) {ago} ago", state.exit_code)
        }
        Status::Exited => {
            let ago = human(clock::now().as_second() - seconds(&state.finished_at));
            format!("Exited ({}) {ago} ago", state.exit_code)
        }
    }
}

fn human(seconds: i64) -> String {
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / 60),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// An image as `GET /images/{name}/json` shows it.
pub(super) fn image(image: &Image) -> Value {
    json!({
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Parent": "",
        "Comment": "",
        "Created": image.created,
        "Config": image.config,
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 1_048_576,
    })
}

/// An image as `GET /images/json` shows it.
pub(super) fn image_summary(image: &Image) -> Value {
    json!({
        "Id": image.id,
        "ParentId": "",
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Created": seconds(&image.created),
        "Size": 1_048_576,
        "SharedSize": -1,
        "VirtualSize": 1_048_576,
        "Labels": image.config.labels.clone().unwrap_or_default(),
        "Containers": -1,
    })
}

/// A network; an inspection also shows what is connected to it.
pub(super) fn network(network: &Network, containers: Option<&[Container]>) -> Value {
    let connected: Map<String, Value> = containers
        .into_iter()
        .flatten()
        .filter(|container| {
            container.state.process && container.networks.contains_key(&network.name)
        })
        .map(|container| (container.id.clone(), json!({"Name": container.name})))
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null,
            "Config": [{"Subnet": format!("172.{}.0.0/16", network.subnet)}]},
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "Containers": connected,
        "Options": {},
        "Labels": network.labels,
    })
}

/// The frames of what a container has written in these seconds: that it started, and how it ended.
pub(super) fn log(container: &Container, seconds: std::ops::RangeInclusive<i64>) -> Vec<u8> {
    let state = &container.state;
    let (started, finished) = (&state.started_at, &state.finished_at);
    let written = [
        (started, format!("started {} from {}", container.name, container.image_id)),
        (finished, format!("exited with code {}", state.exit_code)),
    ];
    let mut frames = Vec::new();
    for (at, text) in written {
        let second = at.parse().map_or(0, |at: jiff::Timestamp| at.as_second());
        if second > 0 && seconds.contains(&second) {
            let line = format!("{at} {text}\n");
            // Standard output, and the length.
            frames.extend([1, 0, 0, 0]);
            frames.extend(u32::try_from(line.len()).unwrap_or(u32::MAX).to_be_bytes());
            frames.extend(line.into_bytes());
        }
    }
    frames
}
