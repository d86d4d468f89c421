//! `dns.point`: makes a name point somewhere, by compare-and-set, and reads it back from every authoritative server.
//!
//! What was there is saved with its TTL. The change is made only while the records are still the ones that were looked at. An answer that it was
//! done is no proof: a server may leave out what it must not store, so the records are read again before it counts as done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Dns, patience};
use super::mark::{self, Mark};
use super::name::{Datum, DomainName, Kind, RecordSet, listed, shown, ttl};
use super::provider::{Change, Held, Noted};
use super::reading::{Told, read_all};
use crate::action::{
    Action, ActionError, Description, ErrorKind, Evidence, Prediction, Present, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::value::Lasting;

/// The longest TTL (RFC 2181 section 8).
const LONGEST_TTL: u64 = (1 << 31) - 1;

/// The longest time in which name servers are asked before anything is sent: one that hangs must not use up the time for the change.
const LOOKS_FOR: Duration = Duration::from_secs(3);
/// The longest time in which they are waited for after a change was taken back, and the pause between two looks.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// One value, or several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "DnsValues")]
pub(super) enum Values {
    /// One.
    One(String),
    /// Several: a set, whose order means nothing.
    Several(Vec<String>),
}

impl Values {
    /// The data that they are for this type.
    pub(super) fn data(&self, kind: Kind) -> Result<BTreeSet<Datum>, String> {
        let texts = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts.as_slice(),
        };
        let data = texts.iter().map(|text| Datum::parse(kind, text));
        let data: BTreeSet<Datum> = data.collect::<Result<_, _>>()?;
        match (data.len(), kind) {
            (0, _) => Err("at least one value is needed".to_owned()),
            (2.., Kind::Cname) => Err("a name has at most one CNAME".to_owned()),
            _ => Ok(data),
        }
    }
}

/// The arguments of `dns.point`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DnsPoint")]
pub(super) struct Point {
    /// The name whose records are changed.
    name: DomainName,
    /// The type of the records. Those of other types stay as they are.
    #[serde(rename = "type")]
    kind: Kind,
    /// Where it is to point: a name for CNAME, addresses for A and AAAA, texts for TXT; one or a list.
    to: Values,
    /// How long others may keep it, in whole seconds; `60s` unless given.
    #[serde(default = "minute")]
    ttl: Lasting,
    /// Where it must point before. With anything else there nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Values>,
}

fn minute() -> Lasting {
    Lasting(Duration::from_secs(60))
}

/// What is to be there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Target {
    name: DomainName,
    kind: Kind,
    to: RecordSet,
    from: Option<BTreeSet<Datum>>,
}

impl Point {
    fn target(self) -> Result<Target, String> {
        let seconds = self.ttl.0.as_secs();
        if self.ttl.0.subsec_nanos() != 0 || seconds > LONGEST_TTL {
            return Err("`ttl` must be whole seconds".to_owned());
        }
        let ttl = u32::try_from(seconds).map_err(|_| "`ttl` is too long".to_owned())?;
        let values = self.to.data(self.kind).map_err(|why| format!("`to`: {why}"))?;
        let itself = |datum: &Datum| datum.as_str() == self.name.as_str();
        if self.kind == Kind::Cname && values.iter().any(itself) {
            return Err(format!("`to` is {} itself", self.name));
        }
        let from = self.from.map(|from| from.data(self.kind)).transpose();
        let from = from.map_err(|why| format!("`from`: {why}"))?;
        Ok(Target { name: self.name, kind: self.kind, to: RecordSet { ttl, values }, from })
    }
}

#[async_trait]
impl VerbArgs for Point {
    const NAME: &'static str = "dns.point";
    const SUMMARY: &'static str = "Make a name point somewhere, if it still points where it did";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        self.clone().target().map(drop)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        let target = self.target().map_err(|why| {
            ActionError::new(ErrorKind::Invalid, format!("use `{}`: {why}", Self::NAME))
        })?;
        Ok(vec![(String::new(), target)])
    }

    fn make(item: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        let dns = Dns::of(&cx.connections)?;
        let _kept = dns.keeper()?;
        Ok(Work::Action(Box::new(Pointing { dns, target: item })))
    }
}

struct Pointing {
    dns: Arc<Dns>,
    target: Target,
}

/// The saved state.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    /// The records that were there; `None` when there were none.
    former: Option<RecordSet>,
    /// How long others may hold them, in seconds.
    kept_for: u32,
    /// The name servers as they answered.
    servers: Vec<Value>,
    /// For the plan.
    found: String,
    /// How long the change takes to reach everybody, in seconds, for the plan.
    spreads_s: u32,
}

/// The resource of a prediction.
pub(super) fn resource(name: &DomainName, kind: Kind) -> String {
    format!("dns:{name}/{kind}")
}

