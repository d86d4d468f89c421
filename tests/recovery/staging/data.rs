//! The register of agents and the metrics, as PostgreSQL and Redis tell them themselves.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::is_done;
use super::stage::{Stage, to_end};

/// The last digits of the ports of the cluster's masters, and of the server beside it.
const MASTERS: [&str; 3] = ["70", "71", "72"];
const BESIDE: &str = "79";
const PATTERN: &str = "metrics:base-agent-v2:";
/// The steps of the runbook that change something here.
const RESTORE: &str = "swap/restore-registration";
const CLEAR: &str = "clean-up/clear-metrics";

/// What both servers hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Data {
    /// The agents that are registered, and those from before the deployment: id, version and status.
    registered: Vec<String>,
    former: Vec<String>,
    /// The steps that have left a mark in the ledger.
    marks: Vec<String>,
    metrics: BTreeSet<String>,
    foreign: BTreeSet<String>,
    beside: BTreeSet<String>,
}

impl Data {
    /// Looks at both servers.
    pub(super) fn of(stage: &Stage) -> Self {
        let all = MASTERS.iter().flat_map(|master| keys(stage, master));
        let (metrics, foreign) = all.partition(|key| key.starts_with(PATTERN));
        let agents = |table: &str| {
            ask(stage, &format!("SELECT id, base_version, status FROM {table} ORDER BY id"))
        };
        let ledger = !ask(stage, "SELECT to_regclass('rollback.ledger')")[0].is_empty();
        Self {
            registered: agents("agents"),
            former: agents("agents_before_deployment"),
            marks: if ledger { ask(stage, "SELECT place FROM rollback.ledger") } else { vec![] },
            metrics,
            foreign,
            beside: keys(stage, BESIDE).into_iter().collect(),
        }
    }

    /// Deployed, and nobody has been here yet.
    pub(super) fn assert_untouched(&self, agents: usize) {
        assert_eq!((self.registered.len(), self.former.len()), (agents, agents));
        assert!(self.registered.iter().all(|agent| agent.ends_with("|2.0.0|active")));
        assert_ne!(self.registered, self.former);
        assert!(self.marks.is_empty(), "{:?}", self.marks);
        assert_eq!(self.metrics.len(), agents * 20, "twenty for each agent");
        assert!(self.foreign.len() > 1000, "others' keys are there: {}", self.foreign.len());
    }

    /// Whatever happened to the run: what is not its own is as it was, and the register was changed as a whole and once, or not.
    pub(super) fn assert_nothing_twice(&self, before: &Self, context: &str) {
        assert_eq!(self.former, before.former, "{context}");
        assert_eq!(self.foreign, before.foreign, "others' keys stay; {context}");
        assert_eq!(self.beside, before.beside, "another server's keys stay; {context}");
        assert!(self.metrics.is_subset(&before.metrics), "{context}");
        let restored = self.registered == before.former;
        assert!(restored || self.registered == before.registered, "half a register; {context}");
        let wanted: &[&str] = if restored { &[RESTORE] } else { &[] };
        assert_eq!(self.marks, wanted, "one mark exactly tells of it; {context}");
    }

    /// What the run tells as done, is; returns whether everything is.
    pub(super) fn assert_nothing_lost(&self, before: &Self, told: &Value, context: &str) -> bool {
        let done = |step: &str| is_done(told, step);
        assert!(!done(RESTORE) || self.registered == before.former, "{context}");
        assert!(!done(CLEAR) || self.metrics.is_empty(), "{:?} are left; {context}", self.metrics);
        done(RESTORE) && done(CLEAR)
    }
}

/// The answer's rows, columns with `|`, asked as the superuser.
fn ask(stage: &Stage, sql: &str) -> Vec<String> {
    let socket = stage.root().join("var/lib/postgresql");
    let url = format!(
        "postgresql:///sutazai?user=postgres&host={}&port={}",
        socket.display(),
        stage.port("32")
    );
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--no-password", "--no-align", "--tuples-only", "--command", sql]);
    lines(psql.arg(url))
}

/// All keys of one server.
fn keys(stage: &Stage, port: &str) -> Vec<String> {
    lines(Command::new("redis-cli").args(["-p", &stage.port(port), "--scan"]))
}

fn lines(command: &mut Command) -> Vec<String> {
    to_end(command).expect_code(0).stdout.lines().map(str::to_owned).collect()
}
