use std::collections::HashMap;
use std::time::Duration;

use axum::http::Method;
use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, HealthStatusEnum, HostConfig,
    NetworkConnectRequest, NetworkDisconnectRequest, NetworkingConfig, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use tokio::net::TcpListener;

use super::model::BEHAVIOUR;
use crate::sandbox::client::ask;
use crate::sandbox::world::{Options, World};

const BLUE: &str = "legacy-agent-001-1";
const GREEN: &str = "ollama-optimized-agent-001-1";

struct Rig {
    _dir: tempfile::TempDir,
    world: World,
    docker: Docker,
}

fn connect(world: &World) -> Docker {
    Docker::connect_with_unix(&world.info().docker, 30, bollard::API_DEFAULT_VERSION).unwrap()
}

async fn rig(agents: usize, speed: f64) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { agents, speed, ..Options::default() };
    let world = World::start(dir.path(), options).await.unwrap();
    let docker = connect(&world);
    Rig { _dir: dir, world, docker }
}

impl Rig {
    fn effect(&self, key: &str) -> u64 {
        self.world.ledger().effects().get(key).copied().unwrap_or_default()
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, (u16, String)> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        self.docker.create_container(Some(options), body).await.map(|made| made.id).map_err(parts)
    }

    async fn health(&self, name: &str) -> Option<HealthStatusEnum> {
        let shown = self.docker.inspect_container(name, None).await.unwrap();
        shown.state.unwrap().health.unwrap().status
    }
}

fn parts(error: bollard::errors::Error) -> (u16, String) {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, message } => {
            (status_code, message)
        }
        other => panic!("{other}"),
    }
}

fn from_image(image: &str) -> ContainerCreateBody {
    ContainerCreateBody { image: Some(image.to_owned()), ..Default::default() }
}

async fn count(docker: &Docker, filters: &[(&str, &[&str])], all: bool) -> usize {
    let filters: HashMap<String, Vec<String>> = filters
        .iter()
        .map(|(name, values)| {
            ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
        })
        .collect();
    let options = ListContainersOptionsBuilder::default().all(all).filters(&filters).build();
    docker.list_containers(Some(options)).await.unwrap().len()
}

#[tokio::test]
async fn containers_are_listed_by_label_name_and_state() {
    let rig = rig(3, 100.0).await;
    let project = "com.docker.compose.project=legacy";
    let one: &[&str] = &[project, "com.docker.compose.service=agent-002"];
    rig.docker.stop_container("legacy-agent-003-1", None).await.unwrap();
    let docker = &rig.docker;
    assert_eq!(count(docker, &[], true).await, 6);
    assert_eq!(count(docker, &[], false).await, 5);
    assert_eq!(count(docker, &[("label", &[project])], true).await, 3);
    assert_eq!(count(docker, &[("label", one)], true).await, 1);
    assert_eq!(count(docker, &[("label", &["com.docker.compose.oneoff"])], true).await, 6);
    assert_eq!(count(docker, &[("name", &["agent-001"])], true).await, 2);
    assert_eq!(count(docker, &[("name", &["^/legacy-agent-001-1$"])], true).await, 1);
    assert_eq!(count(docker, &[("status", &["exited"])], false).await, 1);
    assert_eq!(count(docker, &[("status", &["exited", "running"])], false).await, 6);
    let filters = HashMap::from([("nonsense".to_owned(), vec!["x".to_owned()])]);
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let refused = parts(docker.list_containers(Some(options)).await.unwrap_err());
    assert_eq!(refused, (400, "Invalid filter 'nonsense'".to_owned()));
}

#[tokio::test]
async fn stop_and_start_change_once_and_health_returns() {
    let rig = rig(1, 100.0).await;
    for _ in 0..2 {
        rig.docker.stop_container(BLUE, None).await.unwrap();
    }
    let state = rig.docker.inspect_container(BLUE, None).await.unwrap().state.unwrap();
    assert_eq!((state.running, state.exit_code), (Some(false), Some(0)));
    assert!(state.finished_at.unwrap() > state.started_at.unwrap());
    for _ in 0..2 {
        rig.docker.start_container(BLUE, None).await.unwrap();
    }
    assert_eq!(rig.effect("stop legacy/agent-001"), 1);
    assert_eq!(rig.effect("start legacy/agent-001"), 1);
    assert_eq!(rig.health(BLUE).await, Some(HealthStatusEnum::STARTING));
    let healthy = async {
        while rig.health(BLUE).await != Some(HealthStatusEnum::HEALTHY) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), healthy).await.unwrap();
}

