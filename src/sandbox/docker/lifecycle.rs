//! Start, stop, kill and restart, with the engine's own semantics.
//!
//! Each runs in a task of its own: a client that goes away does not cancel it (moby's `context.WithoutCancel`). A stop
//! signals, waits, and kills after its time; it returns when the engine has taken the container down, while the process
//! is gone earlier.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::watch;

use super::engine::{Engine, EngineError};
use super::model::{Container, Health, NEVER, Status};
use crate::clock;

/// Between the start of a container and the first passing health check.
const START_PERIOD: Duration = Duration::from_millis(1500);

/// Seconds that a stop waits before it kills, when neither request nor container say.
const STOP_TIMEOUT: i64 = 10;

/// How far the end of a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// The process is there.
    Alive,
    /// A signal that ends it is on its way.
    Ending,
    /// The process is gone.
    Gone,
    /// The engine reports the end.
    Ended,
}

/// Whether a request changed anything: 204 or 304.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// The container was already there.
    NotModified,
}

impl Engine {
    /// Starts a container; one that runs is left alone.
    pub async fn start(self: &Arc<Self>, reference: &str) -> Result<Changed, EngineError> {
        let container = self.find(reference)?;
        if container.is_running() {
            return Ok(Changed::NotModified);
        }
        let engine = self.clone();
        detached(async move { engine.run(&container).await }).await?;
        Ok(Changed::Yes)
    }

    /// Stops a container: signal, then SIGKILL after `timeout` seconds (never when negative).
    pub async fn stop(
        self: &Arc<Self>,
        reference: &str,
        timeout: Option<i64>,
    ) -> Result<Changed, EngineError> {
        let container = self.find(reference)?;
        if !container.is_running() {
            return Ok(Changed::NotModified);
        }
        self.ledger.record(&format!("stop {}", container.key()));
        let engine = self.clone();
        detached(async move { engine.end(&container, timeout).await }).await?;
        Ok(Changed::Yes)
    }

    /// Sends a signal. Returns when the process is gone, if the signal ends it; the engine reports the end later.
    pub async fn kill(self: &Arc<Self>, reference: &str, signal: &str) -> Result<(), EngineError> {
        let container = self.find(reference)?;
        let signal = Signal::parse(signal)?;
        if !container.is_running() {
            return Err(EngineError::conflict(format!(
                "Cannot kill container: {reference}: Container {} is not running",
                container.id
            )));
        }
        self.ledger.record(&format!("kill {}", container.key()));
        let engine = self.clone();
        detached(async move {
            let life = engine.life(&container.id);
            match signal {
                Signal::Kill => engine.begin_end(&life, &container.id, 137),
                Signal::Terminate if !container.config.behaves("ignores-sigterm") => {
                    engine.begin_end(&life, &container.id, 143);
                }
                Signal::Terminate | Signal::Other => return Ok(()),
            }
            reached(&life, Life::Gone).await;
            Ok(())
        })
        .await
    }

    /// Stops and starts a container.
    pub async fn restart(
        self: &Arc<Self>,
        reference: &str,
        timeout: Option<i64>,
    ) -> Result<(), EngineError> {
        let container = self.find(reference)?;
        self.ledger.record(&format!("restart {}", container.key()));
        let engine = self.clone();
        detached(async move {
            if container.is_running() {
                engine.end(&container, timeout).await?;
            }
            engine.run(&container).await
        })
        .await
    }

    async fn run(self: &Arc<Self>, container: &Container) -> Result<(), EngineError> {
        self.start.pass().await;
        let id = container.id.clone();
        let life = self.life(&id);
        let changed = self.update(&id, |container| {
            if container.is_running() {
                return Ok(false);
            }
            let state = &mut container.state;
            state.status = Status::Running;
            state.process = true;
            state.exit_code = 0;
            state.started_at = clock::now().to_string();
            NEVER.clone_into(&mut state.finished_at);
            state.health = container.config.has_healthcheck().then_some(Health::Starting);
            life.send_replace(Life::Alive);
            Ok(true)
        })?;
        if !changed {
            return Ok(());
        }
        self.ledger.record(&format!("start {}", container.key()));
        let fails = container.config.cmd.as_ref().is_some_and(|cmd| cmd.as_slice() == ["false"]);
        if fails || container.config.behaves("exits-at-start") {
            self.begin_end(&life, &id, 1);
        } else if container.config.has_healthcheck() {
            self.clone().watch_health(id);
        }
        Ok(())
    }

