//! A cluster that runs: its state on disk, its controllers at work, and its API behind the faults of its world.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::access::Tokens;
use super::controllers::{self, Kubelet};
use super::failure::{self, Failure};
use super::fields::text;
use super::resources::{self, Resource};
use super::state::State;
use super::{api, change};
use crate::clock;
use crate::sandbox::faults::{Double, Faults};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::wire::Front;
use crate::sandbox::{SandboxError, store};

/// What a cluster starts with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The file of its state.
    pub path: PathBuf,
    /// Who comes in with which token.
    pub tokens: Tokens,
    /// How long its controllers need to see a change.
    pub pace: Duration,
    /// What makes pods ready; none when somebody does so over the API.
    pub kubelet: Option<Kubelet>,
    /// Where changes are counted.
    pub ledger: Ledger,
}

/// A cluster with its controllers, which end with it.
#[derive(Debug)]
pub struct Cluster {
    inner: Arc<Inner>,
    _controllers: AbortOnDropHandle<()>,
}

#[derive(Debug)]
pub(super) struct Inner {
    setup: Setup,
    state: Mutex<State>,
    changed: Notify,
}

impl Cluster {
    /// Opens the cluster with the state that its file holds.
    pub fn open(setup: Setup) -> Result<Self, SandboxError> {
        let known = setup.path.exists();
        let state = if known { store::read_json(&setup.path)? } else { State::default() };
        let inner = Arc::new(Inner { setup, state: Mutex::new(state), changed: Notify::new() });
        let working = inner.clone();
        let controllers = AbortOnDropHandle::new(tokio::spawn(async move { working.work().await }));
        Ok(Self { inner, _controllers: controllers })
    }

    /// The API behind the faults of its world.
    pub fn front(&self, faults: Option<Faults>) -> Front {
        let inner = self.inner.clone();
        Front {
            faults: faults.map(|faults| (Double::Kubernetes, faults)),
            handler: Arc::new(move |request| Box::pin(api::handle(inner.clone(), request))),
            refuse: failure::refuse,
        }
    }

    /// Replaces everything by these objects, applied one after the other: each is made, or changed when there is one with its name,
    /// and the controllers do all they can before the next.
    pub fn seed(&self, objects: &[Value]) -> Result<(), SandboxError> {
        let refused = |failure: Failure| SandboxError::Process(failure.message);
        let mut state = State::default();
        for object in objects {
            apply(&mut state, object).map_err(refused)?;
            controllers::settle(&mut state, self.inner.setup.kubelet.as_ref());
        }
        self.inner
            .change(false, None, |kept| {
                *kept = state;
                Ok(())
            })
            .map_err(refused)
    }

    /// The objects of a kind, such as `deployments.apps`, in all namespaces.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let resource = resources::ALL.into_iter().find(|resource| resource.qualified() == kind);
        let state = self.inner.state();
        resource
            .map(|resource| state.list(resource, None))
            .unwrap_or_default()
            .into_iter()
            .cloned()
            .collect()
    }
}

/// Makes an object, or changes the one with its name.
fn apply(state: &mut State, object: &Value) -> Result<(), Failure> {
    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let known = |resource: &&&Resource| resource.api_version() == version && resource.kind == kind;
    let resource = *resources::ALL.iter().find(known).ok_or_else(Failure::no_resource)?;
    let namespace = text(object, "/metadata/namespace");
    match state.get(resource, namespace, text(object, "/metadata/name")).cloned() {
        None => change::create(state, resource, namespace, object.clone())?,
        Some(old) => {
            let mut new = old.clone();
            json_patch::merge(&mut new, object);
            change::update(state, resource, "", &old, new)?
        }
    };
    Ok(())
}

impl Inner {
    pub(super) fn tokens(&self) -> &Tokens {
        &self.setup.tokens
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and writes it. Nothing is changed when that fails, or when it is only tried; what did change is counted.
    pub(super) fn change<T>(
        &self,
        dry: bool,
        effect: Option<&str>,
        change: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut state = self.state();
        let mut next = state.clone();
        let result = change(&mut next)?;
        if !dry && next != *state {
            store::write_json(&self.setup.path, &next)?;
            *state = next;
            drop(state);
            if let Some(effect) = effect {
                self.setup.ledger.record(effect);
            }
            self.changed.notify_one();
        }
        Ok(result)
    }

    /// The controllers: they look when something has changed, or when it is time for something.
    async fn work(&self) {
        let kubelet = self.setup.kubelet.as_ref();
        loop {
            tokio::time::sleep(self.setup.pace).await;
            let before = self.state().version();
            let next = self
                .change(false, None, |state| Ok(controllers::step(state, kubelet, clock::now())));
            let next = next.unwrap_or_else(|failure| {
                tracing::error!(
                    message = failure.message,
                    "the controllers of the sandbox's cluster failed"
                );
                None
            });
            if self.state().version() != before {
                continue;
            }
            let due = async {
                match next {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = due => {}
            }
        }
    }
}
