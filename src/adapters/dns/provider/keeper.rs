//! What every place where records are kept can do.

use async_trait::async_trait;
use hickory_proto::rr::RData;
use serde_json::{Value, json};

use crate::action::{ActionError, StepContext};
use crate::adapters::dns::name::{Datum, DomainName, Kind, RecordSet};

/// A place where records are kept.
#[async_trait]
pub(in crate::adapters::dns) trait Keeper: Send + Sync {
    /// How people know it: `127.0.0.1:5300`, `cloudflare`.
    fn place(&self) -> String;

    /// Whether name servers always answer what is kept here. Elsewhere a proxy may stand before it.
    fn is_public(&self) -> bool;

    /// The TTL that name servers give out for one that is kept here.
    fn served_ttl(&self, kept: u32) -> u32 {
        kept
    }

    /// What is kept now.
    async fn held(
        &self,
        cx: &StepContext,
        name: &DomainName,
        kind: Kind,
    ) -> Result<Held, ActionError>;

    /// Changes what was found to be held. Fails with [`Conflict`](crate::action::ErrorKind::Conflict) where it is another by now,
    /// with `Unknown` when it may have happened. What needs several requests is noted before the first, as [`Noted::Parts`].
    async fn change(&self, cx: &StepContext, change: &Change<'_>) -> Result<(), ActionError>;
}

/// The records of one name and type in the place where they are kept.
#[derive(Debug, Clone, Default)]
pub(in crate::adapters::dns) struct Held {
    /// The records; `None` when there are none.
    pub(in crate::adapters::dns) set: Option<RecordSet>,
    /// What else stands at the name and excludes this type.
    pub(in crate::adapters::dns) beside: Option<String>,
    /// How long others may keep what is there (or that nothing is), in seconds.
    pub(in crate::adapters::dns) kept_for: u32,
    /// Whether name servers answer something else by intention: a proxy of the provider stands before it.
    pub(in crate::adapters::dns) proxied: bool,
    /// The data exactly as they are, for what compares them bit by bit.
    pub(in crate::adapters::dns) exact: Vec<RData>,
    /// The records as the provider numbers them.
    pub(in crate::adapters::dns) records: Vec<Kept>,
}

impl Held {
    /// Whether these records are held. The TTL of those behind a proxy is the provider's own affair.
    pub(in crate::adapters::dns) fn is(&self, set: Option<&RecordSet>) -> bool {
        match (&self.set, set) {
            (Some(held), Some(set)) if self.proxied => held.values == set.values,
            (held, set) => held.as_ref() == set,
        }
    }
}

/// What a step notes of its changes, before it makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::adapters::dns) enum Noted<'a> {
    /// A change needs several requests: one that is cut off leaves some of both.
    Parts,
    /// These records are a wildcard's, and there was none at the name itself.
    Wildcard(&'a RecordSet),
}

impl Noted<'_> {
    fn note(self) -> Value {
        match self {
            Self::Parts => json!("several requests"),
            Self::Wildcard(found) => json!({"answered by a wildcard": found}),
        }
    }

    pub(in crate::adapters::dns) async fn down(self, cx: &StepContext) -> Result<(), ActionError> {
        cx.note(self.note()).await
    }

    /// Whether an attempt before this one has noted it.
    pub(in crate::adapters::dns) fn was_by(self, cx: &StepContext) -> bool {
        cx.notes().contains(&self.note())
    }
}

/// A record with the provider's id.
#[derive(Debug, Clone)]
pub(in crate::adapters::dns) struct Kept {
    pub(in crate::adapters::dns) id: String,
    pub(in crate::adapters::dns) datum: Datum,
    pub(in crate::adapters::dns) ttl: u32,
}

/// A change of all records of one name and type.
#[derive(Debug, Clone, Copy)]
pub(in crate::adapters::dns) struct Change<'a> {
    pub(in crate::adapters::dns) name: &'a DomainName,
    pub(in crate::adapters::dns) kind: Kind,
    /// What was found.
    pub(in crate::adapters::dns) from: &'a Held,
    /// What is wanted; `None` for no record.
    pub(in crate::adapters::dns) to: Option<&'a RecordSet>,
}

