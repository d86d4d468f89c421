//! Opening a world, and putting it back to its first state.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::addresses::{Sockets, address, sockets_folder};
use super::info::WorldInfo;
use super::messengers::Messengers;
use super::{account, cluster, files, keys, knowledge, metrics, names, seed};
use crate::sandbox::chat::Chat;
use crate::sandbox::digitalocean::Account;
use crate::sandbox::dns::NameServers;
use crate::sandbox::docker::{Engine, Setup, routes};
use crate::sandbox::faults::{Double, Fault, Faults};
use crate::sandbox::kubernetes::Cluster;
use crate::sandbox::ledger::Ledger;
use crate::sandbox::orchestrator::Generation;
use crate::sandbox::postgres::{Choice, Database, DatabaseStatus, Place};
use crate::sandbox::prometheus::Prometheus;
use crate::sandbox::redis::Redis;
use crate::sandbox::services::{self, Colour};
use crate::sandbox::texts::ACCOUNT;
use crate::sandbox::wire::{Door, Front, open_tcp, open_unix, plain_refusal, routed};
use crate::sandbox::{SandboxError, control, nginx, orchestrator, store};

/// What a world starts with.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many agents each colour has; of effect when a world is made, not when it is opened again.
    pub agents: usize,
    /// How many times as fast as real systems the doubles work.
    pub speed: f64,
    /// Faults from the start.
    pub faults: Vec<Fault>,
    /// The program whose `sandbox nginx` is the load balancer's command line; this one without it.
    pub program: Option<PathBuf>,
    /// Which PostgreSQL it gets.
    pub postgres: Choice,
}

impl Default for Options {
    fn default() -> Self {
        Self { agents: 131, speed: 1.0, faults: Vec::new(), program: None, postgres: Choice::None }
    }
}

/// A world that runs in this process. Dropping it closes it in its own time, [`close`](Self::close) waits for
/// that; its state is kept either way.
#[derive(Debug)]
pub struct World {
    inhabitants: Arc<Inhabitants>,
    doors: Vec<Door>,
}

impl Deref for World {
    type Target = Inhabitants;

    fn deref(&self) -> &Inhabitants {
        &self.inhabitants
    }
}

/// Those who live in a world.
#[derive(Debug)]
pub struct Inhabitants {
    info: WorldInfo,
    engine: Arc<Engine>,
    balancer: nginx::Server,
    chat: Chat,
    messengers: Messengers,
    redis: Redis,
    prometheus: Prometheus,
    cluster: Cluster,
    account: Account,
    names: NameServers,
    faults: Faults,
    ledger: Ledger,
    /// None with the reason.
    database: Result<Arc<Database>, String>,
    end: CancellationToken,
}

