//! Probes within the arguments of another verb: `manual.confirm` and its like.

use async_trait::async_trait;
use futures_util::future::join_all;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ActionError, Answer, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    Verb, VerbKind, Verdict, Work,
};
use crate::value::JsonText;

/// A resolved probe: a verb that may have split into several items, all of which must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeCall {
    verb: String,
    items: Vec<JsonText>,
}

impl ProbeCall {
    /// Resolves what stands in the arguments: one verb that only asks, with its own arguments. May read the live system.
    ///
    /// # Errors
    /// When it is no probe, or there is nothing that it could ask about.
    pub async fn resolve(
        call: IndexMap<String, Value>,
        cx: &ResolveContext,
    ) -> Result<Self, ActionError> {
        let (verb, args) = call.into_iter().next().unwrap_or_default();
        let items = probe_verb(&verb, cx)?.expand(args, cx).await?;
        if items.is_empty() {
            return Err(ActionError::new(
                ErrorKind::NotFound,
                format!("find anything that `{verb}` could ask about"),
            ));
        }
        Ok(Self { verb, items: items.into_iter().map(|item| item.args).collect() })
    }

    /// The probes of all items. Contacts nothing.
    ///
    /// # Errors
    /// When an item is not one that a system answers.
    pub fn probes(&self, cx: &ResolveContext) -> Result<Vec<Box<dyn Probe>>, ActionError> {
        let verb = probe_verb(&self.verb, cx)?;
        let probes = self.items.iter().map(|item| match verb.make(item, cx)? {
            Work::Probe(probe) => Ok(probe),
            // A checklist or a hold inside of another would be a question to a person again, or a wait.
            _ => Err(not_a_probe(&self.verb)),
        });
        probes.collect()
    }

    /// The probe of all items together; `text` is the statement that they answer. Contacts nothing.
    ///
    /// # Errors
    /// As [`probes`](Self::probes).
    pub fn make(&self, text: &str, cx: &ResolveContext) -> Result<Box<dyn Probe>, ActionError> {
        Ok(Box::new(Statement { text: text.to_owned(), probes: self.probes(cx)? }))
    }
}

fn probe_verb<'a>(name: &str, cx: &'a ResolveContext) -> Result<&'a Verb, ActionError> {
    let verb = cx.registry.verb(name).ok_or_else(|| {
        ActionError::new(ErrorKind::Invalid, format!("find the probe `{name}`"))
            .hint("`rollback schema` lists all verbs.")
    })?;
    let only_asks = verb.kind == VerbKind::Probe && verb.system() != "manual";
    // What takes a time of its own is no question with an answer.
    if only_asks && verb.lasts.is_none() { Ok(verb) } else { Err(not_a_probe(name)) }
}

fn not_a_probe(name: &str) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use `{name}` as a probe: it does not only ask"))
        .hint("A `probe` takes a verb such as `http.expect` or `docker.expect`.")
}

/// A statement that holds when all its probes hold.
struct Statement {
    text: String,
    probes: Vec<Box<dyn Probe>>,
}

#[async_trait]
impl Probe for Statement {
    fn describe(&self) -> Description {
        let questions: Vec<String> =
            self.probes.iter().take(3).map(|probe| probe.describe().apply).collect();
        let more = match self.probes.len().saturating_sub(3) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Description::question(format!("{}: {}{more}", self.text, questions.join("; ")))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let observed = join_all(self.probes.iter().map(|probe| probe.observe(cx))).await;
        let mut shown = Vec::new();
        for verdict in observed {
            match verdict? {
                Verdict::Holds { evidence } => shown.push(evidence),
                not_yet @ Verdict::NotYet { .. } => return Ok(not_yet),
            }
        }
        Ok(Verdict::Holds { evidence: together(&shown) })
    }

    /// A no counts more than what is not known: it decides, whatever the others would say.
    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        let answers = join_all(self.probes.iter().map(|probe| probe.answer(cx))).await;
        let (mut shown, mut unknown) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(Answer::Yes { evidence }) => shown.push(evidence),
                Ok(no @ Answer::No { .. }) => return Ok(no),
                other => unknown = unknown.or(Some(other)),
            }
        }
        unknown.unwrap_or_else(|| Ok(Answer::Yes { evidence: together(&shown) }))
    }
}

/// The evidence of all answers.
fn together(shown: &[Evidence]) -> Evidence {
    let facts = shown.iter().map(|evidence| evidence.facts.clone()).collect();
    let summary = match shown {
        [one] => one.summary.clone(),
        all => format!("all {} answers are as expected", all.len()),
    };
    Evidence::with(summary, Value::Array(facts))
}