#[tokio::test]
async fn a_raw_client_sees_versions_and_not_modified() {
    let rig = rig(1, 100.0).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let front = crate::sandbox::wire::Front {
        double: crate::sandbox::faults::Double::Docker,
        faults: rig.world.faults().clone(),
        handler: super::routes::handler(rig.world.engine().clone()),
        refuse: super::routes::refuse,
    };
    let _door = crate::sandbox::wire::open_tcp(listener, front);
    let get = async |path: &str| ask(Method::GET, &address, path, String::new()).await.unwrap();
    let post = async |path: &str| ask(Method::POST, &address, path, String::new()).await.unwrap();
    assert_eq!(get("/_ping").await.1, "OK");
    assert!(get("/v1.41/version").await.1.contains("\"ApiVersion\":\"1.41\""));
    let (status, text) = get("/v1.53/containers/json").await;
    let too_new = "{\"message\":\"client version 1.53 is too new. \
                   Maximum supported API version is 1.41\"}";
    assert_eq!((status.as_u16(), text.as_str()), (400, too_new));
    assert_eq!(get("/nonsense").await.1, "{\"message\":\"page not found\"}");
    assert_eq!(post(&format!("/v1.24/containers/{GREEN}/start")).await.0.as_u16(), 304);
    assert_eq!(post(&format!("/containers/{GREEN}/stop?t=1")).await.0.as_u16(), 204);
    assert_eq!(post(&format!("/containers/{GREEN}/stop?t=1")).await.0.as_u16(), 304);
    assert_eq!(post(&format!("/containers/{GREEN}/stop?t=x")).await.0.as_u16(), 400);
    let old_form = "/containers/json?filters=%7B%22status%22%3A%7B%22exited%22%3Atrue%7D%7D";
    assert!(get(old_form).await.1.contains(GREEN));
}

#[tokio::test]
async fn refusals_are_in_the_engines_words() {
    let rig = rig(1, 100.0).await;
    let docker = &rig.docker;
    let id = docker.inspect_container(BLUE, None).await.unwrap().id.unwrap();
    let missing = parts(docker.stop_container("nope", None).await.unwrap_err());
    assert_eq!(missing, (404, "No such container: nope".to_owned()));
    let missing = rig.create("other", from_image("nope")).await.unwrap_err();
    assert_eq!(missing, (404, "No such image: nope:latest".to_owned()));
    let (status, text) = rig.create(BLUE, from_image("legacy/agent:1.0.0")).await.unwrap_err();
    assert_eq!(status, 409);
    assert!(text.starts_with(&format!(
        "Conflict. The container name \"/{BLUE}\" is already in use by container \"{id}\""
    )));
    let (status, text) = rig.create("a/b", from_image("legacy/agent:1.0.0")).await.unwrap_err();
    assert_eq!(status, 400);
    assert!(text.starts_with("Invalid container name (a/b)"), "{text}");
    let (status, text) = parts(docker.remove_container(BLUE, None).await.unwrap_err());
    assert_eq!(status, 409);
    assert!(text.starts_with("You cannot remove a running container"), "{text}");
    let rename = RenameContainerOptionsBuilder::default().name(GREEN).build();
    let (status, text) = parts(docker.rename_container(BLUE, rename).await.unwrap_err());
    assert_eq!(status, 409);
    assert!(text.starts_with("Error when allocating new name: Conflict."), "{text}");
}

