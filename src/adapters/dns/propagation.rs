//! How far a change has come: what recursive servers still have, and for how long at most.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::lookup::Source;
use super::name::{Datum, DomainName, Kind, RecordSet, shown};
use super::reading::{Reading, Unread, read};
use super::wire::Patience;
use crate::value::brief;
use std::collections::BTreeSet;

/// What the caches say.
#[derive(Debug)]
pub(super) struct Propagation {
    kind: Kind,
    answers: Vec<(String, Result<Reading, Unread>)>,
    wanted: BTreeSet<Datum>,
}

/// Asks every resolver what it has, at the same time.
pub(super) async fn ask(
    resolvers: &[Source],
    name: &DomainName,
    kind: Kind,
    wanted: &BTreeSet<Datum>,
    patience: &Patience,
) -> Propagation {
    let asked = resolvers.iter().map(|source| async move {
        (source.label.clone(), read(source, name, kind, true, patience).await)
    });
    Propagation { kind, answers: join_all(asked).await, wanted: wanted.clone() }
}

impl Propagation {
    fn has(&self, reading: &Reading) -> bool {
        reading.set.as_ref().is_some_and(|set: &RecordSet| set.values == self.wanted)
    }

    fn behind(&self) -> impl Iterator<Item = (&String, &Reading)> {
        self.answers.iter().filter_map(|(server, reading)| {
            let reading = reading.as_ref().ok()?;
            (!self.has(reading)).then_some((server, reading))
        })
    }

    /// How long it takes at most until every cache that was asked has it, if the former value lasts nowhere longer.
    pub(super) fn eta(&self) -> Duration {
        let left = self.behind().map(|(_, reading)| reading.kept_for()).max();
        Duration::from_secs(left.unwrap_or(0).into())
    }

    /// How many resolvers were asked.
    pub(super) fn asked(&self) -> usize {
        self.answers.len()
    }

    /// Whether anybody answered.
    pub(super) fn is_known(&self) -> bool {
        self.answers.iter().any(|(_, reading)| reading.is_ok())
    }

    /// What is missing, in words; `None` when every resolver has it.
    pub(super) fn missing(&self) -> Option<String> {
        let behind: Vec<String> = self
            .behind()
            .map(|(server, reading)| {
                format!("{server}: {}", shown(self.kind, reading.set.as_ref()))
            })
            .collect();
        let silent: Vec<String> = self
            .answers
            .iter()
            .filter_map(|(server, reading)| Some(format!("{server}: {}", reading.as_ref().err()?)))
            .collect();
        let of = self.answers.len();
        let noun = if of == 1 { "resolver" } else { "resolvers" };
        let mut parts = Vec::new();
        if !behind.is_empty() {
            let (many, verb) = (behind.len(), if behind.len() == 1 { "has" } else { "have" });
            let eta = match self.eta() {
                Duration::ZERO => "for less than a second".to_owned(),
                eta => format!("for {} at most", brief(eta)),
            };
            parts.push(format!(
                "propagating: {many} of {of} {noun} still {verb} the former value, {eta} ({})",
                behind.join("; ")
            ));
        }
        if !silent.is_empty() {
            parts.push(format!(
                "{} of {of} {noun} did not tell ({})",
                silent.len(),
                silent.join("; ")
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// For the journal.
    pub(super) fn facts(&self) -> Value {
        let answers = self.answers.iter().map(|(server, reading)| match reading {
            Ok(reading) => json!({
                "resolver": server,
                "current": self.has(reading),
                "remaining_s": reading.kept_for(),
                "records": reading.set,
            }),
            Err(why) => json!({"resolver": server, "error": why.to_string()}),
        });
        json!({"eta_s": self.eta().as_secs(), "resolvers": answers.collect::<Vec<_>>()})
    }
}
