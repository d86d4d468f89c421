//! Domain records (`/v2/domains/{domain}/records`). What the description leaves open is as clients of the real API have found it: the
//! least TTL is 30 s, names in answers are relative, and the data of a CNAME comes back without its last dot.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::account::{Holdings, Refusal};

/// The least TTL, in seconds.
const LEAST_TTL: u64 = 30;
/// The TTL of a record that says none.
const TTL: u64 = 1800;
/// The types whose data is a name.
const NAMES: [&str; 3] = ["CNAME", "MX", "NS"];

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its identifier.
    pub id: u64,
    /// `CNAME`, `A` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name below the domain, or `@`.
    pub name: String,
    /// What it says; names without the last dot.
    pub data: String,
    /// In seconds.
    pub ttl: u64,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its records.
    pub records: Vec<Record>,
}

impl Record {
    /// A record in the form of the API.
    pub(super) fn shown(&self) -> Value {
        json!({
            "id": self.id, "type": self.kind, "name": self.name, "data": self.data, "priority": null, "port": null,
            "ttl": self.ttl, "weight": null, "flags": null, "tag": null,
        })
    }

    fn full_name(&self, domain: &str) -> String {
        if self.name == "@" { domain.to_owned() } else { format!("{}.{domain}", self.name) }
    }
}

impl Domain {
    /// The records of this type and full name, where they are asked for.
    pub(super) fn records(&self, kind: Option<&str>, name: Option<&str>) -> Vec<&Record> {
        let wanted = |record: &&Record| {
            kind.is_none_or(|kind| record.kind == kind)
                && name.is_none_or(|name| record.full_name(&self.name).eq_ignore_ascii_case(name))
        };
        self.records.iter().filter(wanted).collect()
    }

    /// A CNAME stands alone at its name (RFC 1034 section 3.6.2).
    fn check(&self, wanted: &Record) -> Result<(), Refusal> {
        let same =
            self.records.iter().filter(|other| other.id != wanted.id && other.name == wanted.name);
        for other in same {
            if other.kind == "CNAME" || wanted.kind == "CNAME" {
                return Err(Refusal::unprocessable(
                    "CNAME records cannot share a name with other records",
                ));
            }
            if other == &(Record { id: other.id, ..wanted.clone() }) {
                return Err(Refusal::unprocessable(
                    "Data needs to be unique (record already exists)",
                ));
            }
        }
        Ok(())
    }
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::unprocessable(format!("{name} is not a text"))),
    }
}

/// Sets the fields of a record that a body has.
fn fill(record: &mut Record, body: &Map<String, Value>) -> Result<(), Refusal> {
    let kind =
        text(body, "type")?.ok_or_else(|| Refusal::unprocessable("Record type can't be blank"))?;
    kind.clone_into(&mut record.kind);
    if let Some(name) = text(body, "name")? {
        name.clone_into(&mut record.name);
    }
    if let Some(data) = text(body, "data")? {
        if NAMES.contains(&kind) && !data.ends_with('.') && data != "@" {
            return Err(Refusal::unprocessable("Data needs to end with a dot (.)"));
        }
        data.strip_suffix('.').unwrap_or(data).clone_into(&mut record.data);
    }
    match body.get("ttl") {
        None | Some(Value::Null) => {}
        Some(ttl) => match ttl.as_u64() {
            Some(ttl) if ttl >= LEAST_TTL => record.ttl = ttl,
            Some(_) => {
                return Err(Refusal::unprocessable("Ttl must be greater than or equal to 30"));
            }
            None => return Err(Refusal::unprocessable("Ttl is not a number")),
        },
    }
    if record.data.is_empty() || record.name.is_empty() {
        return Err(Refusal::unprocessable("Name and data can't be blank"));
    }
    Ok(())
}

impl Holdings {
    pub(super) fn domain(&self, name: &str) -> Result<&Domain, Refusal> {
        self.domains.iter().find(|domain| domain.name == name).ok_or_else(Refusal::not_found)
    }