impl World {
    /// Opens the world in `dir`, or makes one there in the state "deployed-green".
    pub async fn start(dir: &Path, options: Options) -> Result<Self, SandboxError> {
        store::folder(dir)?;
        let dir = dir.canonicalize().map_err(SandboxError::file("find", dir))?;
        let known = WorldInfo::path(&dir).exists();
        let former = if known { Some(WorldInfo::read(&dir)?) } else { None };
        let sockets = Sockets::bind(former.as_ref()).await?;
        let mut info = describe(&dir, &sockets, former.as_ref(), &options)?;
        let folder = sockets_folder(&dir)?;
        let database = Database::find(
            &options.postgres,
            &Place { dir: &dir, sockets: &folder, agents: info.agents },
        );
        match &database {
            Ok(_) => info.postgres = Some(folder),
            // Who wanted none knows it.
            Err(_) if options.postgres == Choice::None => {}
            Err(why) => info.lacks.push(why.clone()),
        }
        // It takes longest, and nothing here waits for it.
        let database_door = match &database {
            Ok(database) => Some(database.open(former.is_none())?),
            Err(_) => None,
        };
        let ledger = Ledger::open(&dir.join("effects.log"))?;
        let setup = Setup { dir: dir.join("docker"), speed: options.speed, ledger: ledger.clone() };
        let engine = Engine::open(setup)?;
        match &former {
            None => {
                seed::engine(&engine, info.agents)?;
                files::seed(&info)?;
            }
            Some(former) => files::readdress(former, &info)?,
        }
        if !info.knowledge.exists() {
            knowledge::seed(&info)?;
        }
        let faults = Faults::default();
        for fault in options.faults {
            faults.add(fault);
        }
        let chat = Chat::open(&dir.join("chat.json"), ledger.clone())?;
        let messengers = Messengers::open(&dir, &info, &ledger, &faults)?;
        let redis = cache(&dir, &info, &ledger, &faults)?;
        let prometheus = measured(&dir)?;
        let cluster = cluster::open(&dir, &ledger, options.speed)?;
        let account = account::open(&dir, &ledger, options.speed)?;
        let names = names::open(&dir, &info, &ledger, &faults)?;
        let Sockets {
            load_balancer,
            proof,
            discovery_proof,
            blue,
            green,
            chat: hook,
            redis: port,
            prometheus: measuring,
            kubernetes,
            digitalocean,
            embeddings,
            supabase,
            messengers: carrying,
            orchestrators: answering,
            names: naming,
            control,
        } = sockets;
        let balancer = nginx::Server::start(nginx::Start {
            file: info.nginx_conf.clone(),
            prefix: info.root.join("etc/nginx"),
            faults: faults.clone(),
            ledger: ledger.clone(),
            speed: options.speed,
            inherited: vec![
                load_balancer,
                proof,
                discovery_proof,
                answering.front,
                answering.proof,
            ],
        })
        .await?;
        let front = |double, handler| Front {
            faults: Some((double, faults.clone())),
            handler,
            refuse: plain_refusal,
        };
        let colour = |colour: Colour| {
            front(colour.double(), routed(services::router(engine.clone(), colour)))
        };
        let webhook = info.chat.split_once("/services").map_or("", |(_, path)| path);
        let webhook = chat.router(&format!("/services{webhook}"));
        let docker = Front {
            refuse: routes::refuse,
            ..front(Double::Docker, routes::handler(engine.clone()))
        };
        let socket = info.docker.strip_prefix("unix://").unwrap_or(&info.docker);
        let mut doors = vec![
            open_unix(Path::new(socket), docker)?,
            open_tcp(blue, colour(Colour::Blue)),
            open_tcp(green, colour(Colour::Green)),
            open_tcp(hook, front(Double::Chat, routed(webhook))),
            redis.serve(port),
            open_tcp(measuring, prometheus.front(Some(faults.clone()))),
            open_tcp(kubernetes, cluster.front(Some(faults.clone()))),
            open_tcp(digitalocean, account.front(Some(faults.clone()))),
        ];
        let specialists: Arc<dyn orchestrator::Specialists> =
            Arc::new(account::Behind(account.clone()));
        for (listener, generation) in
            [(answering.old, Generation::Old), (answering.new, Generation::New)]
        {
            let service = orchestrator::router(generation, specialists.clone());
            doors.push(open_tcp(listener, front(generation.double(), routed(service))));
        }
        doors.extend(messengers.serve(carrying, &info, &faults));
        doors.extend(names.serve(naming));
        doors.extend(knowledge::serve((embeddings, supabase), &info, &faults));
        doors.extend(database_door);
        store::replace(&info.key_file, info.key.as_bytes())?;
        store::write_json(&WorldInfo::path(&dir), &info)?;
        let end = CancellationToken::new();
        let inhabitants = Arc::new(Inhabitants {
            info,
            engine,
            balancer,
            chat,
            messengers,
            redis,
            prometheus,
            cluster,
            account,
            names,
            faults,
            ledger,
            database,
            end,
        });
        let handler = control::handler(inhabitants.clone());
        doors.push(open_tcp(control, Front { faults: None, handler, refuse: plain_refusal }));
        Ok(Self { inhabitants, doors })
    }

    /// Closes the world and waits until its addresses are free.
    pub async fn close(self) {
        for door in self.doors {
            door.close().await;
        }
        self.inhabitants.balancer.close().await;
        if let Ok(database) = &self.inhabitants.database
            && let Err(error) = database.close().await
        {
            tracing::error!(%error, "failed to end PostgreSQL");
        }
    }
}

