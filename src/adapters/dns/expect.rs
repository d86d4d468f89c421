//! `dns.expect`: what the authoritative servers say, and whether the caches have heard of it.
//!
//! Every authoritative server is asked, over and over until all agree. That a change has *propagated* can be asked of the caches that one
//! knows. That it has reached everybody can be asked of nobody: it follows from the TTL of the former record, counted from the moment
//! at which no authoritative server gave it out any more ([`mark`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::{Dns, located, patience};
use super::connection::{Server, invalid};
use super::lookup::{Authority, follow};
use super::mark::{self, Mark};
use super::name::{Datum, DomainName, Kind, RecordSet, listed, shown, ttl};
use super::point::{Values, resource};
use super::propagation;
use super::reading::{Told, read_all};
use crate::action::{
    ActionError, Answer, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::value::{Lasting, brief};

/// The arguments of `dns.expect`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DnsExpect")]
pub(super) struct Expect {
    /// The name that is asked about.
    name: DomainName,
    /// The type of the records.
    #[serde(rename = "type")]
    kind: Kind,
    /// What they say: a name, an address or a text, or a list that is the whole set. Without it they only have to be there, and the
    /// same on every authoritative server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Values>,
    /// The bound of their TTL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<TtlBound>,
    /// Whether the caches of resolvers must have it, too: `true` for those of the environment, or `{resolvers: […]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    propagated: Option<Propagated>,
    /// Whether every cache that may hold the former records must have dropped them, which is so when their TTL has passed since
    /// `dns.point` of this run was seen on all authoritative servers. With `{former_ttl: 30m}` also where this run has not changed them: then it
    /// counts from its first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caches_expired: Option<CachesExpired>,
}

/// The bound of a TTL.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TtlBound {
    /// The longest that others may keep it.
    at_most: Lasting,
}

/// Whose caches are asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Propagated {
    /// Those of the environment's resolvers, or nobody's.
    Configured(bool),
    /// Those of these.
    Resolvers(Resolvers),
}

/// Recursive servers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolvers {
    /// Their addresses.
    resolvers: Vec<Server>,
}

/// Whether caches are waited for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum CachesExpired {
    /// By what this run knows.
    Known(bool),
    /// Or by this TTL, where it knows nothing.
    Otherwise(FormerTtl),
}

/// What is not known from the run itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FormerTtl {
    /// The TTL that the former records had.
    former_ttl: Lasting,
}

impl Expect {
    fn wanted(&self) -> Result<Option<BTreeSet<Datum>>, String> {
        self.value
            .as_ref()
            .map(|value| value.data(self.kind).map_err(|why| format!("`value`: {why}")))
            .transpose()
    }

    fn asks_caches(&self) -> bool {
        !matches!(self.propagated, None | Some(Propagated::Configured(false)))
    }

    fn waits_for_caches(&self) -> bool {
        !matches!(self.caches_expired, None | Some(CachesExpired::Known(false)))
    }
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "dns.expect";
    const SUMMARY: &'static str =
        "Ask every authoritative server, and the caches, where a name points";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        match &self.propagated {
            Some(Propagated::Resolvers(given)) if given.resolvers.is_empty() => {
                return Err("`propagated` names no resolver".to_owned());
            }
            _ => {}
        }
        self.wanted().map(drop)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let dns = Dns::of(&cx.connections)?;
        let wanted = item.wanted().map_err(|why| {
            ActionError::new(ErrorKind::Invalid, format!("use `{}`: {why}", Self::NAME))
        })?;
        Ok(Work::Probe(Box::new(Asking { dns, args: item, wanted })))
    }
}

struct Asking {
    dns: Arc<Dns>,
    args: Expect,
    wanted: Option<BTreeSet<Datum>>,
}

/// Why it does not hold.
enum Miss {
    /// It is another.
    Differs(String),
    /// Nobody said.
    Unknown(String),
}

/// What is found out, or why it does not hold.
type Found<T> = Result<Result<T, Miss>, ActionError>;

impl Asking {
    async fn look(&self, cx: &StepContext) -> Found<Evidence> {
        let Expect { name, kind, .. } = &self.args;
        if let Some(predicted) = cx.predicted(&resource(name, *kind)) {
            return Ok(self.compare_predicted(predicted));
        }
        let mut facts = Map::new();
        let set = match self.authoritative(cx, &mut facts).await? {
            Ok(set) => set,
            Err(miss) => return Ok(Err(miss)),
        };
        let mut summary = format!("{name} is {}", shown(*kind, Some(&set)));
        for part in
            [self.propagated(cx, &set, &mut facts).await?, self.caches_expired(cx, &mut facts)?]
        {
            match part {
                Ok(told) => summary.push_str(&told),
                Err(miss) => return Ok(Err(miss)),
            }
        }
        Ok(Ok(Evidence::with(summary, Value::Object(facts))))
    }