    async fn end(
        self: &Arc<Self>,
        container: &Container,
        timeout: Option<i64>,
    ) -> Result<(), EngineError> {
        let timeout = timeout.or(container.config.stop_timeout).unwrap_or(STOP_TIMEOUT);
        let life = self.life(&container.id);
        if container.config.behaves("ignores-sigterm") {
            let gone = reached(&life, Life::Gone);
            match u64::try_from(timeout) {
                Err(_) => gone.await,
                Ok(seconds) => {
                    let limit = Duration::from_secs(seconds).div_f64(self.speed);
                    if tokio::time::timeout(limit, gone).await.is_err() {
                        self.begin_end(&life, &container.id, 137);
                    }
                }
            }
        } else {
            self.begin_end(&life, &container.id, 0);
        }
        reached(&life, Life::Ended).await;
        Ok(())
    }

    /// Ends a container at once and waits until the engine reports it.
    pub(super) async fn end_now(self: &Arc<Self>, id: &str) {
        let life = self.life(id);
        self.begin_end(&life, id, 137);
        reached(&life, Life::Ended).await;
    }

    /// Lets the process end, once: the first signal decides about the exit code.
    fn begin_end(self: &Arc<Self>, life: &watch::Sender<Life>, id: &str, code: i64) {
        let first = life.send_if_modified(|life| {
            let first = *life == Life::Alive;
            if first {
                *life = Life::Ending;
            }
            first
        });
        if !first {
            return;
        }
        let (engine, life, id) = (self.clone(), life.clone(), id.to_owned());
        tokio::spawn(async move {
            engine.exit.pass().await;
            engine.note(&id, |container| container.state.process = false);
            life.send_replace(Life::Gone);
            engine.teardown.pass().await;
            engine.note(&id, |container| {
                let state = &mut container.state;
                state.status = Status::Exited;
                state.exit_code = code;
                state.finished_at = clock::now().to_string();
                state.health = state.health.map(|_| Health::Unhealthy);
                // Within the change, so that a start that follows at once finds this life over.
                life.send_replace(Life::Ended);
            });
            // A container that was removed meanwhile was not changed; whoever waits is still told.
            life.send_if_modified(|life| {
                let removed = *life == Life::Gone;
                if removed {
                    *life = Life::Ended;
                }
                removed
            });
        });
    }

    /// Lets a container become healthy after its start period, unless it was started anew since.
    pub(super) fn watch_health(self: Arc<Self>, id: String) {
        tokio::spawn(async move {
            let Ok(started) = self.find(&id) else { return };
            tokio::time::sleep(START_PERIOD.div_f64(self.speed)).await;
            let health = match started.config.behaves("never-healthy") {
                true => Health::Unhealthy,
                false => Health::Healthy,
            };
            self.note(&id, |container| {
                let same = container.state.started_at == started.state.started_at;
                if same && container.state.process {
                    container.state.health = Some(health);
                }
            });
        });
    }

    /// Changes a container on behalf of nobody who could be told about a failure; one that was removed is fine.
    fn note(&self, id: &str, change: impl FnOnce(&mut Container)) {
        let noted = self.update(id, |container| {
            change(container);
            Ok(())
        });
        match noted {
            Err(error) if error.status != StatusCode::NOT_FOUND => {
                tracing::error!(container = id, %error, "failed to keep the state of a container");
            }
            _ => {}
        }
    }

    fn life(&self, id: &str) -> watch::Sender<Life> {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.entry(id.to_owned()).or_insert_with(|| watch::Sender::new(Life::Alive)).clone()
    }
}

/// Waits for a stage of a life.
async fn reached(life: &watch::Sender<Life>, stage: Life) {
    // Waiting fails only without a sender, and `life` is one.
    drop(life.subscribe().wait_for(|life| *life >= stage).await);
}

/// Runs `work` to its end even when whoever asked for it has gone.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        Err(EngineError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    })
}

enum Signal {
    Terminate,
    Kill,
    Other,
}

impl Signal {
    /// A name with or without `SIG`, or a number; those that end a container and those that do not.
    fn parse(text: &str) -> Result<Self, EngineError> {
        let name = text.to_ascii_uppercase();
        match name.strip_prefix("SIG").unwrap_or(&name) {
            "" | "KILL" | "9" => Ok(Self::Kill),
            "TERM" | "15" | "INT" | "2" | "QUIT" | "3" => Ok(Self::Terminate),
            "HUP" | "1" | "USR1" | "10" | "USR2" | "12" | "WINCH" | "28" => Ok(Self::Other),
            _ => Err(EngineError::bad_request(format!("Invalid signal: {text}"))),
        }
    }
}
