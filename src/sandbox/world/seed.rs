//! The engine in the state "deployed-green": both images present, both fleets running and healthy.

use serde_json::{Map, Value, json};

use crate::clock;
use crate::sandbox::SandboxError;
use crate::sandbox::docker::Engine;
use crate::sandbox::docker::engine::{digest_of, fresh_id};
use crate::sandbox::docker::model::{
    Config, Container, Endpoint, Health, Image, Labels, NEVER, Network, State, Status,
};
use crate::sandbox::services::{Colour, VERSION};

/// The image of a colour, as `name:tag`.
pub(super) fn image_name(colour: Colour) -> &'static str {
    match colour {
        Colour::Blue => "legacy/agent:1.0.0",
        Colour::Green => "ollama/agent:2.0.0",
    }
}

/// The name of an agent's Compose service.
pub(super) fn service(number: usize) -> String {
    format!("agent-{number:03}")
}

/// Puts the engine into the state "deployed-green".
pub(super) fn engine(engine: &Engine, agents: usize) -> Result<(), SandboxError> {
    let sides = [Colour::Blue, Colour::Green];
    let images: Vec<Image> = sides.into_iter().map(image).collect();
    let mut networks = vec![network("bridge", 17)];
    networks.push(network(&network_of(Colour::Blue), 18));
    networks.push(network(&network_of(Colour::Green), 19));
    let containers = sides
        .into_iter()
        .zip(&images)
        .flat_map(|(colour, image)| {
            (1..=agents).map(move |number| container(colour, image, number))
        })
        .collect();
    engine.seed(images, networks, containers)
}

fn network_of(colour: Colour) -> String {
    format!("{}_default", colour.project())
}

fn network(name: &str, subnet: u8) -> Network {
    let mut labels = Labels::new();
    if let Some(project) = name.strip_suffix("_default") {
        labels.insert("com.docker.compose.network".to_owned(), "default".to_owned());
        labels.insert("com.docker.compose.project".to_owned(), project.to_owned());
    }
    Network {
        id: digest_of(&format!("network {name}")),
        name: name.to_owned(),
        created: clock::now().to_string(),
        labels,
        subnet,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn image(colour: Colour) -> Image {
    let name = image_name(colour);
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    let class = match colour {
        Colour::Blue => "BaseAgent",
        Colour::Green => "BaseAgentV2",
    };
    Image {
        id: format!("sha256:{}", digest_of(&format!("image {name}"))),
        tags: vec![name.to_owned()],
        digests: vec![format!("{repository}@sha256:{}", digest_of(&format!("digest {name}")))],
        created: clock::now().to_string(),
        config: Config {
            env: Some(vec![
                "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
                format!("AGENT_CLASS={class}"),
                format!("AGENT_VERSION={}", colour.version()),
            ]),
            cmd: Some(vec!["python".to_owned(), "-m".to_owned(), "agent".to_owned()]),
            entrypoint: Some(vec!["/usr/bin/tini".to_owned(), "--".to_owned()]),
            working_dir: Some("/app".to_owned()),
            labels: Some(Labels::from([(VERSION.to_owned(), colour.version().to_owned())])),
            healthcheck: Some(object(json!({
                "Test": ["CMD-SHELL", "curl -fs http://localhost:8080/health"],
                "Interval": 5_000_000_000_u64,
                "Timeout": 2_000_000_000_u64,
                "Retries": 3,
            }))),
            exposed_ports: Some(object(json!({"8080/tcp": {}}))),
            ..Config::default()
        },
    }
}

fn container(colour: Colour, image: &Image, number: usize) -> Container {
    let (project, service) = (colour.project(), service(number));
    let id = fresh_id();
    let mut config = image.config.clone();
    config.image = image.tags.first().cloned();
    config.hostname = id.get(..12).map(str::to_owned);
    config.env.get_or_insert_default().push(format!("AGENT_NAME={service}"));
    let labels = config.labels.get_or_insert_default();
    for (name, value) in [
        ("project", project),
        ("service", &service),
        ("oneoff", "False"),
        ("container-number", "1"),
        ("version", "2.29.0"),
        ("image", &image.id),
        ("config-hash", &digest_of(&format!("{project} {service}"))),
        ("depends_on", ""),
        ("project.working_dir", &format!("/opt/sutazaiapp/{project}")),
        ("project.config_files", &format!("/opt/sutazaiapp/{project}/docker-compose.yml")),
    ] {
        labels.insert(format!("com.docker.compose.{name}"), value.to_owned());
    }
    let network = network_of(colour);
    let aliases = vec![service.clone(), id.get(..12).unwrap_or_default().to_owned()];
    let address = u32::try_from(number).unwrap_or_default() + 1;
    let endpoint = Endpoint { aliases, settings: Map::new(), address };
    let data = format!("/opt/sutazaiapp/data/{service}");
    let now = clock::now().to_string();
    Container {
        name: format!("{project}-{service}-1"),
        created: now.clone(),
        image_id: image.id.clone(),
        config,
        host_config: object(json!({
            "NetworkMode": network,
            "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
            "Binds": [format!("{data}:/data:rw")],
            "Memory": 536_870_912,
            "NanoCpus": 500_000_000,
        })),
        networks: [(network.clone(), endpoint)].into(),
        mounts: vec![json!({"Type": "bind", "Source": data, "Destination": "/data",
            "Mode": "rw", "RW": true, "Propagation": "rprivate"})],
        state: State {
            status: Status::Running,
            process: true,
            exit_code: 0,
            started_at: now,
            finished_at: NEVER.to_owned(),
            health: Some(Health::Healthy),
        },
        id,
    }
}