    /// With what an earlier step of the plan will write. Caches are not foretold: they will be waited for.
    fn compare_predicted(&self, predicted: Value) -> Result<Evidence, Miss> {
        let set: RecordSet = serde_json::from_value(predicted)
            .map_err(|error| Miss::Unknown(format!("the prediction cannot be read: {error}")))?;
        self.compare(&set)?;
        Ok(Evidence::new(format!(
            "{} will be {}",
            self.args.name,
            shown(self.args.kind, Some(&set))
        )))
    }

    fn compare(&self, set: &RecordSet) -> Result<(), Miss> {
        let kind = self.args.kind;
        if let Some(wanted) = &self.wanted
            && set.values != *wanted
        {
            let (there, wanted) = (shown(kind, Some(set)), listed(wanted));
            return Err(Miss::Differs(format!("{there}, wanted {wanted}")));
        }
        match self.args.ttl {
            Some(bound) if set.lasts() > bound.at_most.0 => Err(Miss::Differs(format!(
                "the ttl is {}, wanted at most {}",
                ttl(set.ttl),
                brief(bound.at_most.0)
            ))),
            _ => Ok(()),
        }
    }

    /// What all authoritative servers say, if they agree.
    async fn authoritative(
        &self,
        cx: &StepContext,
        facts: &mut Map<String, Value>,
    ) -> Found<RecordSet> {
        let Expect { name, kind, .. } = &self.args;
        if let Some(keeper) = self.dns.keeper_if_any()
            && !keeper.is_public()
        {
            let held = keeper.held(cx, name, *kind).await?;
            if let (true, Some(mut set)) = (held.proxied, held.set) {
                set.ttl = keeper.served_ttl(set.ttl);
                facts.insert("proxied".to_owned(), json!(true));
                return Ok(self.compare(&set).map(|()| set));
            }
        }
        let authority = self.dns.authority(name, cx).await?;
        let told = read_all(&authority, name, *kind, &patience(cx)).await;
        facts.insert("servers".to_owned(), told.iter().map(Told::facts).collect());
        if cx.cancelled().is_cancelled() {
            let text = format!("ask about {name}: the run was told to stop");
            return Err(ActionError::new(ErrorKind::Cancelled, text));
        }
        let agreed = match self.agreed(&told) {
            Ok(set) => set,
            Err(miss) => return Ok(Err(miss)),
        };
        if *kind == Kind::Cname {
            facts.insert("leads_to".to_owned(), self.leads_to(cx, &authority).await);
        }
        Ok(Ok(agreed))
    }

    fn agreed(&self, told: &[Told]) -> Result<RecordSet, Miss> {
        let line = |told: &Told| told.line(self.args.kind);
        if told.iter().all(|told| told.reading.is_err()) {
            return Err(Miss::Unknown(told.iter().map(line).collect::<Vec<_>>().join("; ")));
        }
        let mut sets = Vec::new();
        for one in told {
            let set = one.reading.as_ref().ok().and_then(|reading| reading.set.as_ref());
            match set {
                Some(set) if self.compare(set).is_ok() => sets.push(set),
                _ => {}
            }
        }
        let newest = told.iter().filter_map(|told| told.serial).max();
        let newest = newest.map(|serial| format!("; the newest serial is {serial}"));
        match sets.as_slice() {
            [first, rest @ ..]
                if sets.len() == told.len() && rest.iter().all(|set| set == first) =>
            {
                Ok((*first).clone())
            }
            _ => {
                let wanted = self.wanted.as_ref().map(|data| format!(", wanted {}", listed(data)));
                let bound = self.args.ttl.map(|ttl| format!(", ttl at most {}", ttl.at_most));
                Err(Miss::Differs(format!(
                    "{}{}{}{}",
                    told.iter().map(line).collect::<Vec<_>>().join("; "),
                    wanted.unwrap_or_default(),
                    bound.unwrap_or_default(),
                    newest.filter(|_| told.len() > 1).unwrap_or_default()
                )))
            }
        }
    }