    fn domain_mut(&mut self, name: &str) -> Result<&mut Domain, Refusal> {
        self.domains.iter_mut().find(|domain| domain.name == name).ok_or_else(Refusal::not_found)
    }

    pub(super) fn record(&self, domain: &str, id: u64) -> Result<&Record, Refusal> {
        let domain = self.domain(domain)?;
        domain.records.iter().find(|record| record.id == id).ok_or_else(Refusal::not_found)
    }

    pub(super) fn add_record(
        &mut self,
        domain: &str,
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let id = self.serial + 1;
        let found = self.domain_mut(domain)?;
        let (kind, name, data) = (String::new(), "@".to_owned(), String::new());
        let mut record = Record { id, kind, name, data, ttl: TTL };
        fill(&mut record, body)?;
        found.check(&record)?;
        let effect = format!("create record {} {}", record.kind, record.full_name(domain));
        let shown = record.shown();
        found.records.push(record);
        self.serial = id;
        Ok((effect, json!({"domain_record": shown})))
    }

    pub(super) fn set_record(
        &mut self,
        (domain, id): (&str, u64),
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let mut record = self.record(domain, id)?.clone();
        fill(&mut record, body)?;
        let found = self.domain_mut(domain)?;
        found.check(&record)?;
        let effect = format!("change record {} {}", record.kind, record.full_name(domain));
        let shown = record.shown();
        found.records.iter_mut().filter(|old| old.id == id).for_each(|old| *old = record.clone());
        Ok((effect, json!({"domain_record": shown})))
    }

    pub(super) fn remove_record(&mut self, domain: &str, id: u64) -> Result<(String, ()), Refusal> {
        let record = self.record(domain, id)?.clone();
        self.domain_mut(domain)?.records.retain(|old| old.id != id);
        Ok((format!("delete record {} {}", record.kind, record.full_name(domain)), ()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::seeds::Seed;
    use super::*;

    fn body(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn records_are_made_changed_and_found_by_their_full_name() {
        let mut all = Seed::default().domain("example.net").holdings();
        let find = |all: &Holdings, kind: Option<&str>, name: Option<&str>| {
            let domain = all.domain("example.net").unwrap().clone();
            domain.records(kind, name).into_iter().cloned().collect::<Vec<_>>()
        };
        let agent = find(&all, Some("CNAME"), Some("agent.example.net"));
        assert_eq!(agent.len(), 1);
        assert_eq!(find(&all, None, Some("agent")), []);
        let place = ("example.net", agent[0].id);
        let change = json!({"type": "CNAME", "data": "old.example.com.", "ttl": 30});
        let (effect, given) = all.set_record(place, &body(&change)).unwrap();
        assert_eq!(effect, "change record CNAME agent.example.net");
        assert_eq!(given["domain_record"]["data"], "old.example.com");
        for (bad, why) in [
            (json!({"type": "CNAME", "ttl": 29}), "Ttl"),
            (json!({"data": "old.example.com."}), "type"),
            (json!({"type": "CNAME", "data": "old.example.com"}), "dot"),
        ] {
            let refusal = all.set_record(place, &body(&bad)).unwrap_err();
            assert!(refusal.status == 422 && refusal.message.contains(why), "{refusal:?}");
        }
        let beside = json!({"type": "A", "name": "agent", "data": "192.0.2.1"});
        assert_eq!(all.add_record("example.net", &body(&beside)).unwrap_err().status, 422);
        let other = json!({"type": "A", "name": "other", "data": "192.0.2.1"});
        let (_, given) = all.add_record("example.net", &body(&other)).unwrap();
        assert_eq!(given["domain_record"]["ttl"], 1800);
        let id = given["domain_record"]["id"].as_u64().unwrap();
        assert!(all.remove_record("example.net", id).is_ok());
        assert_eq!(all.remove_record("example.net", id).unwrap_err().status, 404);
    }
}
