//! `knowledge.compare`: what the rows amount to, against those of a backup and against one model.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connection::KnowledgeConnection;
use super::stored::{Agent, Agents, Stored, place};
use crate::action::{
    ActionError, Answer, Connections, Description, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::postgres::{Patience, Server, Session, TableName, Taken, Tx};

/// The most problems that an answer names.
const MOST_NAMED: usize = 5;

/// Bounds of a share: 1 is as before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KnowledgeShare")]
struct Share {
    /// This or more: `0.9` is nine tenths.
    #[serde(default)]
    at_least: Option<f64>,
    /// This or less: `2` is twice as many.
    #[serde(default)]
    at_most: Option<f64>,
}

impl Share {
    fn check(self, what: &str) -> Result<(), String> {
        let bounds = [self.at_least, self.at_most];
        if bounds == [None, None] {
            return Err(format!("`{what}` needs `at_least` or `at_most`"));
        }
        if bounds.iter().flatten().any(|bound| !bound.is_finite() || *bound < 0.0)
            || self.at_least.zip(self.at_most).is_some_and(|(least, most)| least > most)
        {
            return Err(format!("`{what}` has bounds that nothing keeps to"));
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of rows are far below 2^52")]
    fn admits(self, now: u64, before: u64) -> bool {
        let (now, before) = (now as f64, before as f64);
        self.at_least.is_none_or(|bound| now >= bound * before)
            && self.at_most.is_none_or(|bound| now <= bound * before)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) => write!(f, "{least} to {most} times as many"),
            (Some(least), None) => write!(f, "at least {least} times as many"),
            (None, Some(most)) => write!(f, "at most {most} times as many"),
            (None, None) => f.write_str("any number"),
        }
    }
}

/// Counts documents and chunks and looks at models, against a backup. Rows of several models never hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KnowledgeCompare")]
pub(super) struct Compare {
    /// The table, `table` or `schema.table`.
    table: String,
    /// Whether the table's shadow in this run is meant, and not the table itself.
    #[serde(default)]
    shadow: bool,
    /// The agent whose rows are looked at; all of them without it.
    #[serde(default)]
    agent: Option<String>,
    /// The snapshot that tells what was before (`postgres.snapshot`).
    #[serde(default)]
    before: Option<String>,
    /// How many documents each agent has, as a share of those before.
    #[serde(default)]
    documents: Option<Share>,
    /// How many chunks each agent has, as a share of those before.
    #[serde(default)]
    chunks: Option<Share>,
    /// The model of all rows; that of the connection unless given.
    #[serde(default)]
    model: Option<String>,
    /// The dimensions of all embeddings; those of the connection unless given.
    #[serde(default)]
    dimensions: Option<u32>,
}

#[async_trait]
impl VerbArgs for Compare {
    const NAME: &'static str = "knowledge.compare";
    const SUMMARY: &'static str =
        "hold documents, chunks and models of a knowledge base against a backup";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        let _name = TableName::parse(&self.table)?;
        for (what, share) in [("documents", self.documents), ("chunks", self.chunks)] {
            let Some(share) = share else { continue };
            share.check(what)?;
            if self.before.is_none() {
                return Err(format!(
                    "`{what}` is a share of what was before: name a snapshot in `before`"
                ));
            }
        }
        Ok(())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Question { connections: cx.connections.clone(), item })))
    }
}

struct Question {
    connections: Arc<Connections>,
    item: Compare,
}

/// What all rows have to be of.
struct Uniform {
    model: Option<String>,
    dimensions: Option<u32>,
}

impl Question {
    async fn ask(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        let settings = KnowledgeConnection::of(&self.connections)?;
        let server = Server::of(&self.connections)?;
        let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
        let tx = session.look(Patience::default()).await?;
        let item = &self.item;
        let (table, shown) = place(&item.table, item.shadow.then_some(cx.run()))?;
        let Some(stored) = Stored::find(&tx, &table, &shown, &settings.columns).await? else {
            return Ok(Answer::No { observed: format!("there is no {shown}") });
        };
        let only = item.agent.as_ref().map(std::slice::from_ref);
        let now = stored.agents(&tx, only).await?;
        let before = match &item.before {
            None => None,
            Some(name) => match self.before(&tx, name, &settings).await? {
                Some(before) => Some(before),
                None => {
                    return Ok(Answer::No { observed: format!("there is no snapshot `{name}`") });
                }
            },
        };
        let service = settings.embeddings.as_ref();
        let uniform = Uniform {
            model: item.model.clone().or(service.map(|service| service.model.clone())),
            dimensions: item.dimensions.or(service.and_then(|service| service.dimensions)),
        };
        Ok(item.judge(&now, before.as_ref(), &uniform))
    }

