//! The account: everything in it, kept in one file that is replaced with every change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::agents::Agent;
use super::apps::App;
use super::deployments::Phase;
use super::records::Domain;
use super::seeds::Seed;
use crate::clock;
use crate::sandbox::ledger::Ledger;
use crate::sandbox::{SandboxError, store};

/// How long a deployment takes at speed 1.
const DEPLOYMENT: Duration = Duration::from_millis(1200);

/// What an account starts with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The file of its state.
    pub path: PathBuf,
    /// The token that is accepted.
    pub token: String,
    /// How many times as fast as at speed 1, where a deployment takes 1.2 s.
    pub speed: f64,
    /// Where its effects are counted.
    pub ledger: Ledger,
    /// The address by which the API is reached, for links to next pages, if it is not the one that a request names.
    pub public: Option<String>,
    /// The address of the hosts of logs, likewise.
    pub logs: Option<String>,
}

/// A refusal of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "The resource you requested could not be found.")
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }
}

impl From<SandboxError> for Refusal {
    fn from(error: SandboxError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let text = format!("failed to {error}{}", cause.unwrap_or_default());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

/// Everything in an account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Holdings {
    /// Apps, in the order of their creation.
    pub(super) apps: Vec<App>,
    /// Domains with their records.
    pub(super) domains: Vec<Domain>,
    /// `GenAI` agents.
    pub(super) agents: Vec<Agent>,
    /// The last identifier that was given to a record.
    pub(super) serial: u64,
}

/// The account, shared by everybody who speaks to it.
#[derive(Debug, Clone)]
pub struct Account {
    setup: Arc<Setup>,
    holdings: Arc<Mutex<Holdings>>,
}

impl Account {
    /// Opens the account with what its file holds, empty at first.
    pub fn open(setup: Setup) -> Result<Self, SandboxError> {
        let holdings =
            if setup.path.exists() { store::read_json(&setup.path)? } else { Holdings::default() };
        Ok(Self { setup: Arc::new(setup), holdings: Arc::new(Mutex::new(holdings)) })
    }

    /// Replaces everything in it.
    pub fn seed(&self, seed: Seed) -> Result<(), SandboxError> {
        let mut holdings = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
        *holdings = seed.holdings();
        store::write_json(&self.setup.path, &*holdings)
    }

    pub(super) fn token(&self) -> &str {
        &self.setup.token
    }

    pub(super) fn public(&self) -> Option<&str> {
        self.setup.public.as_deref()
    }

    pub(super) fn logs_at(&self) -> Option<&str> {
        self.setup.logs.as_deref()
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.setup.ledger
    }

    /// Looks at the present state.
    pub(super) fn look<T>(
        &self,
        look: impl FnOnce(&Holdings) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut holdings = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
        if self.advance(&mut holdings) {
            store::write_json(&self.setup.path, &*holdings)?;
        }
        look(&holdings)
    }

    /// Changes the state, unless it is refused; counts the effect that the change names.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Holdings) -> Result<(String, T), Refusal>,
    ) -> Result<T, Refusal> {
        let mut holdings = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
        let _moved = self.advance(&mut holdings);
        let mut changed = holdings.clone();
        let (effect, given) = change(&mut changed)?;
        store::write_json(&self.setup.path, &changed)?;
        *holdings = changed;
        self.setup.ledger.record(&format!("digitalocean {effect}"));
        Ok(given)
    }

    /// Lets deployments run to where they are by now. Whether one has ended.
    fn advance(&self, holdings: &mut Holdings) -> bool {
        let (now, whole) = (clock::now(), DEPLOYMENT.div_f64(self.setup.speed));
        holdings.apps.iter_mut().map(|app| app.advance(now, whole)).fold(false, |a, b| a | b)
    }

    /// Changes an app past the API, as somebody at the control panel would. Without an app of this name nothing happens.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut App)) {
        let mut holdings = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(app) = holdings.apps.iter_mut().find(|app| app.name() == name) {
            change(app);
        }
    }

    /// Every app with whether it is archived, and the phase of its newest deployment.
    pub fn apps(&self) -> Vec<(String, bool, Phase)> {
        let told = |app: &App| {
            let phase = app.deployments.first().map_or(Phase::Unknown, |newest| newest.phase);
            (app.name().to_owned(), app.is_archived(), phase)
        };
        let looked = self.look(|holdings| Ok(holdings.apps.iter().map(told).collect()));
        looked.unwrap_or_default()
    }

    /// An app as it is.
    pub fn app(&self, name: &str) -> Option<App> {
        let find =
            |holdings: &Holdings| Ok(holdings.apps.iter().find(|app| app.name() == name).cloned());
        self.look(find).ok().flatten()
    }

    /// An agent as it is.
    pub fn agent(&self, name: &str) -> Option<Agent> {
        let find = |holdings: &Holdings| {
            Ok(holdings.agents.iter().find(|agent| agent.name == name).cloned())
        };
        self.look(find).ok().flatten()
    }

    /// The domains with their records.
    pub fn domains(&self) -> Vec<Domain> {
        self.look(|holdings| Ok(holdings.domains.clone())).unwrap_or_default()
    }

    /// Every agent.
    pub fn agents(&self) -> Vec<Agent> {
        self.look(|holdings| Ok(holdings.agents.clone())).unwrap_or_default()
    }
}