    /// Where the name leads in the end. It is told, and decides nothing.
    async fn leads_to(&self, cx: &StepContext, authority: &Authority) -> Value {
        let Ok(guides) = self.dns.guides(authority, &patience(cx)).await else {
            return Value::Null;
        };
        match follow(&guides, &self.args.name, &patience(cx)).await {
            Ok(chain) => json!({"aliases": chain.aliases, "addresses": chain.addresses}),
            Err(why) => json!({"error": why}),
        }
    }

    async fn propagated(
        &self,
        cx: &StepContext,
        set: &RecordSet,
        facts: &mut Map<String, Value>,
    ) -> Found<String> {
        if !self.args.asks_caches() {
            return Ok(Ok(String::new()));
        }
        let resolvers = match &self.args.propagated {
            Some(Propagated::Resolvers(given)) => located(&given.resolvers, &patience(cx)).await?,
            _ => self.dns.configured_resolvers(&patience(cx)).await?,
        };
        if resolvers.is_empty() {
            return Err(invalid("it names no `resolvers` whose caches could be asked").hint(
                "Add `connections: {dns: {resolvers: [ADDRESS]}}` to the environment file.",
            ));
        }
        let Expect { name, kind, .. } = &self.args;
        let asked = propagation::ask(&resolvers, name, *kind, &set.values, &patience(cx)).await;
        facts.insert("propagation".to_owned(), asked.facts());
        Ok(match asked.missing() {
            Some(missing) if asked.is_known() => Err(Miss::Differs(missing)),
            Some(missing) => Err(Miss::Unknown(missing)),
            None => Ok(format!(", also in the caches of {} resolvers", asked.asked())),
        })
    }

    /// Whether nobody can hold the former records any more. It is asked after all authoritative servers have the new ones.
    fn caches_expired(&self, cx: &StepContext, facts: &mut Map<String, Value>) -> Found<String> {
        if !self.args.waits_for_caches() {
            return Ok(Ok(String::new()));
        }
        let Expect { name, kind, .. } = &self.args;
        let mut mark = match (mark::read(cx, name, *kind)?, &self.args.caches_expired) {
            (Some(mark), _) => mark,
            (None, Some(CachesExpired::Otherwise(otherwise))) => {
                let seconds = otherwise.former_ttl.0.as_millis().div_ceil(1000);
                Mark::begun(u32::try_from(seconds).unwrap_or(u32::MAX))
            }
            (None, _) => {
                return Ok(Err(Miss::Unknown(format!(
                    "this run has not changed the {kind} of {name}, so it is not known what caches hold; `caches_expired: {{former_ttl: …}}` says how long that may be"
                ))));
            }
        };
        let before = mark.clone();
        mark.settle();
        if mark != before {
            mark::write(cx, name, *kind, &mark)?;
        }
        let left = mark.remaining().unwrap_or_default();
        facts.insert("former_ttl_s".to_owned(), mark.former_ttl.into());
        facts.insert("caches_expire_in_s".to_owned(), left.as_secs().into());
        Ok(if left.is_zero() {
            Ok(format!(
                ", and no cache holds the former records, whose ttl of {} has passed",
                ttl(mark.former_ttl)
            ))
        } else {
            Err(Miss::Differs(format!(
                "caches may hold the former records, whose ttl is {}, for {} more",
                ttl(mark.former_ttl),
                brief(left)
            )))
        })
    }
}

#[async_trait]
impl Probe for Asking {
    fn describe(&self) -> Description {
        let Expect { name, kind, ttl, .. } = &self.args;
        let mut wishes = Vec::new();
        if let Some(wanted) = &self.wanted {
            wishes.push(listed(wanted));
        }
        if let Some(bound) = ttl {
            wishes.push(format!("ttl at most {}", bound.at_most));
        }
        let mut text = format!("{kind} {name} on every authoritative server");
        if !wishes.is_empty() {
            text.push_str(&format!(": {}", wishes.join(", ")));
        }
        if self.args.asks_caches() {
            text.push_str(", and in the caches of resolvers");
        }
        if self.args.waits_for_caches() {
            text.push_str(", and no cache holds the former one");
        }
        Description::question(text)
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(match self.look(cx).await? {
            Ok(evidence) => Verdict::Holds { evidence },
            Err(Miss::Differs(observed) | Miss::Unknown(observed)) => Verdict::not_yet(observed),
        })
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        Ok(match self.look(cx).await? {
            Ok(evidence) => Answer::Yes { evidence },
            Err(Miss::Differs(observed)) => Answer::No { observed },
            Err(Miss::Unknown(reason)) => Answer::NoData { reason },
        })
    }
}