    async fn before(
        &self,
        tx: &Tx<'_>,
        name: &str,
        settings: &KnowledgeConnection,
    ) -> Result<Option<Agents>, ActionError> {
        let Some(taken) = Taken::find(tx, name).await? else { return Ok(None) };
        let shown = format!("the snapshot `{name}`");
        let Some(stored) = Stored::find(tx, &taken.table(), &shown, &settings.columns).await?
        else {
            return Ok(None);
        };
        let only = self.item.agent.as_ref().map(std::slice::from_ref);
        stored.agents(tx, only).await.map(Some)
    }
}

#[async_trait]
impl Probe for Question {
    fn describe(&self) -> Description {
        let item = &self.item;
        let what = if item.shadow { "the shadow of " } else { "" };
        let whose = item.agent.as_ref().map_or_else(String::new, |agent| format!(" of {agent}"));
        let before =
            item.before.as_ref().map_or_else(String::new, |name| format!(", against {name}"));
        Description::question(format!(
            "documents, chunks and models{whose} in {what}{}{before}",
            item.table
        ))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(self.ask(cx).await?.into())
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        self.ask(cx).await
    }
}

impl Compare {
    fn judge(&self, now: &Agents, before: Option<&Agents>, uniform: &Uniform) -> Answer {
        let mut problems = Vec::new();
        if now.is_empty() {
            let whose =
                self.agent.as_ref().map_or_else(String::new, |name| format!(" of `{name}`"));
            problems.push(format!("there is no row{whose}"));
        }
        for (name, agent) in now {
            problems.extend(agent.mixture(name).or_else(|| uniform.differs(name, agent)));
            let former = before.and_then(|before| before.get(name));
            self.hold(name, agent, former, &mut problems);
        }
        for name in before.into_iter().flat_map(Agents::keys) {
            if !now.contains_key(name) {
                problems.push(format!("`{name}` has no row any more"));
            }
        }
        if problems.is_empty() {
            let told = now
                .iter()
                .map(|(name, agent)| told(name, agent, before.and_then(|before| before.get(name))));
            let summary = told.collect::<Vec<_>>().join("; ");
            let facts = json!({ "agents": now, "before": before });
            return Answer::Yes { evidence: Evidence::with(summary, facts) };
        }
        let more = problems.len().saturating_sub(MOST_NAMED);
        problems.truncate(MOST_NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Answer::No { observed: format!("{}{more}", problems.join("; ")) }
    }

    /// Holds an agent's numbers against those before. One that was not there before has none to be held against.
    fn hold(&self, name: &str, now: &Agent, before: Option<&Agent>, problems: &mut Vec<String>) {
        if now.without > before.map_or(0, |before| before.without) {
            problems.push(format!("{} rows of `{name}` have no embedding", now.without));
        }
        let Some(before) = before else { return };
        for (what, share, now, before) in [
            ("documents", self.documents, now.documents, before.documents),
            ("chunks", self.chunks, now.chunks, before.chunks),
        ] {
            if let Some(share) = share.filter(|share| !share.admits(now, before)) {
                problems.push(format!("`{name}` has {now} {what} after {before}, wanted {share}"));
            }
        }
    }
}

impl Uniform {
    fn differs(&self, name: &str, agent: &Agent) -> Option<String> {
        if let Some(wanted) = &self.model
            && let Some(model) = agent.models.keys().find(|model| *model != wanted)
        {
            return Some(format!("rows of `{name}` are of the model {model}, wanted {wanted}"));
        }
        match (self.dimensions, agent.dimensions) {
            (Some(wanted), Some((found, ..))) if found != wanted => {
                Some(format!("embeddings of `{name}` have {found} dimensions, wanted {wanted}"))
            }
            _ => None,
        }
    }
}

/// `odoo: 12 documents (10), 40 chunks (38), text-embedding-3-small with 1536 dimensions`.
fn told(name: &str, now: &Agent, before: Option<&Agent>) -> String {
    let former =
        |number: Option<u64>| number.map_or_else(String::new, |n| format!(" (before {n})"));
    let model = now.models.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let dimensions = now.dimensions.map_or(0, |(least, ..)| least);
    format!(
        "{name}: {} documents{}, {} chunks{}, {model} with {dimensions} dimensions",
        now.documents,
        former(before.map(|before| before.documents)),
        now.chunks,
        former(before.map(|before| before.chunks)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn agent(documents: u64, chunks: u64) -> Agent {
        let models = [("m".to_owned(), chunks)].into();
        Agent { documents, chunks, without: 0, dimensions: Some((3, 3, 3.0)), models }
    }

    fn judge(args: &Value, now: &Agents, before: Option<&Agents>) -> Result<String, String> {
        let mut all = json!({"table": "t"});
        all.as_object_mut()
            .expect("a mapping")
            .extend(args.as_object().expect("a mapping").clone());
        let compare: Compare = serde_json::from_value(all).expect("arguments");
        let uniform = Uniform { model: Some("m".into()), dimensions: Some(3) };
        match compare.judge(now, before, &uniform) {
            Answer::Yes { evidence } => Ok(evidence.summary),
            Answer::No { observed } => Err(observed),
            Answer::NoData { reason } => panic!("{reason}"),
        }
    }

    #[test]
    fn numbers_are_held_against_those_before() {
        let before = Agents::from([("a".into(), agent(10, 100))]);
        let bounds = json!({"before": "s", "documents": {"at_least": 0.9}, "chunks": {"at_least": 0.5, "at_most": 2}});
        let held = |documents, chunks| {
            judge(&bounds, &Agents::from([("a".into(), agent(documents, chunks))]), Some(&before))
        };
        assert_eq!(
            held(9, 200).expect("within"),
            "a: 9 documents (before 10), 200 chunks (before 100), m with 3 dimensions"
        );
        assert_eq!(
            held(8, 100),
            Err("`a` has 8 documents after 10, wanted at least 0.9 times as many".into())
        );
        assert_eq!(
            held(10, 201),
            Err("`a` has 201 chunks after 100, wanted 0.5 to 2 times as many".into())
        );
        let gone = judge(&bounds, &Agents::from([("b".into(), agent(1, 1))]), Some(&before));
        assert_eq!(gone, Err("`a` has no row any more".into()));
        assert_eq!(
            judge(&json!({"agent": "a"}), &Agents::new(), None),
            Err("there is no row of `a`".into())
        );
    }

    #[test]
    fn rows_of_another_model_size_or_none_do_not_hold() {
        let with = |change: fn(&mut Agent)| {
            let mut agent = agent(1, 2);
            change(&mut agent);
            judge(&json!({}), &Agents::from([("a".into(), agent)]), None)
                .expect_err("it does not hold")
        };
        let mixed = with(|agent| {
            let _none = agent.models.insert("n".into(), 1);
        });
        assert!(mixed.contains("several models: m (2 rows), n (1 rows)"), "{mixed}");
        let other = with(|agent| agent.models = [("n".into(), 2)].into());
        assert_eq!(other, "rows of `a` are of the model n, wanted m");
        let size = with(|agent| agent.dimensions = Some((4, 4, 4.0)));
        assert_eq!(size, "embeddings of `a` have 4 dimensions, wanted 3");
        assert_eq!(with(|agent| agent.without = 1), "1 rows of `a` have no embedding");
    }

    #[test]
    fn a_share_needs_something_to_be_one_of() {
        let check =
            |args: Value| serde_json::from_value::<Compare>(args).expect("arguments").validate();
        assert!(
            check(json!({"table": "t", "chunks": {"at_least": 1}}))
                .expect_err("of what?")
                .contains("`before`")
        );
        assert!(check(json!({"table": "t", "before": "s", "chunks": {}})).is_err());
        assert!(
            check(json!({"table": "t", "before": "s", "chunks": {"at_least": 2, "at_most": 1}}))
                .is_err()
        );
        assert_eq!(check(json!({"table": "t", "before": "s", "chunks": {"at_least": 1}})), Ok(()));
    }
}
