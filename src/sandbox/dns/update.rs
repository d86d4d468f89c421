//! Updates of a zone (RFC 2136 section 3): what must be there, then what goes and what comes, as a whole or not at all.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::Zone;

/// The types whose records at the top of a zone an update may not take away.
const KEPT: [RecordType; 2] = [RecordType::SOA, RecordType::NS];

/// Carries an update out: the zone as it is then, or why not.
pub(super) fn carry_out(zone: &Zone, update: &Message) -> Result<Zone, ResponseCode> {
    let sections = update.answers.iter().chain(&update.authorities);
    if sections.clone().any(|record| !zone.origin.zone_of(&record.name)) {
        return Err(ResponseCode::NotZone);
    }
    prerequisites(zone, &update.answers)?;
    let mut changed = zone.clone();
    for record in &update.authorities {
        apply(&mut changed, record)?;
    }
    changed.sets.retain(|_, set| !set.is_empty());
    if differs(&changed, zone) {
        changed.set_serial(zone.serial().wrapping_add(1));
    }
    Ok(changed)
}

/// Records count as equal whatever their TTL, and a new TTL is a change.
fn differs(one: &Zone, other: &Zone) -> bool {
    let ttls =
        |zone: &Zone| zone.sets.values().flatten().map(|record| record.ttl).collect::<Vec<_>>();
    one != other || ttls(one) != ttls(other)
}

/// Section 3.2.
fn prerequisites(zone: &Zone, wanted: &[Record]) -> Result<(), ResponseCode> {
    for record in wanted {
        let (name, kind) = (&record.name, record.record_type());
        let (in_use, there) = (zone.kinds(name).next().is_some(), !zone.set(name, kind).is_empty());
        let holds = match (record.dns_class, kind) {
            (DNSClass::ANY, RecordType::ANY) if !in_use => Err(ResponseCode::NXDomain),
            (DNSClass::ANY, kind) if kind != RecordType::ANY && !there => {
                Err(ResponseCode::NXRRSet)
            }
            (DNSClass::NONE, RecordType::ANY) if in_use => Err(ResponseCode::YXDomain),
            (DNSClass::NONE, kind) if kind != RecordType::ANY && there => {
                Err(ResponseCode::YXRRSet)
            }
            (DNSClass::ANY | DNSClass::NONE, _) => Ok(()),
            (DNSClass::IN, _) => same(zone, wanted, name, kind),
            _ => Err(ResponseCode::FormErr),
        };
        holds?;
    }
    Ok(())
}

/// Whether a zone has exactly the records of this name and type that are wanted, whatever their TTL.
fn same(zone: &Zone, wanted: &[Record], name: &Name, kind: RecordType) -> Result<(), ResponseCode> {
    let wanted = wanted.iter().filter(|record| {
        record.dns_class == DNSClass::IN && record.name == *name && record.record_type() == kind
    });
    let (wanted, there): (Vec<&RData>, _) =
        (wanted.map(|record| &record.data).collect(), zone.set(name, kind));
    let equal =
        wanted.len() == there.len() && there.iter().all(|record| wanted.contains(&&record.data));
    if equal { Ok(()) } else { Err(ResponseCode::NXRRSet) }
}

/// Section 3.4.2.
fn apply(zone: &mut Zone, record: &Record) -> Result<(), ResponseCode> {
    let (name, kind) = (&record.name, record.record_type());
    let top = *name == zone.origin;
    match (record.dns_class, kind) {
        (DNSClass::ANY, RecordType::ANY) => {
            zone.sets.retain(|(owner, kind), _| owner != name || (top && KEPT.contains(kind)));
        }
        (DNSClass::ANY, kind) if !(top && KEPT.contains(&kind)) => {
            zone.sets.remove(&(name.clone(), kind));
        }
        (DNSClass::NONE, kind) if !(top && KEPT.contains(&kind)) => {
            if let Some(set) = zone.sets.get_mut(&(name.clone(), kind)) {
                set.retain(|other| other.data != record.data);
            }
        }
        (DNSClass::ANY | DNSClass::NONE, _) => {}
        (DNSClass::IN, _) => add(zone, record),
        _ => return Err(ResponseCode::FormErr),
    }
    Ok(())
}

/// What may not be stored is left out without a word, and an alias replaces the one that is there (section 3.4.2.2).
fn add(zone: &mut Zone, record: &Record) {
    let (name, kind) = (&record.name, record.record_type());
    let others = zone.sets.iter().filter(|((owner, _), set)| owner == name && !set.is_empty());
    let excluded = match kind {
        RecordType::CNAME => others.into_iter().any(|((_, other), _)| *other != RecordType::CNAME),
        _ => others.into_iter().any(|((_, other), _)| *other == RecordType::CNAME),
    };
    if excluded || kind == RecordType::SOA {
        return;
    }
    if kind == RecordType::CNAME {
        zone.sets.remove(&(name.clone(), kind));
    }
    zone.insert(record.clone());
}
