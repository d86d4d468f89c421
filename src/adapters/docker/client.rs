//! The protocol: calls to the Docker Engine API, each bound to the step's deadline and cancellation.
//!
//! Works with every engine from API 1.25 on; tried with 1.41 (Docker 20.10). See <https://docs.docker.com/reference/api/engine/>.
//! The client library's own time-out is set out of the way, since it counts whole seconds and knows nothing of the step;
//! it never retries.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerUpdateBody, EndpointSettings, ImageInspect,
    NetworkConnectRequest, RestartPolicy,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::DockerConnection;
use super::container::Container;
use super::endpoint::{self, Endpoint};
use super::errors::{self, Intent};
use super::transport;
use crate::action::{ActionError, Connections, ErrorKind, Gathering, StepContext};
use crate::adapters::http::Progress;
use crate::secret;

/// The library's time-out per request, in seconds: longer than any step.
const NEVER: u64 = 7 * 24 * 3600;

/// The most lines of one container's log: what is written in a loop must not fill an answer.
const MOST_LINES: &str = "5000";

/// The time for one look: an engine that hangs over one container must not take the whole time of a step that could ask again.
const LOOK: Duration = Duration::from_secs(10);

/// The time for the question whether the engine answers; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);

/// When a call must have ended.
#[derive(Clone)]
pub(super) struct Limits {
    deadline: Instant,
    cancel: CancellationToken,
}

impl Limits {
    /// For looks while a step is resolved.
    pub(super) fn resolving() -> Self {
        Self::lasting(LOOK)
    }

    fn lasting(time: Duration) -> Self {
        Self::ending(Instant::now() + time)
    }

    /// Until an instant.
    pub(super) fn ending(deadline: Instant) -> Self {
        Self { deadline, cancel: CancellationToken::new() }
    }

    /// The same limits with an earlier end.
    pub(super) fn until(&self, deadline: Instant) -> Self {
        Self { deadline: self.deadline.min(deadline), cancel: self.cancel.clone() }
    }

    /// The instant at which calls end.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether nothing more may be done.
    pub(super) fn over(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.deadline
    }

    /// Waits a little between two looks; an error when time is up or the run is told to stop.
    pub(super) async fn pause(&self, time: Duration, doing: &str) -> Result<(), ActionError> {
        self.bound(Intent::Read, doing, async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// The error of a call that the limits have ended before anything was sent.
    fn before_sending(&self, doing: &str) -> ActionError {
        if self.cancel.is_cancelled() { errors::cancelled(doing) } else { errors::late(doing) }
    }

    /// The limits of one look, where it will be asked again within these.
    pub(super) fn for_one_look(&self) -> Self {
        self.until(Instant::now() + LOOK)
    }

    /// Runs a future within the limits. What a change left behind when it is cut off is unknown.
    async fn bound<T>(
        &self,
        intent: Intent,
        doing: &str,
        call: impl Future<Output = Result<T, ActionError>>,
    ) -> Result<T, ActionError> {
        if self.cancel.is_cancelled() {
            return Err(errors::cancelled(doing));
        }
        if Instant::now() >= self.deadline {
            return Err(errors::late(doing));
        }
        tokio::select! {
            outcome = call => outcome,
            () = self.cancel.cancelled() => Err(match intent {
                Intent::Read => errors::cancelled(doing),
                Intent::Change => errors::unknown(doing),
            }),
            () = tokio::time::sleep_until(self.deadline) => Err(match intent {
                Intent::Read => errors::late(doing),
                Intent::Change => errors::unknown(doing),
            }),
        }
    }
}

impl From<&StepContext> for Limits {
    fn from(cx: &StepContext) -> Self {
        Self { deadline: cx.deadline(), cancel: cx.cancelled().clone() }
    }
}

/// A Docker Engine.
pub(super) struct Engine {
    docker: Docker,
    /// The address as people may see it.
    at: String,
}

/// Asks the engine for its version: `docker 20.10.24 (API 1.41) at unix:///var/run/docker.sock`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let engine = Engine::of(connections)?;
    let limits = Limits::lasting(REACHING);
    let version = engine
        .call(&limits, Intent::Read, "ask docker for its version", engine.docker.version())
        .await?;
    let known = |text: Option<String>| text.unwrap_or_else(|| "of unknown version".to_owned());
    Ok(format!(
        "docker {} (API {}) at {}",
        known(version.version),
        known(version.api_version),
        engine.at
    ))
}

impl Engine {
    /// The engine of an environment.
    pub(super) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        connections.client::<DockerConnection, Self, _>(|mut settings, secrets| {
            use secrecy::ExposeSecret;
            let shown = settings.host.as_deref().map(secret::hide_markers);
            settings.host =
                settings.host.map(|host| secrets.reveal(&host).expose_secret().to_owned());
            let endpoint = endpoint::of_this_process(&settings)?;
            Self::connect(&endpoint, shown)
        })
    }