#[tokio::test]
async fn a_new_container_has_the_defaults_of_its_image() {
    let rig = rig(1, 100.0).await;
    let aliases = Some(vec!["agent-001".to_owned()]);
    let endpoint = EndpointSettings { aliases, ..Default::default() };
    let networks = HashMap::from([("legacy_default".to_owned(), endpoint)]);
    let body = ContainerCreateBody {
        env: Some(vec!["AGENT_NAME=x".to_owned(), "AGENT_VERSION=9".to_owned()]),
        labels: Some(HashMap::from([("own".to_owned(), "yes".to_owned())])),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(networks) }),
        host_config: Some(HostConfig { memory: Some(42), ..Default::default() }),
        volumes: Some(vec!["/cache".to_owned()]),
        ..from_image("legacy/agent:1.0.0")
    };
    let id = rig.create("swapped", body).await.unwrap();
    let shown = rig.docker.inspect_container("swapped", None).await.unwrap();
    let image = rig.docker.inspect_image("legacy/agent:1.0.0").await.unwrap();
    assert_eq!(shown.image, image.id);
    let (config, defaults) = (shown.config.unwrap(), image.config.unwrap());
    let env = config.env.unwrap();
    assert_eq!(env[..2], ["AGENT_NAME=x", "AGENT_VERSION=9"]);
    assert!(env.contains(&"AGENT_CLASS=BaseAgent".to_owned()));
    assert!(!env.contains(&"AGENT_VERSION=1.0.0".to_owned()));
    assert_eq!((config.cmd, config.entrypoint), (defaults.cmd, defaults.entrypoint));
    assert_eq!(config.healthcheck, defaults.healthcheck);
    assert_eq!(config.labels.unwrap()["org.opencontainers.image.version"], "1.0.0");
    assert_eq!(config.hostname.as_deref(), Some(&id[..12]));
    assert_eq!(shown.host_config.unwrap().memory, Some(42));
    assert_eq!(shown.mounts.unwrap()[0].destination.as_deref(), Some("/cache"));
    let joined = shown.network_settings.unwrap().networks.unwrap();
    let expected = vec!["agent-001".to_owned(), id[..12].to_owned()];
    assert_eq!(joined["legacy_default"].aliases, Some(expected));
    assert_eq!(rig.effect("create swapped"), 1);
}

#[tokio::test]
async fn a_swap_renames_updates_connects_and_removes() {
    let rig = rig(1, 100.0).await;
    let docker = &rig.docker;
    let id = rig.create("new", from_image("legacy/agent:1.0.0")).await.unwrap();
    let connection =
        |endpoint_config| NetworkConnectRequest { container: id.clone(), endpoint_config };
    docker.connect_network("ollama-optimized_default", connection(None)).await.unwrap();
    let twice = docker.connect_network("ollama-optimized_default", connection(None)).await;
    assert_eq!(parts(twice.unwrap_err()).0, 403);
    let leave = NetworkDisconnectRequest { container: id.clone(), ..Default::default() };
    docker.disconnect_network("bridge", leave.clone()).await.unwrap();
    assert_eq!(parts(docker.disconnect_network("nope", leave).await.unwrap_err()).0, 404);
    let rename = |name: &str| RenameContainerOptionsBuilder::default().name(name).build();
    docker.rename_container(GREEN, rename("parked")).await.unwrap();
    docker.rename_container("new", rename(GREEN)).await.unwrap();
    let policy =
        RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: Some(0) };
    let update = ContainerUpdateBody { restart_policy: Some(policy.clone()), ..Default::default() };
    docker.update_container("parked", update).await.unwrap();
    let parked = docker.inspect_container("parked", None).await.unwrap();
    assert_eq!(parked.host_config.unwrap().restart_policy, Some(policy));
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container("parked", Some(force)).await.unwrap();
    let gone = parts(docker.inspect_container("parked", None).await.unwrap_err());
    assert_eq!(gone.0, 404);
    let shown = docker.inspect_container(GREEN, None).await.unwrap();
    assert_eq!(shown.id.as_deref(), Some(id.as_str()));
    let networks = shown.network_settings.unwrap().networks.unwrap();
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["ollama-optimized_default"]);
    assert_eq!(rig.effect("remove ollama-optimized/agent-001"), 1);
}

