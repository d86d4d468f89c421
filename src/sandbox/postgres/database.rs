//! The PostgreSQL of one world, from its start in the background to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use super::choice::{Choice, Found};
use super::cluster::{self, Cluster};
use super::embedded::{self, Embedded};
use super::home::Home;
use super::{front, seed};
use crate::sandbox::SandboxError;
use crate::sandbox::wire::Door;

/// How long a look may take, also at a server that still starts.
const PATIENCE: Duration = Duration::from_secs(5);
/// Why a world that closes has no database any more.
const ENDING: &str = "the sandbox is ending";

/// How far the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It is being started.
    Starting,
    /// It answers.
    Ready,
    /// It will not answer, and why.
    Failed(String),
}

impl State {
    /// Waits until the server answers, or until it is clear why it never will.
    pub(super) async fn settled(state: &mut watch::Receiver<Self>) -> Result<(), String> {
        match state.wait_for(|state| *state != Self::Starting).await.as_deref() {
            Ok(Self::Failed(why)) => Err(why.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(ENDING.to_owned()),
        }
    }
}

/// The register of agents, from the world's own side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Which PostgreSQL it is, or what is missing.
    pub server: String,
    /// Registered agents by version and status: `1.0.0 active`.
    pub registered: BTreeMap<String, u64>,
    /// How many are not registered as they were before the deployment; none when nobody can tell.
    pub unlike_before: Option<u64>,
    /// What each agent knows: chunks, documents, models, and a hash of all that.
    #[serde(default)]
    pub knowledge: BTreeMap<String, String>,
}

/// A world's database. It starts in the background, and ends with [`close`](Self::close).
#[derive(Debug)]
pub struct Database {
    /// The folder of the socket that clients know.
    folder: PathBuf,
    /// The folder of the server's own socket.
    behind: PathBuf,
    source: Source,
    agents: usize,
    state: watch::Sender<State>,
    server: Mutex<Option<Server>>,
}

#[derive(Debug)]
enum Source {
    Installed(Cluster),
    Embedded(Embedded),
}

#[derive(Debug)]
enum Server {
    Installed(Box<cluster::Running>),
    Embedded(embedded::Running),
}

/// Where a world's database has its place.
pub(crate) struct Place<'a> {
    /// The world's folder.
    pub(crate) dir: &'a Path,
    /// Where clients look for the socket.
    pub(crate) sockets: &'a Path,
    /// How many agents are registered.
    pub(crate) agents: usize,
}

impl Database {
    /// Finds a PostgreSQL and prepares it; it does not run yet.
    ///
    /// # Errors
    /// A sentence that says what is missing and what can be done.
    pub(crate) fn find(choice: &Choice, place: &Place<'_>) -> Result<Arc<Self>, String> {
        let sockets = place.sockets.to_owned();
        let (source, behind) = match choice.find() {
            Found::Missing(why) => return Err(why),
            Found::Installed(programs) => {
                let home = Home::of(place.dir).map_err(|error| {
                    format!("failed to {error}, so steps that need PostgreSQL are skipped")
                })?;
                let behind = home.account.map_or(sockets.clone(), |_| home.folder.clone());
                let cluster = Cluster { programs, home, sockets: behind.clone() };
                (Source::Installed(cluster), behind)
            }
            Found::Embedded => {
                let root = place.dir.join("embedded-postgres");
                let socket = front::socket(&sockets, front::INNER_PORT);
                let embedded =
                    Embedded::at(root, socket).ok_or("this program carries no PostgreSQL")?;
                (Source::Embedded(embedded), sockets.clone())
            }
        };
        Ok(Arc::new(Self {
            folder: sockets,
            behind,
            source,
            agents: place.agents,
            state: watch::Sender::new(State::Starting),
            server: Mutex::new(None),
        }))
    }

