//! Who is asked: the zone of a name, its authoritative servers, and the end of a chain of aliases.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Server;
use super::name::DomainName;
use super::wire::{Patience, Trouble, ask};
use crate::action::{ActionError, ErrorKind};

/// The most aliases that are followed, one to the next.
const MOST_ALIASES: usize = 8;
/// Where the system says which resolvers it asks (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The time for one name of an HTTP request.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// A server with its addresses, the first that answers being asked.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// How people know it.
    pub(super) label: String,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Source {
    /// A server whose name the system resolves, if it is none of the addresses.
    pub(super) async fn of(server: &Server, patience: &Patience) -> Result<Self, ActionError> {
        let label = server.to_string();
        if let Some(address) = server.address() {
            return Ok(Self { label, addresses: vec![address] });
        }
        let doing = format!("find the name server {label}");
        // The system's resolver knows no deadline.
        let found = tokio::select! {
            biased;
            found = tokio::net::lookup_host((server.host(), server.port())) => found,
            () = patience.cancelled.cancelled() => {
                return Err(unread(&Trouble::Cancelled { sent: false }, &doing));
            }
            () = tokio::time::sleep_until(patience.until) => {
                return Err(unread(&Trouble::Late, &doing));
            }
        };
        let addresses = found
            .map_err(|error| ActionError::new(ErrorKind::Unreachable, doing).caused_by(&error))?;
        Ok(Self { label, addresses: addresses.collect() })
    }

    /// Asks it, at each of its addresses until one answers.
    pub(super) async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        recursion: bool,
        patience: &Patience,
    ) -> Result<Message, Trouble> {
        let mut last = Trouble::Unreachable("it has no address".to_owned());
        for address in &self.addresses {
            match ask(*address, name, kind, recursion, patience).await {
                Err(trouble @ (Trouble::Unreachable(_) | Trouble::NoAnswer(_))) => last = trouble,
                ended => return ended,
            }
        }
        Err(last)
    }
}

/// The servers that know.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    /// The zone.
    pub(super) zone: DomainName,
    /// Its authoritative servers.
    pub(super) servers: Vec<Source>,
}

/// Finds the zone that a name lies in.
pub(super) async fn zone_of(
    sources: &[Source],
    name: &DomainName,
    patience: &Patience,
) -> Result<DomainName, ActionError> {
    let mut last = String::from("nobody is there to be asked");
    'sources: for source in sources {
        for candidate in name.upwards() {
            let question = candidate.on_the_wire().map_err(|why| invalid(&why))?;
            let answer = match source.ask(&question, RecordType::SOA, true, patience).await {
                Ok(answer) => answer,
                Err(trouble @ (Trouble::Cancelled { .. } | Trouble::Late)) => {
                    return Err(unread(&trouble, &format!("find the zone of {name}")));
                }
                Err(trouble) => {
                    last = format!("{}: {trouble}", source.label);
                    continue 'sources;
                }
            };
            if let Some(zone) = zone_in(&answer, &candidate) {
                return Ok(zone);
            }
            last = format!("{} answers {}", source.label, answer.metadata.response_code);
        }
    }
    Err(ActionError::new(ErrorKind::NotFound, format!("find the zone of {name}: {last}"))
        .hint("Name its servers in the environment file: `connections: {dns: {nameservers: [ADDRESS:PORT]}}`."))
}

/// The zone that an answer about SOA tells.
fn zone_in(answer: &Message, asked: &DomainName) -> Option<DomainName> {
    let owner = |records: &[Record]| {
        let found = records.iter().find(|record| record.record_type() == RecordType::SOA);
        found.map(|record| DomainName::received(&record.name))
    };
    match answer.answers.as_slice() {
        // An alias leads elsewhere, and what is said about that place says nothing about this one.
        [] => {
            owner(&answer.authorities).filter(|zone| !zone.as_str().is_empty() && asked.is_in(zone))
        }
        answers => owner(answers).filter(|zone| zone == asked),
    }
}

/// Finds the authoritative servers of a zone by its NS records.
pub(super) async fn servers_of(
    resolvers: &[Source],
    zone: &DomainName,
    patience: &Patience,
) -> Result<Vec<Source>, ActionError> {
    let complain = |why: &str| {
        let text = format!("find the authoritative servers of {zone}: {why}");
        ActionError::new(ErrorKind::NotFound, text).hint(
            "Name them in the environment file: `connections: {dns: {nameservers: [ADDRESS:PORT]}}`.",
        )
    };
    let question = zone.on_the_wire().map_err(|why| invalid(&why))?;
    let mut last = String::from("no resolver is known");
    for resolver in resolvers {
        let answer = match resolver.ask(&question, RecordType::NS, true, patience).await {
            Ok(answer) => answer,
            Err(trouble) => {
                last = format!("{}: {trouble}", resolver.label);
                continue;
            }
        };
        let mut names: Vec<DomainName> = answer.answers.iter().filter_map(server_name).collect();
        names.sort();
        names.dedup();
        let found = names.iter().map(|name| located(resolver, name, patience));
        let found = join_all(found).await;
        if found.is_empty() {
            last = format!("{} answers {}", resolver.label, answer.metadata.response_code);
            continue;
        }
        return found.into_iter().collect::<Result<_, _>>().map_err(|why| complain(&why));
    }
    Err(complain(&last))
}