fn stubborn() -> ContainerCreateBody {
    ContainerCreateBody {
        labels: Some(HashMap::from([(BEHAVIOUR.to_owned(), "ignores-sigterm".to_owned())])),
        ..from_image("legacy/agent:1.0.0")
    }
}

#[tokio::test]
async fn a_stubborn_container_is_killed_after_its_time_even_when_the_client_leaves() {
    let rig = rig(1, 10.0).await;
    rig.create("stubborn", stubborn()).await.unwrap();
    rig.docker.start_container("stubborn", None).await.unwrap();
    let term = KillContainerOptionsBuilder::default().signal("SIGTERM").build();
    rig.docker.kill_container("stubborn", Some(term)).await.unwrap();
    let options = StopContainerOptionsBuilder::default().t(5).build();
    // Half a second at this speed; the client has no patience.
    let stop = rig.docker.stop_container("stubborn", Some(options));
    assert!(tokio::time::timeout(Duration::from_millis(100), stop).await.is_err());
    assert!(rig.world.engine().find("stubborn").unwrap().state.process);
    let ended = async {
        while rig.world.engine().find("stubborn").unwrap().is_running() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_eq!(rig.world.engine().find("stubborn").unwrap().state.exit_code, 137);
    assert_eq!(rig.effect("stop stubborn"), 1);
}

#[tokio::test]
async fn a_killed_container_ceases_to_act_before_it_is_reported() {
    let rig = rig(8, 1.0).await;
    let names: Vec<String> = (1..=8).map(|n| format!("legacy-agent-{n:03}-1")).collect();
    let term = KillContainerOptionsBuilder::default().signal("SIGTERM").build();
    let kills = names.iter().map(|name| rig.docker.kill_container(name, Some(term.clone())));
    for killed in futures_util::future::join_all(kills).await {
        killed.unwrap();
    }
    let engine = rig.world.engine();
    assert!(names.iter().all(|name| !engine.find(name).unwrap().state.process));
    assert!(names.iter().any(|name| engine.find(name).unwrap().is_running()));
}

#[tokio::test]
async fn one_that_exits_at_start_says_so() {
    let rig = rig(1, 100.0).await;
    let cmd = Some(vec!["false".to_owned()]);
    let body = ContainerCreateBody { cmd, ..from_image("legacy/agent:1.0.0") };
    rig.create("broken", body).await.unwrap();
    rig.docker.start_container("broken", None).await.unwrap();
    let ended = async {
        while rig.world.engine().find("broken").unwrap().is_running() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_eq!(rig.world.engine().find("broken").unwrap().state.exit_code, 1);
    assert_eq!(count(&rig.docker, &[("status", &["exited"])], true).await, 1);
}

#[tokio::test]
async fn the_state_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { agents: 2, speed: 100.0, ..Options::default() };
    let world = World::start(dir.path(), options.clone()).await.unwrap();
    let docker = connect(&world);
    docker.stop_container(GREEN, None).await.unwrap();
    let rename = RenameContainerOptionsBuilder::default().name("parked").build();
    docker.rename_container(GREEN, rename).await.unwrap();
    let before = docker.inspect_container("parked", None).await.unwrap();
    drop((world, docker));
    let world = World::start(dir.path(), options).await.unwrap();
    let docker = connect(&world);
    assert_eq!(docker.inspect_container("parked", None).await.unwrap(), before);
    assert_eq!(count(&docker, &[], true).await, 4);
    assert_eq!(world.ledger().effects().get("stop ollama-optimized/agent-001"), Some(&1));
}

#[tokio::test]
async fn injected_faults_reach_the_client() {
    let rig = rig(1, 100.0).await;
    rig.world.faults().add("docker:error=500,path=/stop,times=1".parse().unwrap());
    let failed = parts(rig.docker.stop_container(BLUE, None).await.unwrap_err());
    assert_eq!(failed, (500, "an error was injected into the sandbox".to_owned()));
    assert_eq!(rig.effect("stop legacy/agent-001"), 0);
    rig.world.faults().add("docker:lost,path=/stop,times=1".parse().unwrap());
    assert!(rig.docker.stop_container(BLUE, None).await.is_err());
    assert_eq!(rig.effect("stop legacy/agent-001"), 1);
}