impl Inhabitants {
    /// Where everything is.
    pub fn info(&self) -> &WorldInfo {
        &self.info
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The chat.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// The messengers beside the chat.
    pub fn messengers(&self) -> &Messengers {
        &self.messengers
    }

    /// The cache.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The metrics.
    pub fn prometheus(&self) -> &Prometheus {
        &self.prometheus
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The DigitalOcean account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The name servers.
    pub fn names(&self) -> &NameServers {
        &self.names
    }

    /// The faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The ledger of effects.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The database, as it looks from here.
    pub(super) async fn database(&self) -> DatabaseStatus {
        match &self.database {
            Ok(database) => database.status().await,
            Err(why) => DatabaseStatus::missing(why),
        }
    }

    /// Asks whoever runs this world to close it.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Waits until somebody asked for the [`end`](Self::end).
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Puts everything back to "deployed-green" and forgets messages, faults and effects.
    pub async fn reset(&self) -> Result<(), SandboxError> {
        self.faults.clear(None);
        seed::engine(&self.engine, self.info.agents)?;
        let pid = self.info.root.join("run/nginx.pid");
        files::seed(&self.info)?;
        knowledge::seed(&self.info)?;
        store::replace(&pid, format!("{}\n", std::process::id()).as_bytes())?;
        self.balancer.reload().await;
        self.chat.clear()?;
        self.messengers.clear()?;
        self.redis.seed(keys::seeded(self.info.agents))?;
        self.prometheus.seed(metrics::SEEDED)?;
        self.cluster.seed(&cluster::seeded())?;
        self.account.seed(account::seeded())?;
        self.names.seed(&names::seeded()?)?;
        if let Ok(database) = &self.database {
            database.reset().await?;
        }
        self.ledger.clear()
    }
}

/// The world's Redis, with its first keys when it has no file yet.
fn cache(
    dir: &Path,
    info: &WorldInfo,
    ledger: &Ledger,
    faults: &Faults,
) -> Result<Redis, SandboxError> {
    let path = dir.join("redis.resp");
    let known = path.exists();
    let redis = Redis::open(&path, ledger.clone(), Some(faults.clone()))?;
    if !known {
        redis.seed(keys::seeded(info.agents))?;
    }
    Ok(redis)
}

/// The world's metrics, as they are at first when there is no file yet.
fn measured(dir: &Path) -> Result<Prometheus, SandboxError> {
    let path = dir.join("metrics.prom");
    let known = path.exists();
    let prometheus = Prometheus::open(&path, metrics::rules())?;
    if !known {
        prometheus.seed(metrics::SEEDED)?;
    }
    Ok(prometheus)
}

fn describe(
    dir: &Path,
    sockets: &Sockets,
    former: Option<&WorldInfo>,
    options: &Options,
) -> Result<WorldInfo, SandboxError> {
    let root = dir.join("root");
    let url = |listener| address(listener).map(|address| format!("http://{address}"));
    let secret = former.and_then(|former| former.chat.rsplit('/').next().map(str::to_owned));
    let secret = secret.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    let naming = sockets.names.addresses()?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(SandboxError::file("find", Path::new("self")))?,
    };
    Ok(WorldInfo {
        docker: format!("unix://{}", sockets_folder(dir)?.join("docker.sock").display()),
        load_balancer: url(&sockets.load_balancer)?,
        proof: address(&sockets.proof)?,
        discovery_proof: address(&sockets.discovery_proof)?,
        blue: address(&sockets.blue)?,
        green: address(&sockets.green)?,
        chat: format!("{}/services/T000SANDBOX/B000SANDBOX/{secret}", url(&sockets.chat)?),
        redis: format!("redis://{}", address(&sockets.redis)?),
        prometheus: url(&sockets.prometheus)?,
        kubernetes: url(&sockets.kubernetes)?,
        kubernetes_token: cluster::token_file(dir),
        digitalocean: url(&sockets.digitalocean)?,
        digitalocean_token: account::token_file(dir),
        pager: url(&sockets.messengers.pager)?,
        sms: url(&sockets.messengers.sms)?,
        sms_account: ACCOUNT.to_owned(),
        mail: address(&sockets.messengers.mail)?,
        tracker: format!("{}/hooks/{secret}", url(&sockets.messengers.tracker)?),
        dns: naming.primary.to_string(),
        dns_secondary: naming.secondary.to_string(),
        dns_resolver: naming.resolver.to_string(),
        dns_key_file: names::key_file(dir),
        embeddings: format!("{}/v1", url(&sockets.embeddings)?),
        supabase: format!("{}/rest/v1", url(&sockets.supabase)?),
        knowledge: knowledge::folder(dir),
        key_file: dir.join("key"),
        key: secret.clone(),
        orchestrator: sockets.orchestrators.url()?,
        orchestrator_old: address(&sockets.orchestrators.old)?,
        orchestrator_front: address(&sockets.orchestrators.front)?,
        orchestrator_new: address(&sockets.orchestrators.new)?,
        orchestrator_proof: address(&sockets.orchestrators.proof)?,
        control: url(&sockets.control)?,
        postgres: None,
        lacks: Vec::new(),
        nginx_conf: root.join("etc/nginx/nginx.conf"),
        root,
        program,
        pid: std::process::id(),
        agents: former.map_or(options.agents, |former| former.agents),
    })
}
