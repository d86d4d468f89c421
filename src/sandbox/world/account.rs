//! The DigitalOcean account of a world: the orchestrator and its specialists, among many other apps.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sandbox::digitalocean::{Account, Phase, Seed, Setup};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::orchestrator::{Specialists, Standing};
use crate::sandbox::{SandboxError, store};

/// How many apps there are: more than one page of the API.
const APPS: usize = 230;

/// An account as it looks from the world's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// How many apps there are.
    pub apps: usize,
    /// Those that are archived, each with the phase of its newest deployment.
    pub archived: Vec<(String, Phase)>,
    /// Those that are not, and whose newest deployment does not serve.
    pub unsettled: Vec<(String, Phase)>,
    /// Domain records: `CNAME agent.example.com 60 target.example.com`.
    pub records: Vec<String>,
    /// Routes of agents: `orchestrator to finance`.
    pub routes: Vec<String>,
    /// What the orchestrator is told.
    pub instruction: String,
}

/// The file with the token that a runbook comes in with.
pub(super) fn token_file(dir: &Path) -> PathBuf {
    dir.join("digitalocean/token")
}

/// The world's account, as it is at first when there is no file yet.
pub(super) fn open(dir: &Path, ledger: &Ledger, speed: f64) -> Result<Account, SandboxError> {
    let folder = dir.join("digitalocean");
    store::folder(&folder)?;
    let token = token_file(dir);
    if !token.exists() {
        let value = format!("dop_v1_{}", uuid::Uuid::new_v4().simple());
        store::replace(&token, value.as_bytes())?;
    }
    let token = std::fs::read_to_string(&token).map_err(SandboxError::file("read", &token))?;
    let path = folder.join("account.json");
    let known = path.exists();
    let setup = Setup { path, token, speed, ledger: ledger.clone(), public: None, logs: None };
    let account = Account::open(setup)?;
    if !known {
        account.seed(seeded())?;
    }
    Ok(account)
}

/// The agent that sends questions to the specialists.
const ORCHESTRATOR: &str = "multi-agent-orchestrator";

/// The specialists behind the orchestrator, as the account has them.
#[derive(Debug)]
pub(super) struct Behind(pub(super) Account);

impl Specialists for Behind {
    fn standing(&self, specialist: &str) -> Standing {
        let uuid = self.0.agent(specialist).map(|agent| agent.uuid);
        let orchestrator = self.0.agent(ORCHESTRATOR);
        let attached = orchestrator.is_some_and(|agent| {
            agent.routes.iter().any(|route| Some(&route.child) == uuid.as_ref())
        });
        // What is about to be archived answers until it is.
        let runs = self.0.app(specialist).is_some_and(|app| {
            let active = app.deployments.iter().find(|it| Some(&it.id) == app.active.as_ref());
            active.is_some_and(|active| active.spec["maintenance"]["archive"] != true)
        });
        match (attached, runs) {
            (false, _) => Standing::Detached,
            (true, true) => Standing::AtWork,
            (true, false) => Standing::Down,
        }
    }
}

/// The first state.
pub(super) fn seeded() -> Seed {
    Seed::orchestrator(APPS)
}

/// What became of it.
pub(super) fn status(account: &Account) -> AccountStatus {
    let apps = account.apps();
    let told = |archived: bool| {
        let found = apps
            .iter()
            .filter(move |(_, is, phase)| *is == archived && (archived || *phase != Phase::Active));
        found.map(|(name, _, phase)| (name.clone(), *phase)).collect()
    };
    let domains = account.domains();
    let records = domains.iter().flat_map(|domain| {
        domain.records.iter().map(move |record| {
            let name = match record.name.as_str() {
                "@" => domain.name.clone(),
                name => format!("{name}.{}", domain.name),
            };
            format!("{} {name} {} {}", record.kind, record.ttl, record.data)
        })
    });
    let agents = account.agents();
    let named = |uuid: &str| agents.iter().find(|agent| agent.uuid == uuid);
    let routes = agents.iter().flat_map(|agent| {
        let to = agent.routes.iter().filter_map(|route| named(&route.child));
        to.map(move |child| format!("{} to {}", agent.name, child.name))
    });
    AccountStatus {
        apps: apps.len(),
        archived: told(true),
        unsettled: told(false),
        records: records.collect(),
        routes: routes.collect(),
        instruction: account.agent(ORCHESTRATOR).map(|agent| agent.instruction).unwrap_or_default(),
    }
}
