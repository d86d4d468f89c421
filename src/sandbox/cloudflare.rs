//! Zones of Cloudflare (<https://developers.cloudflare.com/api/resources/dns/subresources/records/>): as much of API v4 as reads records
//! and changes them in batches, and has them served by the world's name servers.
//!
//! A record that is proxied is served as addresses of Cloudflare's, and its own data are seen through the API alone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::{Path as Part, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dns::NameServers;
use super::faults::{Double, Faults};
use super::ledger::Ledger;
use super::wire::{Front, plain_refusal, routed};
use super::{SandboxError, store};

/// What "automatic" is.
const AUTOMATIC: u32 = 1;
/// What others are told of it, in seconds.
const AUTOMATIC_LASTS: u32 = 300;
/// Where a proxied name leads.
const EDGE: &str = "104.16.0.1";

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its name, absolute without the dot at its end.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its data; of a TXT record in quotes.
    pub content: String,
    /// How long others may keep it, in seconds; 1 is "automatic".
    pub ttl: u32,
    /// Whether Cloudflare answers for it.
    pub proxied: bool,
}

impl Record {
    /// As Cloudflare keeps it: the TTL of one that is proxied is always automatic.
    fn normal(self) -> Self {
        let ttl = if self.proxied { AUTOMATIC } else { self.ttl };
        Self { ttl, ..self }
    }
}

/// The zones of one account.
#[derive(Debug, Clone)]
pub struct Cloudflare(Arc<Account>);

#[derive(Debug)]
struct Account {
    path: PathBuf,
    token: String,
    /// The zone's name, which is its id, too.
    zone: String,
    records: Mutex<Vec<Record>>,
    names: NameServers,
    ledger: Ledger,
}

/// A complaint: status, code and text.
struct Refusal(StatusCode, i64, &'static str);

impl Cloudflare {
    /// Opens one zone with what its file holds, and has it served by `names`.
    pub fn open(
        path: &Path,
        (zone, token): (&str, &str),
        names: NameServers,
        ledger: Ledger,
    ) -> Result<Self, SandboxError> {
        let records = if path.exists() { store::read_json(path)? } else { Vec::new() };
        let (path, token, zone) = (path.to_owned(), token.to_owned(), zone.to_owned());
        let account = Account { path, token, zone, records: Mutex::new(records), names, ledger };
        Ok(Self(Arc::new(account)))
    }

    /// The front of its API, below `/client/v4`.
    pub fn front(&self, faults: Option<Faults>) -> Front {
        let router = axum::Router::new()
            .route("/client/v4/zones", get(zones))
            .route("/client/v4/zones/{zone}/dns_records", get(list))
            .route("/client/v4/zones/{zone}/dns_records/batch", post(batch))
            .with_state(self.0.clone());
        Front {
            faults: faults.map(|faults| (Double::Dns, faults)),
            handler: routed(router),
            refuse: plain_refusal,
        }
    }

    /// The records.
    pub fn records(&self) -> Vec<Record> {
        self.0.records().clone()
    }

    /// Puts a record there as its owner would by hand.
    pub fn put(&self, record: Record) -> Result<(), SandboxError> {
        let record = record.normal();
        let mut records = self.0.records();
        records.retain(|other| other.id != record.id);
        let touched = (record.name.clone(), record.kind.clone());
        records.push(record);
        self.0.keep(&records, &[touched])
    }
}

impl Account {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        if given == Some(&format!("Bearer {}", self.token)) {
            return Ok(());
        }
        Err(Refusal(StatusCode::FORBIDDEN, 10_000, "Authentication error"))
    }

    /// Writes the records down, and has those names and types served that were touched.
    fn keep(&self, records: &[Record], touched: &[(String, String)]) -> Result<(), SandboxError> {
        store::write_json(&self.path, &records)?;
        for (name, kind) in touched {
            let own: Vec<&Record> =
                records.iter().filter(|r| r.name == *name && r.kind == *kind).collect();
            let data = own.iter().filter(|record| !record.proxied).map(|record| served(record));
            let ttl = own.first().map_or(AUTOMATIC, |record| record.ttl);
            let ttl = if ttl == AUTOMATIC { AUTOMATIC_LASTS } else { ttl };
            let absolute = format!("{name}.");
            self.names.publish(&absolute, ttl, kind, &data.collect::<Vec<_>>())?;
            if own.iter().any(|record| record.proxied) {
                self.names.publish(&absolute, AUTOMATIC_LASTS, "A", &[EDGE.to_owned()])?;
            }
        }
        Ok(())
    }
}

/// The data as a zone file has them.
fn served(record: &Record) -> String {
    match record.kind.as_str() {
        "CNAME" => format!("{}.", record.content.trim_end_matches('.')),
        _ => record.content.clone(),
    }
}

fn told<T: Serialize>(outcome: Result<T, Refusal>) -> Response {
    match outcome {
        Ok(result) => {
            let body = json!({"success": true, "errors": [], "messages": [], "result": result});
            Json(body).into_response()
        }
        Err(Refusal(status, code, message)) => {
            let errors = json!([{"code": code, "message": message}]);
            let body = json!({"success": false, "errors": errors, "messages": [], "result": null});
            (status, Json(body)).into_response()
        }
    }
}

