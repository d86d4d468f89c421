//! `hold.while`: a time for which gates have to keep holding.

use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::{ActionError, Gate, Hold, ProbeCall, ResolveContext, VerbArgs, VerbKind, Work};
use crate::value::Lasting;

/// The shortest pause between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The most looks: each is a record in the journal.
const MOST_LOOKS: u128 = 10_000;

/// A wait.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct While {
    /// How long, from when the step first began: the time goes on while nobody runs the run.
    #[serde(rename = "for")]
    lasting: Lasting,
    /// The pause between two looks at the gates.
    #[serde(default = "five_minutes")]
    every: Lasting,
    /// How long a gate may fail until the hold has failed. The first no decides when it is missing.
    tolerate: Option<Lasting>,
    /// What has to hold meanwhile. Without gates the time alone counts.
    #[serde(default)]
    gates: Vec<Entry>,
}

/// What has to hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HoldGate")]
struct Entry {
    /// The statement that has to hold.
    #[schemars(length(min = 1))]
    item: String,
    /// The probe that answers: one verb and its arguments.
    #[schemars(extend("x-rollback" = "probe-call", "minProperties" = 1, "maxProperties" = 1))]
    probe: IndexMap<String, Value>,
}

fn five_minutes() -> Lasting {
    Lasting(Duration::from_secs(300))
}

/// A resolved wait.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WhileItem {
    lasting: Lasting,
    every: Lasting,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tolerate: Option<Lasting>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gates: Vec<ResolvedGate>,
}

/// A gate with its questions.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ResolvedGate {
    text: String,
    probe: ProbeCall,
}

#[async_trait]
impl VerbArgs for While {
    const NAME: &'static str = "hold.while";
    const SUMMARY: &'static str = "Waits for a given time, during which gates have to keep holding; its timeout is that of one look at all of them";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const LASTS: Option<fn(&Self) -> Duration> = Some(|wait| wait.lasting.0);
    type Item = WhileItem;

    fn validate(&self) -> Result<(), String> {
        if self.every.0 < SHORTEST_PAUSE {
            return Err("`every` is shorter than 100ms".into());
        }
        if self.lasting.0.as_millis() / self.every.0.as_millis() > MOST_LOOKS {
            return Err(format!(
                "{} with a look every {} are more than 10,000 looks; make `every` longer",
                self.lasting, self.every
            ));
        }
        if self.tolerate.is_some_and(|tolerate| tolerate.0 >= self.lasting.0) {
            return Err(
                "`tolerate` is no shorter than `for`, so that no gate could ever fail the hold"
                    .into(),
            );
        }
        for (index, Entry { item, probe }) in self.gates.iter().enumerate() {
            if item.trim().is_empty() {
                return Err("`item` is empty".into());
            }
            if self.gates[..index].iter().any(|other| other.item == *item) {
                return Err(format!("there are two gates \"{item}\""));
            }
            if probe.len() != 1 {
                return Err(format!("the `probe` of \"{item}\" must be exactly one verb"));
            }
        }
        Ok(())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, WhileItem)>, ActionError> {
        let Self { lasting, every, tolerate, gates: entries } = self;
        let mut gates = Vec::with_capacity(entries.len());
        for Entry { item: text, probe } in entries {
            let probe = ProbeCall::resolve(probe, cx).await?;
            gates.push(ResolvedGate { text, probe });
        }
        Ok(vec![(String::new(), WhileItem { lasting, every, tolerate, gates })])
    }

    fn make(item: WhileItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let WhileItem { lasting, every, tolerate, gates } = item;
        let gates = gates.into_iter().map(|ResolvedGate { text, probe }| {
            let probe = probe.make(&text, cx)?;
            Ok(Gate { text, probe })
        });
        Ok(Work::Hold(Hold {
            lasting: lasting.0,
            every: every.0,
            tolerate: tolerate.map_or(Duration::ZERO, |tolerate| tolerate.0),
            gates: gates.collect::<Result<_, ActionError>>()?,
        }))
    }
}