    /// Prepares a client; no byte is sent yet. `shown` is how people see an address that was configured.
    pub(super) fn connect(endpoint: &Endpoint, shown: Option<String>) -> Result<Self, ActionError> {
        let at = shown.unwrap_or_else(|| match endpoint {
            Endpoint::Unix(path) => format!("unix://{}", path.display()),
            Endpoint::Plain(address) | Endpoint::Tls(address, _) => format!("tcp://{address}"),
        });
        let docker = match endpoint {
            Endpoint::Unix(path) => transport::unix(path.clone(), NEVER),
            Endpoint::Plain(address) => transport::plain(address, NEVER),
            Endpoint::Tls(address, files) => {
                if rustls::crypto::CryptoProvider::get_default().is_none() {
                    // Whoever came first in the meantime has installed one, which is all that is needed.
                    drop(rustls::crypto::ring::default_provider().install_default());
                }
                transport::tls(address, files, NEVER)
            }
        };
        match docker {
            Ok(docker) => Ok(Self { docker, at }),
            Err(error @ Error::SocketNotFoundError(_)) => {
                Err(errors::translate(Intent::Read, "connect", &at, &error))
            }
            Err(error) => Err(ActionError::new(
                ErrorKind::Invalid,
                format!("prepare the connection to docker at {at}"),
            )
            .caused_by(&error)),
        }
    }

