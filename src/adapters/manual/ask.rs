//! A statement that systems answer: one probe of any adapter, made through the registry.

use async_trait::async_trait;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::{
    ActionError, Answer, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    Verb, VerbKind, Verdict, Work,
};
use crate::value::JsonText;

/// A resolved probe: a verb that may have split into several items, all of which must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::adapters) struct ProbeCall {
    verb: String,
    items: Vec<JsonText>,
}

impl ProbeCall {
    /// Splits a call into its questions; may read the live system.
    pub(in crate::adapters) async fn resolve(
        name: String,
        args: Value,
        cx: &ResolveContext,
    ) -> Result<Self, ActionError> {
        let items = probe_verb(&name, cx)?.expand(args, cx).await?;
        if items.is_empty() {
            return Err(ActionError::new(
                ErrorKind::NotFound,
                format!("find anything that `{name}` could ask about"),
            ));
        }
        Ok(Self { verb: name, items: items.into_iter().map(|item| item.args).collect() })
    }

    /// The probe of all its questions together; `text` is the statement that they answer. Contacts nothing.
    pub(in crate::adapters) fn make(
        self,
        text: &str,
        cx: &ResolveContext,
    ) -> Result<Box<dyn Probe>, ActionError> {
        let verb = probe_verb(&self.verb, cx)?;
        let mut probes = Vec::new();
        for item in self.items {
            match verb.make(&item, cx)? {
                Work::Probe(probe) => probes.push(probe),
                // A checklist or a hold inside of another would be a question to a person again, or a wait.
                _ => return Err(not_a_probe(&self.verb)),
            }
        }
        Ok(Box::new(Statement { text: text.to_owned(), probes }))
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
