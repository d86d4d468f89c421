//! The names of a world: what the agents are reached by, and where it leads.

use std::path::{Path, PathBuf};

use crate::sandbox::dns::{Key, NameServers, Start, Zone};
use crate::sandbox::faults::Faults;
use crate::sandbox::ledger::Ledger;
use crate::sandbox::{SandboxError, store};

use super::info::WorldInfo;

/// The name of the key that signs updates.
const KEY_NAME: &str = "rollback-key";

/// The file with the key's secret, in base64.
pub(super) fn key_file(dir: &Path) -> PathBuf {
    dir.join("dns.key")
}

/// The zones at first: users reach the orchestrator that was deployed last, and the former one still runs elsewhere.
pub(super) fn seeded() -> Result<Vec<Zone>, SandboxError> {
    let ours = Zone::new(
        "insightpulseai.net.",
        &[
            "insightpulseai.net. 60 NS ns1.insightpulseai.net.",
            "insightpulseai.net. 60 NS ns2.insightpulseai.net.",
            "ns1.insightpulseai.net. 60 A 127.0.0.1",
            "ns2.insightpulseai.net. 60 A 127.0.0.1",
            "agent.insightpulseai.net. 5 CNAME orchestrator.insightpulseai.net.",
            "orchestrator.insightpulseai.net. 60 A 127.0.0.3",
        ],
    )?;
    let platform = Zone::new(
        "do-ai.run.",
        &[
            "do-ai.run. 60 NS ns1.insightpulseai.net.",
            "do-ai.run. 60 NS ns2.insightpulseai.net.",
            "wr2azp5dsl6mu6xvxtpglk5v.agents.do-ai.run. 60 A 127.0.0.2",
        ],
    )?;
    Ok(vec![ours, platform])
}

/// Opens the name servers with what they held before.
pub(super) fn open(
    dir: &Path,
    info: &WorldInfo,
    ledger: &Ledger,
    faults: &Faults,
) -> Result<NameServers, SandboxError> {
    use base64::Engine as _;
    let secret = base64::prelude::BASE64_STANDARD.encode(&info.key);
    store::replace(&info.dns_key_file, secret.as_bytes())?;
    let key = Key::new(&format!("{KEY_NAME}."), info.key.as_bytes())?;
    let start = Start { dir, key, ledger: ledger.clone(), faults: Some(faults.clone()) };
    let servers = NameServers::open(start)?;
    if servers.is_empty() {
        servers.seed(&seeded()?)?;
    }
    Ok(servers)
}