    /// The address as people may see it, for commands to type.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Boxed, since the library's futures hold whole requests and would add up in those that wait for them.
    fn call<'a, T: Send + 'a>(
        &'a self,
        limits: &'a Limits,
        intent: Intent,
        doing: &'a str,
        call: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, ActionError>> {
        let progress = Progress::default();
        let call = limits.bound(intent, doing, async move {
            call.await.map_err(|error| errors::translate(intent, doing, &self.at, &error))
        });
        Box::pin(async move {
            match progress.track(call).await {
                Err(error) if error.outcome_unknown() && !progress.may_be_sent() => {
                    Err(limits.before_sending(doing))
                }
                outcome => outcome,
            }
        })
    }

    /// All containers that carry every one of these labels (`key` or `key=value`), running or not.
    pub(super) async fn list(
        &self,
        limits: &Limits,
        labels: Vec<String>,
    ) -> Result<Vec<ContainerSummary>, ActionError> {
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let call = self.docker.list_containers(Some(options));
        self.call(limits, Intent::Read, "list containers", call).await
    }

    /// A container by name or id; `None` when there is none.
    pub(super) async fn find(
        &self,
        limits: &Limits,
        name: &str,
    ) -> Result<Option<Container>, ActionError> {
        let doing = format!("inspect container {name}");
        let call = self.docker.inspect_container(name, None::<InspectContainerOptions>);
        match self.call(limits, Intent::Read, &doing, call).await {
            Ok(found) => Container::read(found).map(Some),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a container has written in a span of time, standard output and error together, with the engine's times.
    pub(super) async fn logs(
        &self,
        limits: &Limits,
        name: &str,
        gathering: &Gathering,
    ) -> Result<Vec<u8>, ActionError> {
        let seconds = |time: Timestamp| i32::try_from(time.as_second()).unwrap_or(i32::MAX);
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .since(seconds(gathering.since))
            .until(seconds(gathering.until))
            .tail(MOST_LINES)
            .build();
        let lines = self.docker.logs(name, Some(options));
        let all = lines.try_fold(Vec::new(), async |mut all, line| {
            all.extend_from_slice(&line.into_bytes());
            Ok(all)
        });
        let doing = format!("read the log of container {name}");
        self.call(limits, Intent::Read, &doing, all).await
    }

    /// An image on this engine; `None` when it is not there.
    pub(super) async fn image(
        &self,
        limits: &Limits,
        reference: &str,
    ) -> Result<Option<ImageInspect>, ActionError> {
        let doing = format!("inspect image {reference}");
        match self.call(limits, Intent::Read, &doing, self.docker.inspect_image(reference)).await {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stops a container; `grace` in seconds before it is killed, the container's own when `None`.
    /// Stopping a stopped one succeeds.
    pub(super) async fn stop(
        &self,
        limits: &Limits,
        id: &str,
        name: &str,
        grace: Option<i32>,
    ) -> Result<(), ActionError> {
        let mut options = StopContainerOptionsBuilder::default();
        if let Some(seconds) = grace {
            options = options.t(seconds);
        }
        let call = self.docker.stop_container(id, Some(options.build()));
        self.call(limits, Intent::Change, &format!("stop container {name}"), call).await
    }

    /// Starts a container; starting a running one succeeds.
    pub(super) async fn start(
        &self,
        limits: &Limits,
        id: &str,
        name: &str,
    ) -> Result<(), ActionError> {
        let call = self.docker.start_container(id, None::<StartContainerOptions>);
        self.call(limits, Intent::Change, &format!("start container {name}"), call).await
    }

    /// Gives a container another name.
    pub(super) async fn rename(
        &self,
        limits: &Limits,
        id: &str,
        name: &str,
    ) -> Result<(), ActionError> {
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        let call = self.docker.rename_container(id, options);
        self.call(limits, Intent::Change, &format!("rename a container to {name}"), call).await
    }

    /// Sets when the engine restarts a container by itself.
    pub(super) async fn set_restart_policy(
        &self,
        limits: &Limits,
        id: &str,
        name: &str,
        policy: RestartPolicy,
    ) -> Result<(), ActionError> {
        let body =
            ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
        let doing = format!("set the restart policy of container {name}");
        self.call(limits, Intent::Change, &doing, self.docker.update_container(id, body)).await
    }

    /// Creates a container and returns its id.
    pub(super) async fn create(
        &self,
        limits: &Limits,
        name: &str,
        body: Box<ContainerCreateBody>,
    ) -> Result<String, ActionError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let call = self.docker.create_container(Some(options), *body);
        let doing = format!("create container {name}");
        Ok(self.call(limits, Intent::Change, &doing, call).await?.id)
    }

    /// Connects a container to one more network.
    pub(super) async fn join(
        &self,
        limits: &Limits,
        id: &str,
        network: &str,
        settings: EndpointSettings,
    ) -> Result<(), ActionError> {
        let request =
            NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(settings) };
        let doing = format!("connect a container to network {network}");
        let call = self.docker.connect_network(network, request);
        self.call(limits, Intent::Change, &doing, call).await
    }

    /// Kills and removes a container, and keeps its volumes. Removing an absent one succeeds.
    pub(super) async fn remove(
        &self,
        limits: &Limits,
        id: &str,
        name: &str,
    ) -> Result<(), ActionError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(false).build();
        let call = self.docker.remove_container(id, Some(options));
        match self.call(limits, Intent::Change, &format!("remove container {name}"), call).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_look_that_hangs_leaves_time_to_ask_again() {
        let engine = Engine::connect(&Endpoint::Plain("127.0.0.1:1".to_owned()), None)
            .expect("nothing is sent yet");
        let limits = Limits::lasting(3 * LOOK);
        let look = limits.for_one_look();
        let silence = std::future::pending::<Result<(), _>>();
        let error = engine.call(&look, Intent::Read, "inspect", silence).await;
        let error = error.expect_err("no answer comes");
        assert_eq!((error.kind, error.retryable), (ErrorKind::TimedOut, true));
        assert!(look.over() && !limits.over());
    }
}
