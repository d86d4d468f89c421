//! An engine under test, compose projects on it, and the port through which the adapter is driven.
//!
//! What the engine did is read with a client of the test's own, never through the adapter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig,
    NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use rollback::action::{
    Action, ActionError, Connections, Evidence, Item, Probe, Readiness, Recorder, ResolveContext,
    Saved, StepContext, Verdict, Work,
};
use rollback::adapters;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::HANG;

/// The version to go back to; healthy within about a second.
pub(super) const OLD: &str = "rollback-test/agent:1.0.0";
/// The version that is rolled back.
pub(super) const NEW: &str = "rollback-test/agent:2.0.0";
/// Ignores SIGTERM; has no health check.
pub(super) const STUBBORN: &str = "rollback-test/stubborn:1.0.0";
/// Ends with exit code 3 as soon as it is started; has no health check.
pub(super) const BROKEN: &str = "rollback-test/broken:1.0.0";

/// An engine under test.
pub(super) struct Rig {
    pub(super) host: String,
    pub(super) docker: Docker,
    /// How many times as fast as a real engine it works, its clock included.
    pub(super) speed: u32,
    /// Crash tests try every so-manieth point: a real engine takes its time.
    pub(super) stride: usize,
    /// A network that exists already; otherwise each project makes its own.
    shared_network: Option<String>,
    /// Keeps a double alive.
    _world: Box<dyn std::any::Any + Send + Sync>,
}

impl Rig {
    /// The real Docker Engine.
    pub(super) fn real() -> Self {
        let rig = Self::new(crate::support::docker::docker_host(), None, Box::new(()));
        Self { speed: 1, stride: 7, ..rig }
    }

    /// A double at an address.
    pub(super) fn new(
        host: String,
        shared_network: Option<String>,
        world: Box<dyn std::any::Any + Send + Sync>,
    ) -> Self {
        let docker = Docker::connect_with_host(&host).expect("the engine's address is sound");
        Self { host, docker, speed: super::double::SPEED, stride: 1, shared_network, _world: world }
    }

    /// The port as the engine of `rollback` sees it, with this Docker Engine as the environment's.
    pub(super) fn port(&self) -> Port {
        Port::at(&self.host)
    }

    /// A compose project with a name of its own.
    pub(super) async fn project(&self) -> Project {
        let id = Uuid::new_v4().simple().to_string();
        let name = format!("rollback-test-{}", &id[..12]);
        let network = if let Some(network) = &self.shared_network {
            network.clone()
        } else {
            let network = format!("{name}_default");
            let request =
                NetworkCreateRequest { name: network.clone(), ..NetworkCreateRequest::default() };
            self.docker.create_network(request).await.expect("a network is created");
            network
        };
        Project {
            name,
            network,
            own_network: self.shared_network.is_none(),
            host: self.host.clone(),
            docker: self.docker.clone(),
        }
    }
}

/// A compose project; everything that carries its label is removed when it is dropped.
pub(super) struct Project {
    pub(super) name: String,
    pub(super) network: String,
    own_network: bool,
    host: String,
    docker: Docker,
}

impl Project {
    /// Creates and starts `PROJECT-SERVICE-NUMBER`.
    pub(super) async fn run(&self, service: &str, number: u64, image: &str) -> String {
        self.run_with(service, number, image, |_| {}).await
    }

    /// The same, with changes to what is created.
    pub(super) async fn run_with(
        &self,
        service: &str,
        number: u64,
        image: &str,
        change: impl FnOnce(&mut ContainerCreateBody),
    ) -> String {
        let name = format!("{}-{service}-{number}", self.name);
        let mut body = self.body(service, number, image);
        change(&mut body);
        self.create(&name, body).await
    }

    /// Creates and starts a container from a body; returns its id.
    pub(super) async fn create(&self, name: &str, body: ContainerCreateBody) -> String {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self.docker.create_container(Some(options), body).await;
        let id = created.expect("a container is created").id;
        let started = self.docker.start_container(&id, None::<StartContainerOptions>).await;
        started.expect("a container starts");
        id
    }

