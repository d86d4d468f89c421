//! What the steps of a run share: the place where records are kept, and the servers that were found.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::{Name, RecordType};
use indexmap::IndexSet;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::{DnsConnection, Server, invalid};
use super::lookup::{Authority, Source, servers_of, system_resolvers, zone_of};
use super::name::DomainName;
use super::provider::{Domains, Keeper, Updates, Zones};
use super::wire::Patience;
use crate::action::{ActionError, Connections, ErrorKind, StepContext};

/// The time for the question whether the servers answer; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);

/// The connection of an environment.
pub(super) struct Dns {
    settings: DnsConnection,
    keeper: Option<Box<dyn Keeper>>,
    /// By name: where a zone is served does not change within a run.
    authorities: Mutex<HashMap<DomainName, Arc<Authority>>>,
}

impl Dns {
    /// The one of these connections.
    pub(super) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let shared = connections.secrets().clone();
        connections.client::<DnsConnection, Self, _>(|settings, secrets| {
            settings.check()?;
            let mut keeper: Option<Box<dyn Keeper>> = None;
            if let Some(updates) = &settings.rfc2136 {
                keeper = Some(Box::new(Updates::new(updates, secrets)?));
            } else if let Some(zones) = &settings.cloudflare {
                keeper = Some(Box::new(Zones::new(zones, shared)));
            } else if let Some(account) = &settings.digitalocean {
                keeper = Some(Box::new(Domains::new(account.clone(), shared)?));
            }
            Ok(Self { settings, keeper, authorities: Mutex::default() })
        })
    }

    /// Where records are kept.
    pub(super) fn keeper(&self) -> Result<&dyn Keeper, ActionError> {
        self.keeper.as_deref().ok_or_else(|| {
            invalid("it does not say where records are kept").hint(
                "Add one of `rfc2136`, `digitalocean` and `cloudflare` to `connections: {dns: …}` in the environment file.",
            )
        })
    }

    /// Where records are kept, if anything is to be changed here.
    pub(super) fn keeper_if_any(&self) -> Option<&dyn Keeper> {
        self.keeper.as_deref()
    }

    /// The zone of a name and its authoritative servers, the primary first.
    pub(super) async fn authority(
        &self,
        name: &DomainName,
        cx: &StepContext,
    ) -> Result<Arc<Authority>, ActionError> {
        if let Some(known) = self.authorities.lock().await.get(name) {
            return Ok(known.clone());
        }
        let patience = patience(cx);
        let found = Arc::new(self.find_authority(name, &patience).await?);
        let _none = self.authorities.lock().await.insert(name.clone(), found.clone());
        Ok(found)
    }

    async fn find_authority(
        &self,
        name: &DomainName,
        patience: &Patience,
    ) -> Result<Authority, ActionError> {
        let mut servers = Vec::new();
        if let Some(updates) = &self.settings.rfc2136 {
            servers.push(Source::of(&updates.server, patience).await?);
        }
        servers.extend(located(&self.settings.nameservers, patience).await?);
        let stated = self.settings.rfc2136.as_ref().and_then(|updates| updates.zone.clone());
        let zone = match stated.filter(|zone| name.is_in(zone)) {
            Some(zone) => zone,
            None if servers.is_empty() => {
                zone_of(&self.resolvers(patience).await?, name, patience).await?
            }
            None => zone_of(&servers, name, patience).await?,
        };
        if self.settings.nameservers.is_empty() {
            servers.extend(servers_of(&self.resolvers(patience).await?, &zone, patience).await?);
        }
        let mut known: Vec<Source> = Vec::new();
        for server in servers {
            let again =
                |other: &Source| other.addresses.iter().any(|a| server.addresses.contains(a));
            if !known.iter().any(again) {
                known.push(server);
            }
        }
        Ok(Authority { zone, servers: known })
    }

    /// The recursive servers that are configured.
    pub(super) async fn configured_resolvers(
        &self,
        patience: &Patience,
    ) -> Result<Vec<Source>, ActionError> {
        located(&self.settings.resolvers, patience).await
    }

    /// The recursive servers by which others are found.
    async fn resolvers(&self, patience: &Patience) -> Result<Vec<Source>, ActionError> {
        let configured = self.configured_resolvers(patience).await?;
        Ok(if configured.is_empty() { system_resolvers() } else { configured })
    }

    /// Whoever may know where a name leads that is no business of this zone.
    pub(super) async fn guides(
        &self,
        authority: &Authority,
        patience: &Patience,
    ) -> Result<Vec<Source>, ActionError> {
        let configured = self.configured_resolvers(patience).await?;
        Ok(if configured.is_empty() { authority.servers.clone() } else { configured })
    }
}

/// These servers with their addresses.
pub(super) async fn located(
    servers: &[Server],
    patience: &Patience,
) -> Result<Vec<Source>, ActionError> {
    let mut sources = Vec::new();
    for server in servers {
        sources.push(Source::of(server, patience).await?);
    }
    Ok(sources)
}

/// How long a step's questions may take: a little less than the step, so that it can tell what is known.
pub(super) fn patience(cx: &StepContext) -> Patience {
    let until = cx.deadline().checked_sub(Duration::from_millis(50)).unwrap_or_else(Instant::now);
    Patience { until, cancelled: cx.cancelled().clone() }
}

/// Whether the servers answer: `2 name servers, 1 resolver answer; records are kept at 127.0.0.1:5300`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let dns = Dns::of(connections)?;
    let patience = patience(&StepContext::looking(REACHING));
    let root = DomainName::parse("localhost").map_err(invalid)?.on_the_wire().map_err(invalid)?;
    let primary = dns.settings.rfc2136.as_ref().map(|updates| &updates.server);
    let named: IndexSet<_> = primary.into_iter().chain(&dns.settings.nameservers).collect();
    let resolvers: IndexSet<_> = dns.settings.resolvers.iter().collect();
    // All at the same time: one that does not answer takes no time from the others.
    let ask = |server| silence(server, &root, &patience);
    let (named, resolvers) = tokio::join!(
        join_all(named.into_iter().map(ask)),
        join_all(resolvers.into_iter().map(ask))
    );
    let mut counts = Vec::new();
    for (word, asked) in [("name server", named), ("resolver", resolvers)] {
        let many = asked.len();
        let silent: Vec<String> = asked.into_iter().flatten().collect();
        if many == 0 {
            continue;
        }
        if silent.len() == many {
            let text = format!("reach a {word}: {}", silent.join("; "));
            return Err(ActionError::new(ErrorKind::Unreachable, text));
        }
        let of = if silent.is_empty() { String::new() } else { format!(" of {many}") };
        let plural = if many == 1 { "" } else { "s" };
        counts.push(format!("{}{of} {word}{plural}", many - silent.len()));
    }
    let kept = dns.keeper.as_ref().map(|keeper| format!("records are kept at {}", keeper.place()));
    Ok(match (counts.is_empty(), kept) {
        (true, kept) => kept.unwrap_or_else(|| "nothing to reach".to_owned()),
        (false, Some(kept)) => format!("{} answer; {kept}", counts.join(" and ")),
        (false, None) => format!("{} answer", counts.join(" and ")),
    })
}

/// Why a server does not answer, if it does not. Any answer will do, a refusal too.
async fn silence(server: &Server, root: &Name, patience: &Patience) -> Option<String> {
    let why = match Source::of(server, patience).await {
        Ok(source) => source.ask(root, RecordType::SOA, false, patience).await.err()?.to_string(),
        Err(error) => error.causes.into_iter().next_back().unwrap_or(error.message),
    };
    Some(format!("{server}: {why}"))
}
