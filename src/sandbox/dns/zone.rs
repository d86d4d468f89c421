//! Zones: their records, their serials, and answers from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::sandbox::{SandboxError, store};

/// The most aliases that an answer follows.
const MOST_ALIASES: usize = 16;
/// The TTL of what is not given one, in seconds.
const USUAL_TTL: u32 = 60;
/// How long others may keep that something is not there, in seconds.
const ABSENT_FOR: u32 = 5;

/// The records of one name and type.
type Sets = BTreeMap<(Name, RecordType), Vec<Record>>;

/// A zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    pub(super) origin: Name,
    pub(super) sets: Sets,
}

impl Zone {
    /// A zone with these records, each `NAME TTL TYPE DATA` with absolute names, and a start of authority.
    pub fn new(origin: &str, records: &[&str]) -> Result<Self, SandboxError> {
        let name = |text: &str| Name::from_ascii(text).map_err(|error| wrong(text, &error));
        let origin = name(origin)?;
        let (server, person) =
            (name("ns1.insightpulseai.net.")?, name("hostmaster.insightpulseai.net.")?);
        let soa = SOA::new(server, person, 1, 3600, 600, 86_400, ABSENT_FOR);
        let mut zone = Self { origin: origin.clone(), sets: Sets::new() };
        zone.insert(Record::from_rdata(origin, USUAL_TTL, RData::SOA(soa)));
        for line in records {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().ok_or_else(|| wrong(line, &"it has four parts"));
            let (owner, ttl, kind, data) = (word()?, word()?, word()?, word()?);
            let kind = RecordType::from_str(kind).map_err(|error| wrong(line, &error))?;
            let data = RData::try_from_str(kind, data).map_err(|error| wrong(line, &error))?;
            let ttl = ttl.parse().map_err(|error| wrong(line, &error))?;
            zone.insert(Record::from_rdata(name(owner)?, ttl, data));
        }
        Ok(zone)
    }

    /// Adds a record; those of its name and type then have its TTL, as RFC 2181 section 5.2 asks for.
    pub(super) fn insert(&mut self, record: Record) {
        let set = self.sets.entry((record.name.clone(), record.record_type())).or_default();
        set.retain(|other| other.data != record.data);
        set.iter_mut().for_each(|other| other.ttl = record.ttl);
        set.push(record);
    }

    pub(super) fn set(&self, name: &Name, kind: RecordType) -> &[Record] {
        self.sets.get(&(name.clone(), kind)).map_or(&[], Vec::as_slice)
    }

    /// Whether there is anything at a name or below it.
    fn has(&self, name: &Name) -> bool {
        self.sets.keys().any(|(owner, _)| name.zone_of(owner))
    }

    /// The name whose records answer for this one: itself, or the wildcard that covers it if there is one (RFC 4592 section 3.3.1).
    fn source(&self, name: &Name) -> Name {
        if self.has(name) {
            return name.clone();
        }
        let mut below = name.clone();
        while below != self.origin && !self.has(&below.base_name()) {
            below = below.base_name();
        }
        below.into_wildcard()
    }

    /// The types at a name.
    pub(super) fn kinds(&self, name: &Name) -> impl Iterator<Item = RecordType> {
        self.sets.keys().filter(move |(owner, _)| owner == name).map(|(_, kind)| *kind)
    }

    /// Takes the records of this type at the other's top.
    pub(super) fn replace(&mut self, other: &Self, kind: &str) -> Result<(), SandboxError> {
        let kind = RecordType::from_str(kind).map_err(|error| wrong(kind, &error))?;
        self.sets.remove(&(other.origin.clone(), kind));
        other.set(&other.origin, kind).iter().for_each(|record| self.insert(record.clone()));
        Ok(())
    }

    /// The number of its state.
    pub fn serial(&self) -> u32 {
        match self.set(&self.origin, RecordType::SOA) {
            [Record { data: RData::SOA(soa), .. }, ..] => soa.serial,
            _ => 0,
        }
    }

    /// The same zone in a later state.
    pub(super) fn set_serial(&mut self, serial: u32) {
        let key = (self.origin.clone(), RecordType::SOA);
        for record in self.sets.get_mut(&key).into_iter().flatten() {
            if let RData::SOA(soa) = &mut record.data {
                soa.serial = serial;
            }
        }
    }

