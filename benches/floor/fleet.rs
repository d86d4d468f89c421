//! A Compose project on the real Docker Engine, and the plainest client of its API: each call once, with the best number of
//! callers, and nothing written down, proved or kept.
//!
//! The containers carry Compose's own labels, so that every tool takes them for its project; they have no health check, since a
//! fleet's checks would keep the engine busy.

use std::collections::HashMap;
use std::future::Future;

use bollard::models::{
    ContainerCreateBody, ContainerSummary, EndpointSettings, HealthConfig, HostConfig,
    NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    RenameContainerOptionsBuilder, StartContainerOptions, StopContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::runtime::Runtime;

use super::place::server;

/// More callers make the engine slower, fewer leave it idle.
const STOPPING: usize = 8;
/// Starting costs the engine more than it costs the caller.
const STARTING: usize = 4;
/// The time of one call, in seconds.
const PATIENCE: u64 = 600;
const SERVICE: &str = "agent";

/// The image that a fleet begins with, and the one that it is swapped to.
pub(crate) const IMAGES: [&str; 2] = ["rollback-test/agent:2.0.0", "rollback-test/agent:1.0.0"];

/// The fleet; removed when dropped.
pub(crate) struct Fleet {
    runtime: Runtime,
    docker: Docker,
    address: String,
    project: String,
    agents: usize,
}

impl Fleet {
    /// A running fleet of the first image.
    pub(crate) fn start(agents: usize) -> Self {
        let address = server("ROLLBACK_TEST_DOCKER");
        let path = address.strip_prefix("unix://").expect("the engine is on this machine");
        let docker = Docker::connect_with_unix(path, PATIENCE, API_DEFAULT_VERSION)
            .expect("the engine has a socket");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let fleet = Self {
            runtime: runtime.expect("a runtime can be started"),
            docker,
            address,
            project: format!("rollback-bench-{}", std::process::id()),
            agents,
        };
        fleet.create_network();
        let numbers: Vec<usize> = (1..=agents).collect();
        fleet.each(STOPPING, numbers, |number| fleet.create(number, "", IMAGES[0]));
        fleet.start_all();
        fleet
    }

    /// The engine's address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The project's name.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// How many containers it has.
    pub(crate) fn agents(&self) -> usize {
        self.agents
    }

    /// Stops all containers.
    pub(crate) fn stop_all(&self) {
        self.each(STOPPING, self.ids(), |id| async move {
            self.docker.stop_container(&id, None::<StopContainerOptions>).await
        });
    }

    /// Starts all containers.
    pub(crate) fn start_all(&self) {
        self.start_these(self.ids());
    }

    /// Stops every container, creates one of another image for it, and starts those.
    pub(crate) fn swap_all(&self, image: &str) {
        self.stop_all();
        let numbers: Vec<usize> = (1..=self.agents).collect();
        let created = self.each(STOPPING, numbers, |number| self.create(number, NEW, image));
        self.start_these(created);
    }

    /// Removes what was swapped out, and gives its name to what was swapped in.
    pub(crate) fn tidy(&self) {
        let (running, idle): (Vec<_>, Vec<_>) =
            self.containers().into_iter().partition(|container| {
                container.state.as_ref().is_some_and(|state| state.to_string() == "running")
            });
        self.remove_these(ids(&idle));
        let renamed = running.into_iter().filter_map(|container| {
            let name = container.names?.into_iter().next()?.trim_start_matches('/').to_owned();
            Some((container.id?, name.strip_suffix(NEW)?.to_owned()))
        });
        self.each(STOPPING, renamed.collect(), |(id, name)| async move {
            let options = RenameContainerOptionsBuilder::default().name(&name).build();
            self.docker.rename_container(&id, options).await
        });
    }

    /// Fails unless all of the fleet is in this state and of this image.
    pub(crate) fn expect(&self, state: &str, image: &str) {
        let inspected = self.runtime.block_on(self.docker.inspect_image(image));
        // Who swaps by the image's id leaves a container that knows no other name of it.
        let wanted = inspected.expect("the images are built").id;
        let found = self.containers().into_iter().filter(|container| {
            container.state.as_ref().is_some_and(|found| found.to_string() == state)
                && container.image_id == wanted
        });
        assert_eq!(found.count(), self.agents, "agents that are {state} and of {image}");
    }

    fn start_these(&self, ids: Vec<String>) {
        self.each(STARTING, ids, |id| async move {
            self.docker.start_container(&id, None::<StartContainerOptions>).await
        });
    }

    fn remove_these(&self, ids: Vec<String>) {
        self.each(STOPPING, ids, |id| async move {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            self.docker.remove_container(&id, Some(options)).await
        });
    }

    fn create_network(&self) {
        let labels = [
            ("com.docker.compose.project", self.project.clone()),
            ("com.docker.compose.network", "default".to_owned()),
        ];
        let request = NetworkCreateRequest {
            name: self.network(),
            labels: Some(owned(labels)),
            ..NetworkCreateRequest::default()
        };
        let _network = self
            .runtime
            .block_on(self.docker.create_network(request))
            .expect("a network can be created");
    }

    fn network(&self) -> String {
        format!("{}_default", self.project)
    }

    async fn create(
        &self,
        number: usize,
        suffix: &str,
        image: &str,
    ) -> Result<String, bollard::errors::Error> {
        let labels = [
            ("com.docker.compose.project", self.project.clone()),
            ("com.docker.compose.service", SERVICE.to_owned()),
            ("com.docker.compose.container-number", number.to_string()),
            ("com.docker.compose.oneoff", "False".to_owned()),
            ("rollback-test", "bench".to_owned()),
        ];
        let endpoints = HashMap::from([(self.network(), EndpointSettings::default())]);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            labels: Some(owned(labels)),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            host_config: Some(HostConfig {
                network_mode: Some(self.network()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
            ..ContainerCreateBody::default()
        };
        let name = format!("{}_{SERVICE}_{number}{suffix}", self.project);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        Ok(self.docker.create_container(Some(options), body).await?.id)
    }

    fn containers(&self) -> Vec<ContainerSummary> {
        let filters = HashMap::from([(
            "label".to_owned(),
            vec![format!("com.docker.compose.project={}", self.project)],
        )]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.runtime
            .block_on(self.docker.list_containers(Some(options)))
            .expect("the engine lists containers")
    }

    fn ids(&self) -> Vec<String> {
        ids(&self.containers())
    }

    /// Makes a call for each, with so many callers.
    fn each<T, R, F>(&self, callers: usize, over: Vec<T>, call: impl Fn(T) -> F) -> Vec<R>
    where
        F: Future<Output = Result<R, bollard::errors::Error>>,
    {
        let calls =
            futures_util::stream::iter(over.into_iter().map(call)).buffer_unordered(callers);
        self.runtime.block_on(calls.try_collect()).expect("the engine does what it is told")
    }
}

/// What is added to the name of a container that takes another's place.
const NEW: &str = "_new";

impl Drop for Fleet {
    fn drop(&mut self) {
        self.remove_these(self.ids());
        let removed = self.runtime.block_on(self.docker.remove_network(&self.network()));
        if let Err(error) = removed {
            eprintln!("bench: the network {} is left behind: {error}", self.network());
        }
    }
}

fn ids(containers: &[ContainerSummary]) -> Vec<String> {
    containers.iter().filter_map(|container| container.id.clone()).collect()
}

fn owned<const N: usize>(labels: [(&str, String); N]) -> HashMap<String, String> {
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