impl Pointing {
    async fn held(&self, cx: &StepContext) -> Result<Held, ActionError> {
        self.dns.keeper()?.held(cx, &self.target.name, self.target.kind).await
    }

    /// What every authoritative server says. Of a record behind the provider's own proxy they say nothing.
    async fn told(&self, cx: &StepContext, held: &Held) -> Result<Vec<Told>, ActionError> {
        if held.proxied {
            return Ok(Vec::new());
        }
        let authority = self.dns.authority(&self.target.name, cx).await?;
        Ok(read_all(&authority, &self.target.name, self.target.kind, &patience(cx)).await)
    }

    /// The servers that do not have these records, in words.
    fn missing(
        &self,
        told: &[Told],
        wanted: Option<&RecordSet>,
    ) -> Result<Vec<String>, ActionError> {
        let keeper = self.dns.keeper()?;
        let served = wanted.map(|set| RecordSet { ttl: keeper.served_ttl(set.ttl), ..set.clone() });
        let has = |told: &&Told| told.reading.as_ref().is_ok_and(|reading| reading.set == served);
        let missing = told.iter().filter(|told| !has(told));
        Ok(missing.map(|told| told.line(self.target.kind)).collect())
    }

    fn doing(&self) -> String {
        let Target { name, kind, to, .. } = &self.target;
        format!("point {name} to {}", shown(*kind, Some(to)))
    }

    fn conflict(&self, why: &str) -> ActionError {
        ActionError::new(ErrorKind::Conflict, format!("{}: {why}", self.doing()))
    }

    /// Whether what is there may be changed to what is wanted.
    fn may_start(&self, cx: &StepContext, held: &Held) -> Result<(), ActionError> {
        let Target { name, kind, to, from } = &self.target;
        if let (None, Some(beside)) = (&held.set, &held.beside) {
            let why = format!("{name} has {beside}, and a CNAME stands beside nothing else");
            return Err(self.conflict(&why).hint(format!(
                "Change the records of that type instead, or remove them first; `type: {kind}` changes {kind} records alone."
            )));
        }
        let Some(from) = from else { return Ok(()) };
        match &held.set {
            Some(set) if set.values == *from || set.values == to.values => Ok(()),
            _ if self.is_half_done(cx, held, Some(from)) => Ok(()),
            set => Err(self
                .conflict(&format!(
                    "`from` says {}, and there is {}",
                    listed(from),
                    shown(*kind, set.as_ref())
                ))
                .hint(
                    "Somebody has changed it. Look who and why, then mend `from` or leave it out.",
                )),
        }
    }

    fn saved(&self, held: &Held, told: &[Told]) -> Result<Saved, ActionError> {
        let kept = told.iter().filter_map(|told| told.reading.as_ref().ok());
        let kept_for = kept.map(super::reading::Reading::kept_for).fold(held.kept_for, u32::max);
        let before = Before {
            former: held.set.clone(),
            kept_for,
            servers: told.iter().map(Told::facts).collect(),
            found: format!("now {}", shown(self.target.kind, held.set.as_ref())),
            spreads_s: kept_for,
        };
        let state = serde_json::to_value(before).map_err(|error| {
            ActionError::new(ErrorKind::Failed, "write down the records").caused_by(&error)
        })?;
        Ok(Saved::public(state))
    }