    fn soa(&self) -> Option<Record> {
        let mut soa = self.set(&self.origin, RecordType::SOA).first().cloned()?;
        // RFC 2308 section 3: as long as it says of what is not there.
        if let RData::SOA(data) = &soa.data {
            soa.ttl = soa.ttl.min(data.minimum);
        }
        Some(soa)
    }

    /// The records that a rollback is about, `NAME TTL TYPE DATA`.
    pub(super) fn shown(&self) -> Vec<String> {
        let told = [RecordType::CNAME, RecordType::A, RecordType::AAAA, RecordType::TXT];
        let records = self.sets.values().flatten();
        records
            .filter(|record| told.contains(&record.record_type()))
            .map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data))
            .collect()
    }

    /// The whole zone as one message, which is how it lies in a file.
    fn packed(&self) -> Result<String, SandboxError> {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.add_answers(self.sets.values().flatten().cloned());
        let bytes = message.to_vec().map_err(|error| wrong(&self.origin.to_string(), &error))?;
        Ok(BASE64_STANDARD.encode(bytes))
    }

    fn unpacked(origin: &str, text: &str) -> Result<Self, SandboxError> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|error| wrong(origin, &error))?;
        let message = Message::from_vec(&bytes).map_err(|error| wrong(origin, &error))?;
        let name = Name::from_ascii(origin).map_err(|error| wrong(origin, &error))?;
        let mut zone = Self { origin: name, sets: Sets::new() };
        message.answers.into_iter().for_each(|record| zone.insert(record));
        Ok(zone)
    }
}

fn wrong(what: &str, why: &dyn std::fmt::Display) -> SandboxError {
    SandboxError::Process(format!("read the zone of {what}: {why}"))
}

/// The zones of a server, and the file that keeps them.
#[derive(Debug)]
pub(super) struct Zones {
    path: PathBuf,
    zones: Vec<Zone>,
}

impl Zones {
    /// Those of the file; none when there is no file yet.
    pub(super) fn open(path: &Path) -> Result<Self, SandboxError> {
        let mut zones = Vec::new();
        if path.exists() {
            let kept: BTreeMap<String, String> = store::read_json(path)?;
            for (origin, text) in kept {
                zones.push(Zone::unpacked(&origin, &text)?);
            }
        }
        Ok(Self { path: path.to_owned(), zones })
    }

    pub(super) fn all(&self) -> &[Zone] {
        &self.zones
    }

    /// Replaces a zone, or adds it, and writes all of them down.
    pub(super) fn put(&mut self, zone: Zone) -> Result<(), SandboxError> {
        match self.zones.iter_mut().find(|other| other.origin == zone.origin) {
            Some(other) => *other = zone,
            None => self.zones.push(zone),
        }
        let kept = self.zones.iter().map(|zone| Ok((zone.origin.to_ascii(), zone.packed()?)));
        let kept: BTreeMap<String, String> = kept.collect::<Result<_, SandboxError>>()?;
        store::write_json(&self.path, &kept)
    }

    /// The zone that a name lies in: of several, the deepest.
    pub(super) fn zone_of(&self, name: &Name) -> Option<&Zone> {
        let around = self.zones.iter().filter(|zone| zone.origin.zone_of(name));
        around.max_by_key(|zone| zone.origin.num_labels())
    }

    /// Fills in what is known about a name, with authority.
    pub(super) fn answer(&self, name: &Name, kind: RecordType, answer: &mut Message) {
        answer.metadata.authoritative = true;
        let mut at = name.clone();
        for step in 0..MOST_ALIASES {
            let Some(zone) = self.zone_of(&at) else {
                if step == 0 {
                    answer.metadata.authoritative = false;
                    answer.metadata.response_code = ResponseCode::Refused;
                }
                return;
            };
            let source = zone.source(&at);
            let here = |record: &Record| {
                let mut record = record.clone();
                record.name.clone_from(&at);
                record
            };
            let found = zone.set(&source, kind);
            if !found.is_empty() {
                answer.add_answers(found.iter().map(here));
                return;
            }
            if let [alias @ Record { data: RData::CNAME(target), .. }, ..] =
                zone.set(&source, RecordType::CNAME)
            {
                answer.add_answer(here(alias));
                at = target.0.clone();
                continue;
            }
            answer.add_authorities(zone.soa());
            if !zone.has(&source) {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            return;
        }
    }
}