    /// What Compose asks the engine for.
    pub(super) fn body(&self, service: &str, number: u64, image: &str) -> ContainerCreateBody {
        let labels = HashMap::from([
            ("com.docker.compose.project".to_owned(), self.name.clone()),
            ("com.docker.compose.service".to_owned(), service.to_owned()),
            ("com.docker.compose.container-number".to_owned(), number.to_string()),
            ("com.docker.compose.oneoff".to_owned(), "False".to_owned()),
            ("com.docker.compose.image".to_owned(), "sha256:as-compose-resolved-it".to_owned()),
        ]);
        let endpoint = EndpointSettings {
            aliases: Some(vec![service.to_owned()]),
            ..EndpointSettings::default()
        };
        ContainerCreateBody {
            image: Some(image.to_owned()),
            env: Some(vec!["TOKEN=of-the-creator".to_owned()]),
            labels: Some(labels),
            host_config: Some(HostConfig {
                network_mode: Some(self.network.clone()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.network.clone(), endpoint)])),
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// The full name of a container.
    pub(super) fn full(&self, short_name: &str) -> String {
        format!("{}-{short_name}", self.name)
    }

    /// A container as the engine tells it.
    pub(super) async fn look(&self, short_name: &str) -> Option<ContainerInspectResponse> {
        self.inspect(&self.full(short_name)).await
    }

    /// The same by its full name.
    pub(super) async fn inspect(&self, name: &str) -> Option<ContainerInspectResponse> {
        self.docker.inspect_container(name, None::<InspectContainerOptions>).await.ok()
    }

    /// Every container of the project: name, id and whether it runs, sorted.
    pub(super) async fn all(&self) -> Vec<(String, String, bool)> {
        let mut all = Vec::new();
        for id in labelled(&self.docker, &self.name).await {
            let found = self.docker.inspect_container(&id, None::<InspectContainerOptions>).await;
            let found = found.expect("a listed container can be inspected");
            let name = found.name.expect("a container has a name");
            let running = found.state.and_then(|state| state.running) == Some(true);
            all.push((name.trim_start_matches('/').to_owned(), id, running));
        }
        all.sort();
        all
    }

    /// The names of those that run, without the project's.
    pub(super) async fn running(&self) -> Vec<String> {
        let prefix = format!("{}-", self.name);
        let all = self.all().await.into_iter();
        all.filter(|(_, _, running)| *running)
            .map(|(name, _, _)| name.trim_start_matches(&prefix).to_owned())
            .collect()
    }

    /// Removes a container.
    pub(super) async fn remove(&self, name: &str) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        self.docker.remove_container(name, Some(options)).await.expect("a container is removed");
    }

    /// Waits until a container no longer runs.
    pub(super) async fn stopped(&self, short_name: &str) {
        until("the container stops", async || !is_running(self.look(short_name).await)).await;
    }
}

/// Whether an inspected container runs.
pub(super) fn is_running(found: Option<ContainerInspectResponse>) -> bool {
    found.and_then(|found| found.state).and_then(|state| state.running) == Some(true)
}

async fn labelled(docker: &Docker, project: &str) -> Vec<String> {
    let label = format!("com.docker.compose.project={project}");
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let listed = docker.list_containers(Some(options)).await.expect("containers are listed");
    listed.into_iter().filter_map(|summary| summary.id).collect()
}

impl Drop for Project {
    /// On a thread of its own, since the test's runtime cannot be waited for from here.
    fn drop(&mut self) {
        let (host, name) = (self.host.clone(), self.name.clone());
        let network = self.own_network.then(|| self.network.clone());
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                let docker = Docker::connect_with_host(&host).expect("the address is sound");
                for id in labelled(&docker, &name).await {
                    let options =
                        RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                    docker.remove_container(&id, Some(options)).await.expect("it is removed");
                }
                if let Some(network) = network {
                    docker.remove_network(&network).await.expect("the network is removed");
                }
            });
        });
        let end = cleaner.join();
        // A second panic would hide why the test failed.
        assert!(end.is_ok() || std::thread::panicking(), "failed to clean up {}", self.name);
    }
}

