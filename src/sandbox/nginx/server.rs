//! The running nginx: listeners, the process id file, the error log, and the reload on SIGHUP.
//!
//! As in nginx, a reload first opens the new addresses and then swaps; when one cannot be bound, the former
//! configuration stays and only the error log says so. Connections from before a reload are answered by the former
//! configuration and then closed.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::lexer::os_text;
use super::proxy::{Live, page};
use crate::clock;
use crate::sandbox::SandboxError;
use crate::sandbox::faults::{Double, Faults};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::store;
use crate::sandbox::wire::{Door, Front, open_tcp_with};

/// How often nginx tries to bind an address, and how long it waits in between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// What a server starts with.
#[derive(Debug)]
pub struct Start {
    /// The main configuration file.
    pub file: PathBuf,
    /// Where relative paths of logs start.
    pub prefix: PathBuf,
    /// The faults of its world.
    pub faults: Faults,
    /// Where reloads that took effect are counted.
    pub ledger: Ledger,
    /// How many times as fast as a real nginx it gives up binding.
    pub speed: f64,
    /// Sockets that are already bound, as nginx inherits them on an upgrade.
    pub inherited: Vec<TcpListener>,
}

/// The running nginx; dropping it closes everything.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    prefix: PathBuf,
    faults: Faults,
    ledger: Ledger,
    speed: f64,
    current: Mutex<Current>,
    reloading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Current {
    live: Arc<Live>,
    drain: CancellationToken,
    doors: HashMap<SocketAddr, Door>,
}

impl Server {
    /// Loads the configuration, listens, writes the process id, and reloads on SIGHUP from then on.
    pub async fn start(start: Start) -> Result<Self, SandboxError> {
        let config = Config::load(&start.file, &start.prefix)
            .map_err(|error| SandboxError::LoadBalancer(error.to_string()))?;
        let pid = config.pid.clone();
        let mut inherited = HashMap::new();
        for listener in start.inherited {
            let address = listener
                .local_addr()
                .map_err(|error| SandboxError::LoadBalancer(error.to_string()))?;
            inherited.insert(address, listener);
        }
        let shared = Arc::new(Shared {
            file: start.file,
            prefix: start.prefix,
            faults: start.faults,
            ledger: start.ledger,
            speed: start.speed,
            current: Mutex::new(Current {
                live: Arc::new(Live::new(Config::default())),
                drain: CancellationToken::new(),
                doors: HashMap::new(),
            }),
            reloading: tokio::sync::Mutex::new(()),
        });
        shared.clone().apply(config, inherited).await.map_err(SandboxError::LoadBalancer)?;
        store::replace(&pid, format!("{}\n", std::process::id()).as_bytes())?;
        let server = Self { shared, stop: CancellationToken::new() };
        server.reload_on_signal()?;
        Ok(server)
    }

    fn reload_on_signal(&self) -> Result<(), SandboxError> {
        let mut hangups = signal(SignalKind::hangup())
            .map_err(|error| SandboxError::LoadBalancer(error.to_string()))?;
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        tokio::spawn(async move {
            while let Some(Some(())) = stop.run_until_cancelled(hangups.recv()).await {
                shared.clone().reload().await;
            }
        });
        Ok(())
    }

    /// Reloads the configuration, as SIGHUP does.
    pub async fn reload(&self) {
        self.shared.clone().reload().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        let mut current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.doors.clear();
        current.drain.cancel();
    }
}

impl Shared {
    async fn reload(self: Arc<Self>) {
        let _one_at_a_time = self.reloading.lock().await;
        let log = self.current().live.config.error_log.clone();
        let config = match Config::load(&self.file, &self.prefix) {
            Ok(config) => config,
            Err(error) => return write_log(log.as_deref(), &error.to_string()),
        };
        let changed = self.current().live.config != config;
        match self.clone().apply(config, HashMap::new()).await {
            Err(text) => write_log(log.as_deref(), &text),
            Ok(()) if changed => self.ledger.record("loadbalancer reload"),
            Ok(()) => {}
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what is new, swaps the configuration, and closes what it no longer has.
    async fn apply(
        self: Arc<Self>,
        config: Config,
        mut inherited: HashMap<SocketAddr, TcpListener>,
    ) -> Result<(), String> {
        let addresses = config.addresses();
        let missing: Vec<SocketAddr> = {
            let current = self.current();
            addresses
                .iter()
                .filter(|address| !current.doors.contains_key(address))
                .copied()
                .collect()
        };
        let log = config.error_log.clone();
        let mut opened = Vec::new();
        for address in missing {
            let listener = match inherited.remove(&address) {
                Some(listener) => listener,
                None => self.bind(address, log.as_deref()).await?,
            };
            opened.push((address, listener));
        }
        let mut current = self.current();
        let former = std::mem::replace(&mut current.drain, CancellationToken::new());
        current.live = Arc::new(Live::new(config));
        current.doors.retain(|address, _| addresses.contains(address));
        for (address, listener) in opened {
            let door = self.clone().open(address, listener);
            current.doors.insert(address, door);
        }
        drop(current);
        former.cancel();
        Ok(())
    }

    async fn bind(&self, address: SocketAddr, log: Option<&Path>) -> Result<TcpListener, String> {
        for _ in 0..TRIES {
            match TcpListener::bind(address).await {
                Ok(listener) => return Ok(listener),
                Err(error) => {
                    write_log(log, &format!("bind() to {address} failed ({})", os_text(&error)));
                    if error.kind() != std::io::ErrorKind::AddrInUse {
                        break;
                    }
                }
            }
            tokio::time::sleep(PAUSE.div_f64(self.speed)).await;
        }
        Err("still could not bind()".to_owned())
    }

    fn open(self: Arc<Self>, address: SocketAddr, listener: TcpListener) -> Door {
        open_tcp_with(listener, move || {
            let current = self.current();
            let live = current.live.clone();
            let front = Front {
                double: Double::LoadBalancer,
                faults: self.faults.clone(),
                handler: Arc::new(move |request| {
                    let live = live.clone();
                    Box::pin(live.answer(address, request))
                }),
                refuse: page,
            };
            (front, current.drain.clone())
        })
    }
}

/// Appends a line to the error log, as `[emerg]`.
fn write_log(log: Option<&Path>, text: &str) {
    let Some(log) = log else {
        tracing::error!("nginx: [emerg] {text}");
        return;
    };
    let pid = std::process::id();
    let line =
        format!("{} [emerg] {pid}#{pid}: {text}\n", clock::now().strftime("%Y/%m/%d %H:%M:%S"));
    let written = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        tracing::error!(path = %log.display(), %error, "failed to write nginx's error log: {text}");
    }
}