    fn before(saved: &Saved) -> Result<Before, ActionError> {
        serde_json::from_value(saved.state.clone()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read what was saved of the records")
                .caused_by(&error)
        })
    }

    /// Whether the records may be what a change that was cut off has left.
    fn is_half_done(
        &self,
        cx: &StepContext,
        held: &Held,
        former: Option<&BTreeSet<Datum>>,
    ) -> bool {
        let known = |datum: &Datum| {
            self.target.to.values.contains(datum)
                || former.is_some_and(|former| former.contains(datum))
        };
        let mixed = |set: &RecordSet| set.values.iter().all(known);
        Noted::Parts.was_by(cx) && held.set.as_ref().is_some_and(mixed)
    }

    async fn change(
        &self,
        cx: &StepContext,
        from: &Held,
        to: Option<&RecordSet>,
    ) -> Result<(), ActionError> {
        let change = Change { name: &self.target.name, kind: self.target.kind, from, to };
        self.dns.keeper()?.change(cx, &change).await
    }

    /// Reads again what was said to be done.
    async fn done(&self, cx: &StepContext, before: &Before) -> Result<(), ActionError> {
        // Without an answer nothing is known against it, and the proof from all servers is still to come.
        let Ok(held) = self.held(cx).await else { return Ok(()) };
        if held.is(Some(&self.target.to)) {
            return Ok(());
        }
        let place = self.dns.keeper()?.place();
        if let (None, None, Some(beside)) = (&before.former, &held.set, &held.beside) {
            return Err(self
                .conflict(&format!(
                    "{place} answered that it was done, and left it out: the name has {beside}, and a CNAME stands beside nothing else"
                ))
                .hint("Remove those records first, or change them instead."));
        }
        let there = shown(self.target.kind, held.set.as_ref());
        let doing = self.doing();
        Err(doubt(format!("{doing}: {place} answered that it was done, and there is {there}")))
    }

    /// Waits a little until every name server has the former records again. Those that do not are noted: the change is taken back where the
    /// records are kept, and no name server could be hurried.
    async fn follow(
        &self,
        cx: &StepContext,
        held: &Held,
        former: Option<&RecordSet>,
    ) -> Result<(), ActionError> {
        let until = Instant::now() + FOLLOWS_WITHIN.min(cx.remaining() / 2);
        let bounded = cx.clone().until(until);
        loop {
            let lagging = match self.told(&bounded, held).await {
                Ok(told) => self.missing(&told, former)?,
                Err(error) => vec![error.message],
            };
            if lagging.is_empty() {
                return Ok(());
            }
            if Instant::now() + LOOKS_EVERY >= until || cx.cancelled().is_cancelled() {
                return cx.note(json!({"not yet brought back on": lagging})).await;
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
    }

    fn evidence(&self, before: &Before, sent: bool) -> Evidence {
        let Target { name, kind, to, .. } = &self.target;
        let what = shown(*kind, Some(to));
        let summary = if sent {
            format!("{name} points to {what}")
        } else {
            format!("{name} already points to {what}")
        };
        let facts =
            json!({"name": name, "type": kind, "from": before.former, "to": to, "sent": sent});
        Evidence::with(summary, facts)
    }
}

#[async_trait]
impl Action for Pointing {
    fn describe(&self) -> Description {
        let Target { name, kind, to, from } = &self.target;
        let only = from.as_ref().map(|from| format!(", if it is {}", listed(from)));
        Description::new(
            format!("point {name} to {}{}", shown(*kind, Some(to)), only.unwrap_or_default()),
            format!("bring back the {kind} of {name} and its ttl"),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let held = self.held(cx).await?;
        // One that cannot be asked now is no reason not to begin: the proof will need it.
        let until = Instant::now() + LOOKS_FOR.min(cx.remaining() / 4);
        let told = self.told(&cx.clone().until(until), &held).await;
        let to = Some(&self.target.to);
        if let (true, Ok(told)) = (held.is(to), &told)
            && self.missing(told, to)?.is_empty()
        {
            return Ok(Readiness::AlreadyDone { evidence: self.everywhere(told) });
        }
        self.may_start(cx, &held)?;
        let saved = self.saved(&held, told.as_deref().unwrap_or_default())?;
        let Target { name, kind, to, .. } = &self.target;
        let predicted = vec![Prediction { resource: resource(name, *kind), state: json!(to) }];
        Ok(Readiness::Needed { saved, predicted })
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let before = Self::before(saved)?;
        let held = self.held(cx).await?;
        if held.is(Some(&self.target.to)) {
            // A former attempt has done it, or somebody else has.
            return Ok(self.evidence(&before, false));
        }
        let (now, was) = (values(held.set.as_ref()), values(before.former.as_ref()));
        // Only the TTL is another where a server has not stored it as it was sent.
        let known = now == was || now == Some(&self.target.to.values);
        if !known && !self.is_half_done(cx, &held, was) {
            let kind = self.target.kind;
            let (was, is) = (shown(kind, before.former.as_ref()), shown(kind, held.set.as_ref()));
            return Err(self
                .conflict(&format!("there was {was}, and now there is {is}"))
                .hint("Somebody has changed it meanwhile. Look who and why, then run it again."));
        }
        let Target { name, kind, .. } = &self.target;
        let mark = match mark::read(cx, name, *kind)? {
            Some(earlier) => Mark::begun_after(&earlier, before.kept_for),
            None => Mark::begun(before.kept_for),
        };
        mark::write(cx, name, *kind, &mark)?;
        self.change(cx, &held, Some(&self.target.to)).await?;
        self.done(cx, &before).await?;
        Ok(self.evidence(&before, true))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let Target { name, kind, to, .. } = &self.target;
        let held = self.held(cx).await?;
        if !held.is(Some(to)) {
            let place = self.dns.keeper()?.place();
            return Ok(Verdict::not_yet(format!(
                "{place} has {}",
                shown(*kind, held.set.as_ref())
            )));
        }
        let told = self.told(cx, &held).await?;
        let missing = self.missing(&told, Some(to))?;
        if !missing.is_empty() {
            let newest = told.iter().filter_map(|told| told.serial).max();
            let newest = newest.map(|serial| format!("; the newest serial is {serial}"));
            return Ok(Verdict::not_yet(format!(
                "{} of {} authoritative servers not yet: {}{}",
                missing.len(),
                told.len(),
                missing.join("; "),
                newest.unwrap_or_default()
            )));
        }
        if let Some(mut mark) = mark::read(cx, name, *kind)? {
            mark.settle();
            mark::write(cx, name, *kind, &mark)?;
        }
        Ok(Verdict::Holds { evidence: self.everywhere(&told) })
    }

    /// Name servers that lag or are down tell nothing about it, and their serial numbers grow: as undo, it asks only where the records are kept.
    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let before = Self::before(saved)?;
        let held = self.held(cx).await?;
        Ok(if held.is(before.former.as_ref()) {
            Present::AsBefore
        } else if held.is(Some(&self.target.to)) {
            Present::AsLeft
        } else {
            Present::Other
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let before = Self::before(saved)?;
        let Target { name, kind, to, .. } = &self.target;
        let former = before.former.as_ref();
        let held = self.held(cx).await?;
        if held.is(former) {
            mark::forget(cx, name, *kind)?;
            return self.follow(cx, &held, former).await;
        }
        if !held.is(Some(to)) && !self.is_half_done(cx, &held, values(former)) {
            let is = shown(*kind, held.set.as_ref());
            let text = format!("bring back the {kind} of {name}: this step did not write {is}");
            return Err(ActionError::new(ErrorKind::Conflict, text).hint(format!(
                "Before this step there was {}; bring it back yourself if it is still wanted.",
                shown(*kind, former)
            )));
        }
        // A wildcard's records come back by themselves.
        let back = former.filter(|former| !Noted::Wildcard(former).was_by(cx));
        self.change(cx, &held, back).await?;
        let held = self.held(cx).await.map_err(|mut error| {
            // Not what is left undone, but whether it was done is not known.
            error.kind = ErrorKind::Unknown;
            error.message = format!("see the {kind} of {name} brought back: {}", error.message);
            error.retryable(true)
        })?;
        if !held.is(former) {
            let is = shown(*kind, held.set.as_ref());
            return Err(doubt(format!("bring back the {kind} of {name}: there is {is}")));
        }
        mark::forget(cx, name, *kind)?;
        self.follow(cx, &held, former).await
    }
}

/// A change was sent, and what is there is not what it should be.
fn doubt(text: String) -> ActionError {
    ActionError::new(ErrorKind::Unknown, text)
        .retryable(true)
        .hint("Somebody else changes it at the same time, or the server does not store it so.")
}

fn values(set: Option<&RecordSet>) -> Option<&BTreeSet<Datum>> {
    set.map(|set| &set.values)
}

impl Pointing {
    fn everywhere(&self, told: &[Told]) -> Evidence {
        let Target { name, kind, to, .. } = &self.target;
        let where_ = match told.len() {
            0 => "at the provider, whose proxy answers for it".to_owned(),
            1 => "on its authoritative server".to_owned(),
            many => format!("on all {many} authoritative servers"),
        };
        let summary = format!("{name} is {} {where_}", shown(*kind, Some(to)));
        let servers: Vec<Value> = told.iter().map(Told::facts).collect();
        Evidence::with(summary, json!({"servers": servers, "ttl": ttl(to.ttl)}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: Value) -> Option<String> {
        match serde_json::from_value::<Point>(args) {
            Ok(point) => point.validate().err(),
            Err(error) => Some(error.to_string()),
        }
    }

    #[test]
    fn what_cannot_be_is_refused_offline() {
        let point =
            |kind: &str, to: Value| json!({"name": "a.example.net", "type": kind, "to": to});
        for (args, why) in [
            (point("CNAME", json!(["b.example.net", "c.example.net"])), "at most one CNAME"),
            (point("CNAME", json!("A.example.net.")), "itself"),
            (point("CNAME", json!("192.0.2.1 ")), "no domain name"),
            (point("A", json!("b.example.net")), "no IPv4 address"),
            (point("AAAA", json!("192.0.2.1")), "no IPv6 address"),
            (point("A", json!([])), "at least one"),
            (json!({"name": "a..b", "type": "A", "to": "192.0.2.1"}), "no domain name"),
            (
                json!({"name": "a.b", "type": "A", "to": "192.0.2.1", "ttl": "1500ms"}),
                "whole seconds",
            ),
            (json!({"name": "a.b", "type": "A", "to": "192.0.2.1", "from": "x"}), "`from`"),
        ] {
            let told = refused(args.clone()).unwrap_or_default();
            assert!(told.contains(why), "{args}: {told}");
        }
        assert_eq!(refused(point("CNAME", json!("b.example.net."))), None);
        assert_eq!(refused(point("A", json!(["192.0.2.1", "192.0.2.2"]))), None);
    }
}
