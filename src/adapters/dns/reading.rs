//! What servers say about a record set at one moment.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use serde_json::{Value, json};

use super::lookup::{Authority, Source};
use super::name::{Datum, DomainName, Kind, RecordSet, shown};
use super::wire::{Patience, Trouble};

/// The types that are looked for when a name has no CNAME: what such a record could not stand beside (RFC 1034 section 3.6.2).
const OTHERS: [RecordType; 7] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::MX,
    RecordType::NS,
    RecordType::SRV,
    RecordType::CAA,
];

/// The records of one name and type, as a server has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// The records; `None` when there are none.
    pub(super) set: Option<RecordSet>,
    /// Their data exactly as they came.
    pub(super) data: Vec<RData>,
    /// An alias at this name, when another type was asked for.
    pub(super) alias: Option<DomainName>,
    /// How long others may keep that there are none, in seconds (RFC 2308 section 5).
    pub(super) absent_for: u32,
}

impl Reading {
    /// How long others may keep what this server says, in seconds.
    pub(super) fn kept_for(&self) -> u32 {
        self.set.as_ref().map_or(self.absent_for, |set| set.ttl)
    }
}

/// Why there is no reading.
#[derive(Debug)]
pub(super) enum Unread {
    /// No answer.
    Trouble(Trouble),
    /// An answer that does not tell.
    Refused(String),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Trouble(trouble) => trouble.fmt(f),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

/// Asks a server. Of an authoritative one nothing counts but what it says with authority; a recursive one is asked for its cache.
pub(super) async fn read(
    source: &Source,
    name: &DomainName,
    kind: Kind,
    recursive: bool,
    patience: &Patience,
) -> Result<Reading, Unread> {
    let question = name.on_the_wire().map_err(Unread::Refused)?;
    let asked = source.ask(&question, kind.on_the_wire(), recursive, patience).await;
    let answer = asked.map_err(Unread::Trouble)?;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(Unread::Refused(format!("it answers {code}"))),
    }
    if !recursive && !answer.metadata.authoritative {
        return Err(Unread::Refused("it answers without authority for the zone".to_owned()));
    }
    Ok(reading(&answer, name, kind))
}

fn reading(answer: &Message, name: &DomainName, kind: Kind) -> Reading {
    let here = |record: &&Record| DomainName::received(&record.name) == *name;
    let mut reading = Reading { absent_for: negative_ttl(answer), ..Reading::default() };
    let (mut ttl, mut values) = (u32::MAX, BTreeSet::new());
    for record in answer.answers.iter().filter(here) {
        if let Some(datum) = Datum::received(kind, &record.data) {
            values.insert(datum);
            ttl = ttl.min(record.ttl);
            reading.data.push(record.data.clone());
        } else if let RData::CNAME(target) = &record.data {
            reading.alias = Some(DomainName::received(&target.0));
        }
    }
    if !values.is_empty() {
        reading.set = Some(RecordSet { ttl, values });
    }
    reading
}

fn negative_ttl(answer: &Message) -> u32 {
    answer
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })
        .unwrap_or(0)
}

/// The serial of a zone at a server.
async fn serial(source: &Source, zone: &DomainName, patience: &Patience) -> Option<u32> {
    let question = zone.on_the_wire().ok()?;
    let answer = source.ask(&question, RecordType::SOA, false, patience).await.ok()?;
    answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

/// What else stands at a name, in words: `A`, `TXT and MX`.
pub(super) async fn beside(
    source: &Source,
    name: &DomainName,
    kind: Kind,
    patience: &Patience,
) -> Option<String> {
    if kind != Kind::Cname {
        let found = read(source, name, kind, false, patience).await.ok()?;
        return found.alias.map(|target| format!("CNAME {target}"));
    }
    let question = name.on_the_wire().ok()?;
    let asked = OTHERS.map(|other| source.ask(&question, other, false, patience));
    let answers = join_all(asked).await;
    let there = OTHERS.iter().zip(answers).filter_map(|(kind, answer)| {
        let answer = answer.ok()?;
        let found = answer.answers.iter().any(|record| {
            record.record_type() == *kind && DomainName::received(&record.name) == *name
        });
        found.then(|| kind.to_string())
    });
    let there: Vec<String> = there.collect();
    (!there.is_empty()).then(|| there.join(" and "))
}

/// What a server says, and how far its copy of the zone has come.
#[derive(Debug)]
pub(super) struct Told {
    /// The server, as people know it.
    pub(super) server: String,
    /// What it says, or why it says nothing.
    pub(super) reading: Result<Reading, Unread>,
    /// The serial of its zone.
    pub(super) serial: Option<u32>,
}

impl Told {
    /// For people: `127.0.0.1:5301 has CNAME old.example.net (ttl 5s) at serial 7`.
    pub(super) fn line(&self, kind: Kind) -> String {
        let serial = self.serial.map(|serial| format!(" at serial {serial}")).unwrap_or_default();
        match &self.reading {
            Ok(reading) => {
                format!("{} has {}{serial}", self.server, shown(kind, reading.set.as_ref()))
            }
            Err(why) => format!("{} does not tell: {why}", self.server),
        }
    }

    /// For the journal.
    pub(super) fn facts(&self) -> Value {
        match &self.reading {
            Ok(reading) => {
                json!({"server": self.server, "serial": self.serial, "records": reading.set})
            }
            Err(why) => json!({"server": self.server, "error": why.to_string()}),
        }
    }
}

/// Asks all authoritative servers at the same time.
pub(super) async fn read_all(
    authority: &Authority,
    name: &DomainName,
    kind: Kind,
    patience: &Patience,
) -> Vec<Told> {
    let asked = authority.servers.iter().map(|source| async move {
        let (reading, serial) = tokio::join!(
            read(source, name, kind, false, patience),
            serial(source, &authority.zone, patience)
        );
        Told { server: source.label.clone(), reading, serial }
    });
    join_all(asked).await
}
