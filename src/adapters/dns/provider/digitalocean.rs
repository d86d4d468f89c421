//! Records of DigitalOcean's domains (<https://docs.digitalocean.com/reference/api/>, "Domain Records").
//!
//! The API has neither prerequisites nor transactions: records are read, compared, changed one by one by their ids, and read again. A name with
//! one record is rewritten in place by one request, and is never without it.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::keeper::{Change, Held, Keeper, Kept, Noted};
use crate::action::{ActionError, ErrorKind, StepContext};
use crate::adapters::digitalocean::{DigitalOcean, DigitalOceanConnection, segment};
use crate::adapters::dns::name::{Datum, DomainName, Kind, RecordSet, shown};
use crate::adapters::http::Method;
use crate::secret::Secrets;

/// The domains of an account.
pub(in crate::adapters::dns) struct Domains(DigitalOcean);

#[derive(Deserialize)]
struct RecordEntry {
    id: u64,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    ttl: Option<u32>,
}

impl Domains {
    pub(in crate::adapters::dns) fn new(
        settings: DigitalOceanConnection,
        secrets: Arc<Secrets>,
    ) -> Result<Self, ActionError> {
        DigitalOcean::new(settings, secrets).map(Self)
    }

    /// The domain of the account that a name lies in, and what is at that name.
    async fn records(
        &self,
        cx: &StepContext,
        name: &DomainName,
    ) -> Result<(DomainName, Vec<RecordEntry>), ActionError> {
        for domain in name.upwards().filter(|domain| domain.as_str().contains('.')) {
            let doing = format!("read {name} in the domain {domain} at digitalocean");
            let name = segment(name.as_str());
            let path = format!("/v2/domains/{}/records?name={name}", segment(domain.as_str()));
            match self.0.list::<RecordEntry>(cx, &doing, &path, "domain_records").await {
                Ok(records) => return Ok((domain, records)),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let text = format!("find the domain of {name} at digitalocean: the account has none");
        Err(ActionError::new(ErrorKind::NotFound, text)
            .hint("Is the zone kept elsewhere, or does the token belong to another team?"))
    }
}

/// What a record says. A name may be the domain's own, `@`.
fn datum(kind: Kind, data: &str, domain: &DomainName) -> Result<Datum, String> {
    match (kind, data) {
        (Kind::Cname, "@") => Datum::parse(kind, domain.as_str()),
        _ => Datum::parse(kind, data),
    }
}

#[async_trait]
impl Keeper for Domains {
    fn place(&self) -> String {
        "digitalocean".to_owned()
    }

    fn is_public(&self) -> bool {
        true
    }

    async fn held(
        &self,
        cx: &StepContext,
        name: &DomainName,
        kind: Kind,
    ) -> Result<Held, ActionError> {
        let (domain, found) = self.records(cx, name).await?;
        let doing = format!("read {kind} {name} at digitalocean");
        let within = name.within(&domain);
        let here = found.into_iter().filter(|record| record.name.eq_ignore_ascii_case(&within));
        let mut held = Held::default();
        let mut beside = Vec::new();
        for record in here {
            if record.kind != kind.word() {
                if kind == Kind::Cname || record.kind == Kind::Cname.word() {
                    beside.push(record.kind);
                }
                continue;
            }
            let data = record.data.unwrap_or_default();
            let datum = datum(kind, &data, &domain)
                .map_err(|why| ActionError::new(ErrorKind::Failed, format!("{doing}: {why}")))?;
            let (id, ttl) = (record.id.to_string(), record.ttl.unwrap_or_default());
            held.records.push(Kept { id, datum, ttl });
        }
        beside.dedup();
        held.beside = (!beside.is_empty()).then(|| beside.join(" and "));
        held.set = held.records.first().map(|first| RecordSet {
            ttl: first.ttl,
            values: held.records.iter().map(|record| record.datum.clone()).collect(),
        });
        held.kept_for = held.records.iter().map(|record| record.ttl).max().unwrap_or(0);
        Ok(held)
    }

    async fn change(&self, cx: &StepContext, change: &Change<'_>) -> Result<(), ActionError> {
        let Change { name, kind, to, .. } = change;
        let (domain, _) = self.records(cx, name).await?;
        let doing = format!("set {name} to {}", shown(*kind, *to));
        let path = format!("/v2/domains/{}/records", segment(domain.as_str()));
        let (steps, ttl) = (change.steps(), to.map(|set| set.ttl));
        let data = |datum: &Datum| match kind {
            // A name without the dot would be taken for one below the domain.
            Kind::Cname => format!("{}.", datum.as_str()),
            Kind::Txt => datum.plain(),
            Kind::A | Kind::Aaaa => datum.as_str().to_owned(),
        };
        if steps.count() > 1 {
            Noted::Parts.down(cx).await?;
        }
        // What is there is rewritten first and removed last, so that there is always something to be found.
        for (id, datum) in &steps.rewritten {
            let body = json!({"type": kind.word(), "data": data(datum), "ttl": ttl}).to_string();
            let path = format!("{path}/{}", segment(id));
            let _record: Value = self.0.send(cx, &doing, Method::Patch, &path, Some(body)).await?;
        }
        for datum in &steps.added {
            let body = json!({
                "type": kind.word(), "name": name.within(&domain), "data": data(datum), "ttl": ttl,
            });
            let body = Some(body.to_string());
            let _record: Value = self.0.send(cx, &doing, Method::Post, &path, body).await?;
        }
        for id in &steps.removed {
            self.0.tell(cx, &doing, Method::Delete, &format!("{path}/{}", segment(id))).await?;
        }
        Ok(())
    }
}