#[derive(Debug, Deserialize)]
struct Filter {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

async fn zones(
    State(account): State<Arc<Account>>,
    headers: HeaderMap,
    Query(filter): Query<Filter>,
) -> Response {
    told(account.authorize(&headers).map(|()| {
        let own = filter.name.is_none_or(|name| name == account.zone);
        let zone = json!({"id": account.zone, "name": account.zone, "status": "active"});
        own.then_some(zone).into_iter().collect::<Vec<Value>>()
    }))
}

async fn list(
    State(account): State<Arc<Account>>,
    headers: HeaderMap,
    Part(zone): Part<String>,
    Query(filter): Query<Filter>,
) -> Response {
    told(account.authorize(&headers).and_then(|()| {
        if zone != account.zone {
            return Err(Refusal(StatusCode::NOT_FOUND, 7_003, "Could not route to the zone"));
        }
        let mut records = account.records().clone();
        records.retain(|record| {
            filter.name.as_ref().is_none_or(|name| record.name == *name)
                && filter.kind.as_ref().is_none_or(|kind| record.kind == *kind)
        });
        Ok(records)
    }))
}

#[derive(Debug, Default, Deserialize)]
struct Batch {
    #[serde(default)]
    deletes: Vec<Deletion>,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(default)]
    posts: Vec<Post>,
}

#[derive(Debug, Deserialize)]
struct Deletion {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Patch {
    id: String,
    content: Option<String>,
    ttl: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Post {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    content: String,
    ttl: u32,
    #[serde(default)]
    proxied: bool,
}

async fn batch(
    State(account): State<Arc<Account>>,
    headers: HeaderMap,
    Part(zone): Part<String>,
    Json(batch): Json<Batch>,
) -> Response {
    told(account.authorize(&headers).and_then(|()| {
        if zone != account.zone {
            return Err(Refusal(StatusCode::NOT_FOUND, 7_003, "Could not route to the zone"));
        }
        account.change(batch)
    }))
}

impl Account {
    /// All of a batch or nothing, in the order of the API: what goes, what is changed, what comes.
    fn change(&self, batch: Batch) -> Result<Value, Refusal> {
        let mut records = self.records();
        let mut fresh = records.clone();
        let mut touched = Vec::new();
        let absent = || Refusal(StatusCode::NOT_FOUND, 81_044, "Record does not exist.");
        for Deletion { id } in batch.deletes {
            let at = fresh.iter().position(|record| record.id == id).ok_or_else(absent)?;
            let gone = fresh.remove(at);
            touched.push((gone.name, gone.kind));
        }
        for patch in batch.patches {
            let record =
                fresh.iter_mut().find(|record| record.id == patch.id).ok_or_else(absent)?;
            record.content = patch.content.unwrap_or_else(|| record.content.clone());
            record.ttl = patch.ttl.unwrap_or(record.ttl);
            touched.push((record.name.clone(), record.kind.clone()));
        }
        for post in batch.posts {
            let Post { name, kind, content, ttl, proxied } = post;
            let id = uuid::Uuid::new_v4().simple().to_string();
            touched.push((name.clone(), kind.clone()));
            fresh.push(Record { id, name, kind, content, ttl, proxied });
        }
        sound(&fresh)?;
        fresh = fresh.into_iter().map(Record::normal).collect();
        touched.dedup();
        self.keep(&fresh, &touched).map_err(|error| {
            tracing::error!(%error, "failed to keep the records");
            Refusal(StatusCode::INTERNAL_SERVER_ERROR, 1_000, "internal error")
        })?;
        *records = fresh;
        for (name, kind) in touched {
            self.ledger.record(&format!("dns change {kind} {name}"));
        }
        Ok(json!({"deletes": [], "patches": [], "puts": [], "posts": []}))
    }
}

/// Whether Cloudflare would have them.
fn sound(records: &[Record]) -> Result<(), Refusal> {
    let complain = |code, text| Err(Refusal(StatusCode::BAD_REQUEST, code, text));
    for (index, record) in records.iter().enumerate() {
        if record.ttl != AUTOMATIC && !(60..=86_400).contains(&record.ttl) {
            return complain(
                9_021,
                "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.",
            );
        }
        for other in records.iter().skip(index + 1).filter(|other| other.name == record.name) {
            let aliases = [record, other].into_iter().filter(|one| one.kind == "CNAME").count();
            let addresses =
                [record, other].into_iter().any(|one| matches!(one.kind.as_str(), "A" | "AAAA"));
            if aliases == 2 || (aliases == 1 && addresses) {
                return complain(
                    81_053,
                    "An A, AAAA, or CNAME record with that host already exists.",
                );
            }
            if record.kind == other.kind && record.content == other.content {
                return complain(81_058, "An identical record already exists.");
            }
        }
    }
    Ok(())
}