/// What has to be done to records that a provider keeps one by one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::adapters::dns) struct Steps<'a> {
    /// Records whose data or TTL become others: by id.
    pub(in crate::adapters::dns) rewritten: Vec<(&'a str, &'a Datum)>,
    /// Data for which there is no record yet.
    pub(in crate::adapters::dns) added: Vec<&'a Datum>,
    /// Records that go: by id.
    pub(in crate::adapters::dns) removed: Vec<&'a str>,
}

impl<'a> Change<'a> {
    /// The way from the records that are there to those that are wanted: what can stay stays, and what goes is rewritten rather than
    /// removed, so that a name with one record is never without it.
    pub(in crate::adapters::dns) fn steps(&self) -> Steps<'a> {
        let ttl = self.to.map(|set| set.ttl);
        let wanted = |datum: &Datum| self.to.is_some_and(|set| set.values.contains(datum));
        let (mut steps, mut covered, mut spare) = (Steps::default(), Vec::new(), Vec::new());
        for record in &self.from.records {
            if !wanted(&record.datum) || covered.contains(&&record.datum) {
                spare.push(record);
                continue;
            }
            covered.push(&record.datum);
            if Some(record.ttl) != ttl {
                steps.rewritten.push((record.id.as_str(), &record.datum));
            }
        }
        let mut spare = spare.into_iter();
        let values = self.to.into_iter().flat_map(|set| &set.values);
        for datum in values.filter(|datum| !covered.contains(datum)) {
            match spare.next() {
                Some(record) => steps.rewritten.push((record.id.as_str(), datum)),
                None => steps.added.push(datum),
            }
        }
        steps.removed = spare.map(|record| record.id.as_str()).collect();
        steps
    }
}

impl Steps<'_> {
    /// How many there are.
    pub(in crate::adapters::dns) fn count(&self) -> usize {
        self.rewritten.len() + self.added.len() + self.removed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(records: &[(&str, &str, u32)]) -> Held {
        let kept = |(id, text, ttl): &(&str, &str, u32)| Kept {
            id: (*id).to_owned(),
            datum: Datum::parse(Kind::A, text).unwrap(),
            ttl: *ttl,
        };
        Held { records: records.iter().map(kept).collect(), ..Held::default() }
    }

    fn steps(from: &Held, to: &[&str]) -> String {
        let values = to.iter().map(|text| Datum::parse(Kind::A, text).unwrap()).collect();
        let set = (!to.is_empty()).then_some(RecordSet { ttl: 60, values });
        let name = DomainName::parse("a.example").unwrap();
        let change = Change { name: &name, kind: Kind::A, from, to: set.as_ref() };
        let steps = change.steps();
        let rewritten: Vec<_> =
            steps.rewritten.iter().map(|(id, datum)| format!("{id}={datum}")).collect();
        let added: Vec<_> = steps.added.iter().map(ToString::to_string).collect();
        format!("{rewritten:?} {added:?} {:?}", steps.removed)
    }

    #[test]
    fn what_can_stay_stays_and_nothing_is_removed_that_can_be_rewritten() {
        let one = held(&[("1", "192.0.2.1", 60)]);
        assert_eq!(steps(&one, &["192.0.2.2"]), r#"["1=192.0.2.2"] [] []"#);
        assert_eq!(steps(&one, &["192.0.2.1"]), "[] [] []");
        assert_eq!(steps(&one, &[]), r#"[] [] ["1"]"#);
        assert_eq!(steps(&one, &["192.0.2.1", "192.0.2.2"]), r#"[] ["192.0.2.2"] []"#);
        let two = held(&[("1", "192.0.2.1", 300), ("2", "192.0.2.2", 60)]);
        assert_eq!(steps(&two, &["192.0.2.1"]), r#"["1=192.0.2.1"] [] ["2"]"#);
        assert_eq!(steps(&two, &["192.0.2.3"]), r#"["1=192.0.2.3"] [] ["2"]"#);
        assert_eq!(steps(&held(&[]), &["192.0.2.3"]), r#"[] ["192.0.2.3"] []"#);
        // A provider may hold one datum twice.
        let twice = held(&[("1", "192.0.2.1", 60), ("2", "192.0.2.1", 60)]);
        assert_eq!(steps(&twice, &["192.0.2.1"]), r#"[] [] ["2"]"#);
    }
}