    /// Opens the address and starts the server in the background; a `fresh` world takes over no data.
    pub(crate) fn open(self: &Arc<Self>, fresh: bool) -> Result<Door, SandboxError> {
        let door = front::open(&self.folder, &self.behind, self.state.subscribe())?;
        let this = self.clone();
        tokio::spawn(async move {
            let mut server = this.server.lock().await;
            this.bring_up(&mut server, fresh).await;
        });
        Ok(door)
    }

    async fn bring_up(&self, server: &mut Option<Server>, fresh: bool) {
        let state = match self.start(fresh).await {
            Ok(started) => {
                *server = Some(started);
                State::Ready
            }
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::error!(%error, "the sandbox has no PostgreSQL");
                State::Failed(format!("failed to {error}{cause}"))
            }
        };
        let _former = self.state.send_replace(state);
    }

    async fn start(&self, fresh: bool) -> Result<Server, SandboxError> {
        let server = match &self.source {
            Source::Installed(cluster) => {
                if fresh {
                    cluster.home.stop_orphan().await?;
                    cluster.home.forget()?;
                }
                Server::Installed(Box::new(cluster.start().await?))
            }
            Source::Embedded(embedded) => Server::Embedded(embedded.start(fresh).await?),
        };
        // A world that was killed while it made its database finds it without its tables.
        if seed::database(&self.behind).await? || seed::look(&self.behind).await.is_err() {
            seed::seed(&self.behind, self.agents).await?;
        }
        Ok(server)
    }

    /// What the register says.
    pub(crate) async fn status(&self) -> DatabaseStatus {
        let looked = async {
            State::settled(&mut self.state.subscribe()).await?;
            let looked = seed::look(&self.behind).await;
            looked.map_err(|error| format!("failed to {}", seed::failed("ask", &error)))
        };
        let looked = tokio::time::timeout(PATIENCE, looked).await;
        match looked.unwrap_or_else(|_| Err("it starts, or somebody keeps it busy".to_owned())) {
            Ok(seen) => DatabaseStatus {
                server: format!("PostgreSQL {}, {}", seen.version, self.source.name()),
                registered: seen.registered,
                unlike_before: Some(seen.unlike),
                knowledge: seen.knowledge,
            },
            Err(server) => DatabaseStatus::missing(&server),
        }
    }

    /// Puts the register back; a server that has ended is started again.
    pub(crate) async fn reset(&self) -> Result<(), SandboxError> {
        let mut server = self.server.lock().await;
        if seed::connect(&self.behind, seed::DATABASE).await.is_ok() {
            return seed::seed(&self.behind, self.agents).await;
        }
        if let Some(server) = server.take() {
            server.stop().await?;
        }
        self.bring_up(&mut server, true).await;
        let settled = State::settled(&mut self.state.subscribe()).await;
        settled.map_err(|why| SandboxError::Process(format!("start PostgreSQL again: {why}")))
    }

    /// Ends the server. Its data stay in the world's folder.
    pub(crate) async fn close(&self) -> Result<(), SandboxError> {
        let mut server = self.server.lock().await;
        let _former = self.state.send_replace(State::Failed(ENDING.to_owned()));
        if let Some(server) = server.take() {
            server.stop().await?;
        }
        match &self.source {
            Source::Installed(cluster) => cluster.home.leave(),
            Source::Embedded(_) => Ok(()),
        }
    }
}

impl DatabaseStatus {
    /// The status of a world without one, for this reason.
    pub(crate) fn missing(why: &str) -> Self {
        let (registered, knowledge) = (BTreeMap::new(), BTreeMap::new());
        Self { server: why.to_owned(), registered, unlike_before: None, knowledge }
    }
}

impl Server {
    async fn stop(self) -> Result<(), SandboxError> {
        match self {
            Self::Installed(running) => running.stop().await,
            Self::Embedded(running) => running.stop().await,
        }
    }
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Installed(cluster) => cluster.programs.display().to_string(),
            Self::Embedded(_) => "embedded".to_owned(),
        }
    }
}