/// Asks again until `ready` holds; panics when only a hang can be the reason.
pub(super) async fn until(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + HANG;
    while !ready().await {
        assert!(Instant::now() < end, "{what} did not happen within {HANG:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a step notes.
#[derive(Default)]
struct Notes(Mutex<Vec<Value>>);

impl Notes {
    /// What was noted so far.
    fn all(&self) -> Vec<Value> {
        self.0.lock().expect("no test panics while it notes").clone()
    }
}

#[async_trait]
impl Recorder for Notes {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        self.jot(note);
        Ok(())
    }

    fn jot(&self, note: Value) {
        self.0.lock().expect("no test panics while it notes").push(note);
    }
}

/// The port of the adapter.
pub(super) struct Port {
    resolve: ResolveContext,
    notes: Arc<Notes>,
}

impl Port {
    /// With the engine at this address.
    pub(super) fn at(host: &str) -> Self {
        Self::with(json!({ "host": host }))
    }

    /// The same notes, with the engine at another address.
    pub(super) fn through(&self, host: &str) -> Self {
        Self { notes: self.notes.clone(), ..Self::at(host) }
    }

    /// With these settings under `connections: {docker: …}`.
    pub(super) fn with(settings: Value) -> Self {
        let settings = HashMap::from([("docker".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::default());
        let resolve = ResolveContext {
            connections: Arc::new(connections),
            registry: Arc::new(adapters::registry()),
        };
        Self { resolve, notes: Arc::default() }
    }

    /// Whether the engine answers.
    pub(super) async fn reach(&self) -> Result<String, ActionError> {
        let mut blocks = self.resolve.registry.connections().filter(|block| block.key == "docker");
        let reach = blocks.next().and_then(|block| block.reach).expect("docker can be reached");
        reach(&self.resolve.connections).await
    }

    /// Splits a step into items.
    pub(super) async fn items(&self, verb: &str, args: Value) -> Result<Vec<Item>, ActionError> {
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        (verb.validate)(args.clone()).expect("the arguments are sound");
        verb.expand(args, &self.resolve).await
    }

    /// Lists an inventory.
    pub(super) async fn list(&self, verb: &str, args: Value) -> Result<Vec<Value>, ActionError> {
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        verb.list(args, &self.resolve).await
    }

    /// The action of an item.
    pub(super) fn action(&self, verb: &str, item: &Item) -> Box<dyn Action> {
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        match verb.make(&item.args, &self.resolve).expect("the item is sound") {
            Work::Action(action) => action,
            _ => panic!("{} is an action", verb.name),
        }
    }

    /// The only action of a step.
    pub(super) async fn one(&self, verb: &str, args: Value) -> Box<dyn Action> {
        let items = self.items(verb, args).await.expect("the step is expanded");
        assert_eq!(items.len(), 1, "one item: {items:?}");
        self.action(verb, &items[0])
    }

    /// The probe of `docker.expect`.
    pub(super) async fn probe(&self, args: Value) -> Box<dyn Probe> {
        let items = self.items("docker.expect", args).await.expect("the step is expanded");
        let verb = self.resolve.registry.verb("docker.expect").expect("the verb exists");
        match verb.make(&items[0].args, &self.resolve).expect("the item is sound") {
            Work::Probe(probe) => probe,
            _ => panic!("docker.expect is a probe"),
        }
    }

    /// A context with time enough; it knows the notes so far, as the engine's does.
    pub(super) fn cx(&self) -> StepContext {
        self.cx_until(Instant::now() + HANG, CancellationToken::new())
    }

    /// A context with an end.
    pub(super) fn cx_until(&self, deadline: Instant, cancel: CancellationToken) -> StepContext {
        StepContext::new(deadline, cancel, std::env::temp_dir(), "test-run")
            .recording(self.notes.clone(), self.notes.all())
    }

    /// Inspects, which must find that something is to be done.
    pub(super) async fn needed(&self, action: &dyn Action) -> Saved {
        match action.inspect(&self.cx()).await.expect("the state can be inspected") {
            Readiness::Needed { saved, .. } => saved,
            Readiness::AlreadyDone { evidence } => {
                panic!("it is needed, not: {}", evidence.summary)
            }
        }
    }

    /// Inspects, which must find that nothing is to be done.
    pub(super) async fn already_done(&self, action: &dyn Action) -> Evidence {
        match action.inspect(&self.cx()).await.expect("the state can be inspected") {
            Readiness::AlreadyDone { evidence } => evidence,
            Readiness::Needed { saved, .. } => panic!("it is done already, not: {saved:?}"),
        }
    }

    /// Inspects, applies and verifies; returns the saved state.
    pub(super) async fn carry_out(&self, action: &dyn Action) -> Saved {
        let saved = self.needed(action).await;
        self.apply(action, &saved).await;
        saved
    }

    /// Applies and verifies.
    pub(super) async fn apply(&self, action: &dyn Action, saved: &Saved) {
        let applied = action.apply(&self.cx(), saved).await.expect("the change is made");
        until("the change holds", async || {
            let verdict = action.verify(&self.cx(), &applied).await;
            matches!(verdict.expect("it can be verified"), Verdict::Holds { .. })
        })
        .await;
    }
}