fn server_name(record: &Record) -> Option<DomainName> {
    match &record.data {
        RData::NS(server) => Some(DomainName::received(&server.0)),
        _ => None,
    }
}

async fn located(
    resolver: &Source,
    name: &DomainName,
    patience: &Patience,
) -> Result<Source, String> {
    let found = follow(std::slice::from_ref(resolver), name, patience).await?;
    let server = Server::usual(name.as_str());
    let addresses = found.addresses.iter().map(|ip| SocketAddr::new(*ip, server.port())).collect();
    Ok(Source { label: server.to_string(), addresses })
}

/// The resolvers of the system.
pub(super) fn system_resolvers() -> Vec<Source> {
    // A system without the file has no resolver, which whoever needs one says.
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| {
            let server = Server::usual(&address.to_string());
            Source { label: server.to_string(), addresses: server.address().into_iter().collect() }
        })
        .collect()
}

/// Where a name leads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The aliases on the way, without the name itself.
    pub(super) aliases: Vec<DomainName>,
    /// The addresses at its end.
    pub(super) addresses: Vec<IpAddr>,
}

/// Follows a name through its aliases to its addresses. The fragment says why that is not possible.
pub(super) async fn follow(
    servers: &[Source],
    name: &DomainName,
    patience: &Patience,
) -> Result<Chain, String> {
    let mut chain = Chain::default();
    let mut at = name.clone();
    loop {
        let (v4, v6) = tokio::join!(
            answer_of(servers, &at, RecordType::A, patience),
            answer_of(servers, &at, RecordType::AAAA, patience)
        );
        let before = chain.aliases.len();
        // Either alone is enough: some servers know nothing of the other kind.
        let answers = match (v4, v6) {
            (Ok(v4), Ok(v6)) => [v4, v6].concat(),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            (Err(why), Err(_)) => return Err(format!("{at}: {why}")),
        };
        while let Some(next) = alias(&answers, &at) {
            if &next == name || chain.aliases.contains(&next) {
                return Err(format!("{name} leads in a circle, back to {next}"));
            }
            if chain.aliases.len() == MOST_ALIASES {
                return Err(format!("{name} leads through more than {MOST_ALIASES} aliases"));
            }
            chain.aliases.push(next.clone());
            at = next;
        }
        chain.addresses = addresses_of(&answers, &at);
        if !chain.addresses.is_empty() {
            return Ok(chain);
        }
        if chain.aliases.len() == before {
            return Err(format!("{at} has no address"));
        }
    }
}

async fn answer_of(
    servers: &[Source],
    name: &DomainName,
    kind: RecordType,
    patience: &Patience,
) -> Result<Vec<Record>, String> {
    let question = name.on_the_wire()?;
    let mut last = String::from("nobody is there to be asked");
    for server in servers {
        match server.ask(&question, kind, true, patience).await {
            Ok(answer) => match answer.metadata.response_code {
                ResponseCode::NoError => return Ok(answer.answers),
                ResponseCode::NXDomain if answer.answers.is_empty() => {
                    return Err("there is no such name".to_owned());
                }
                // The alias exists, and where it leads to does not, or is another server's to say.
                _ if !answer.answers.is_empty() => return Ok(answer.answers),
                code => last = format!("{} answers {code}", server.label),
            },
            Err(trouble) => last = format!("{}: {trouble}", server.label),
        }
    }
    Err(last)
}

fn alias(answers: &[Record], at: &DomainName) -> Option<DomainName> {
    answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if DomainName::received(&record.name) == *at => {
            Some(DomainName::received(&target.0))
        }
        _ => None,
    })
}

fn addresses_of(answers: &[Record], at: &DomainName) -> Vec<IpAddr> {
    let here = answers.iter().filter(|record| DomainName::received(&record.name) == *at);
    here.filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    })
    .collect()
}

/// The addresses of a host, from these servers and from nobody's cache.
pub(in crate::adapters) async fn addresses(
    servers: &[Server],
    host: &str,
) -> Result<Vec<IpAddr>, String> {
    let patience =
        Patience { until: Instant::now() + RESOLVE_WITHIN, cancelled: CancellationToken::new() };
    let mut sources = Vec::new();
    for server in servers {
        sources.push(Source::of(server, &patience).await.map_err(|error| error.to_string())?);
    }
    let name = DomainName::parse(host)?;
    follow(&sources, &name, &patience).await.map(|chain| chain.addresses)
}

/// The error of a question that has no answer. Nothing was changed by it.
pub(super) fn unread(trouble: &Trouble, doing: &str) -> ActionError {
    let error =
        |kind, again| ActionError::new(kind, format!("{doing}: {trouble}")).retryable(again);
    match trouble {
        Trouble::Unreachable(_) => error(ErrorKind::Unreachable, true),
        Trouble::NoAnswer(_) | Trouble::Late => error(ErrorKind::TimedOut, true),
        Trouble::Garbled(_) => error(ErrorKind::Failed, true),
        Trouble::Cancelled { .. } => error(ErrorKind::Cancelled, false),
    }
}

fn invalid(why: &str) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("ask about a name: {why}"))
}
