//! `knowledge.expect`: how much of what labelled queries have to find is found.
//!
//! The measure is recall at k: the share of the expected documents among the first k rows, as a mean over all queries. What cannot be measured
//! (no vectors, no answer of the search, vectors of another model than the rows) is neither good nor bad.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connection::{KnowledgeConnection, SearchService};
use super::embeddings::{Embedding, Embeddings};
use super::labelled::{Labelled, Queries};
use super::rest::Rest;
use super::search::{DOCUMENT, Hit, Wanted, by_comparison, by_function};
use super::stored::{Agents, Stored, place};
use crate::action::{
    ActionError, Answer, Connections, Description, ErrorKind, Evidence, Probe, ResolveContext,
    StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::quoted;
use crate::adapters::postgres::{Patience, Server, Session, TableName, Tx};
use crate::secret::Secrets;

/// How many queries that missed something are shown, and how many are in the facts.
const MOST_SHOWN: usize = 3;
const MOST_MISSED: usize = 50;
/// The most rows that a query may ask for.
const MOST_ROWS: u32 = 100;

/// Asks labelled queries and measures how much of what they have to find is found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KnowledgeExpect")]
pub(super) struct Expect {
    /// The table with the rows, `table` or `schema.table`: its models and dimensions must be those of the queries.
    table: String,
    /// Whether the table's shadow in this run is searched, row by row, and not the table in the way of the agents.
    #[serde(default)]
    shadow: bool,
    /// The queries, each `{query, agent, expect: [documents]}`; or the path of a JSON file with such a list.
    queries: Queries,
    /// Only the queries of this agent.
    #[serde(default)]
    agent: Option<String>,
    /// The least mean share of the expected documents that is found, from 0 to 1; `0.9` unless given.
    #[serde(default = "nine_tenths")]
    #[schemars(range(min = 0.0, max = 1.0))]
    recall: f64,
    /// How many rows a query gets; `5` unless given.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = MOST_ROWS))]
    k: u32,
    /// The least similarity of a row that is found, from -1 to 1; `0` unless given.
    #[serde(default)]
    #[schemars(range(min = -1.0, max = 1.0))]
    match_threshold: f64,
}

fn nine_tenths() -> f64 {
    0.9
}

fn five() -> u32 {
    5
}

/// The question with its queries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExpectItem {
    table: String,
    shadow: bool,
    queries: Vec<Labelled>,
    recall: f64,
    k: u32,
    match_threshold: f64,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "knowledge.expect";
    const SUMMARY: &'static str = "ask labelled queries and measure the recall of their answers";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Item = ExpectItem;

    fn validate(&self) -> Result<(), String> {
        let _name = TableName::parse(&self.table)?;
        self.queries.validate()?;
        if !(0.0..=1.0).contains(&self.recall) {
            return Err(format!("`recall` is {}; it goes from 0 to 1", self.recall));
        }
        if !(1..=MOST_ROWS).contains(&self.k) {
            return Err(format!("`k` is {}; it goes from 1 to {MOST_ROWS}", self.k));
        }
        if !(-1.0..=1.0).contains(&self.match_threshold) {
            return Err(format!(
                "`match_threshold` is {}; it goes from -1 to 1",
                self.match_threshold
            ));
        }
        Ok(())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, ExpectItem)>, ActionError> {
        let Self { table, shadow, queries, agent, recall, k, match_threshold } = self;
        let read = tokio::task::spawn_blocking(move || queries.read(agent.as_deref())).await;
        let queries = read.unwrap_or_else(|error| {
            Err(ActionError::new(ErrorKind::Failed, "read the labelled queries").caused_by(&error))
        })?;
        let item = ExpectItem { table, shadow, queries, recall, k, match_threshold };
        Ok(vec![(String::new(), item)])
    }

    fn make(item: ExpectItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Question { connections: cx.connections.clone(), item })))
    }
}

struct Question {
    connections: Arc<Connections>,
    item: ExpectItem,
}

/// The way to search.
enum Way<'a> {
    Rest(Box<Rest>),
    Function(&'a str),
    Comparison,
}

impl Question {
    async fn ask(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        let item = &self.item;
        let settings = KnowledgeConnection::of(&self.connections)?;
        let embeddings = Embeddings::of(&self.connections)?;
        let way = self.way(&settings)?;
        let server = Server::of(&self.connections)?;
        let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
        let tx = session.look(Patience::default()).await?;
        let (table, shown) = place(&item.table, item.shadow.then_some(cx.run()))?;
        let Some(stored) = Stored::find(&tx, &table, &shown, &settings.columns).await? else {
            return Ok(Answer::No { observed: format!("there is no {shown}") });
        };
        let names: BTreeSet<&String> = item.queries.iter().map(|query| &query.agent).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let agents = stored.agents(&tx, Some(&names)).await?;
        if let Some(observed) = unsearchable(&names, &agents) {
            return Ok(Answer::No { observed });
        }
        let dimensions = agents.values().find_map(|agent| agent.dimensions);
        let dimensions = dimensions.map_or(1, |(least, ..)| least as usize);
        self.same_model(&agents, embeddings.model())?;
        let texts: Vec<&str> = item.queries.iter().map(|query| &*query.query).collect();
        let vectors = embeddings.embed(cx, &texts, dimensions).await?;
        same_size(&agents, vectors.first())?;
        let mut results = Vec::new();
        for (query, vector) in item.queries.iter().zip(&vectors) {
            let wanted = Wanted {
                agent: &query.agent,
                vector,
                threshold: item.match_threshold,
                count: item.k,
                document: &settings.columns.document,
            };
            results.push(search(cx, &tx, &way, &stored, &wanted).await?);
        }
        self.same_names(&tx, &stored, &results).await?;
        Ok(item.judge(&results, (&agents, embeddings.model()), self.connections.secrets()))
    }

    fn way<'a>(&self, settings: &'a KnowledgeConnection) -> Result<Way<'a>, ActionError> {
        if self.item.shadow {
            return Ok(Way::Comparison);
        }
        Ok(match settings.search()? {
            SearchService::Sql(sql) => Way::Function(&sql.function),
            SearchService::Postgrest(api) => {
                let secrets = self.connections.secrets().clone();
                Way::Rest(Box::new(Rest::new(api, settings.ca_file.clone(), secrets)?))
            }
        })
    }

    /// Rows that are known by their `id` alone may be the very documents that are missed.
    async fn same_names(
        &self,
        tx: &Tx<'_>,
        stored: &Stored<'_>,
        results: &[Vec<Hit>],
    ) -> Result<(), ActionError> {
        let answers = self.item.queries.iter().zip(results);
        let nameless = answers.filter(|(_, hits)| hits.iter().any(|hit| !hit.tells_document));
        let missed: Vec<String> =
            nameless.flat_map(|(query, hits)| query.lacks(hits)).cloned().collect();
        if missed.is_empty() {
            return Ok(());
        }
        let Some(name) = stored.document_among(tx, missed).await? else { return Ok(()) };
        let text = format!(
            "measure the recall: the search returns no `{}`, by which the queries name {}",
            stored.columns.document,
            quoted(name.as_bytes(), self.connections.secrets())
        );
        Err(ActionError::new(ErrorKind::Invalid, text).hint(DOCUMENT))
    }

    /// Vectors of another model than the rows would measure nothing.
    fn same_model(&self, agents: &Agents, model: &str) -> Result<(), ActionError> {
        let other = agents.iter().find_map(|(name, agent)| {
            agent.models.keys().find(|known| *known != model).map(|known| (name, known))
        });
        let Some((name, known)) = other else { return Ok(()) };
        let known = quoted(known.as_bytes(), self.connections.secrets());
        let text = format!(
            "measure the recall of `{name}`: its rows are of the model {known}, and queries would be of {model}"
        );
        Err(ActionError::new(ErrorKind::Conflict, text).hint(
            "Vectors of two models cannot be compared. Name the rows' model in `connections: {knowledge: {embeddings: {model: …}}}`, or index them again.",
        ))
    }
}

async fn search(
    cx: &StepContext,
    tx: &Tx<'_>,
    way: &Way<'_>,
    stored: &Stored<'_>,
    wanted: &Wanted<'_>,
) -> Result<Vec<Hit>, ActionError> {
    let mut hits = match way {
        Way::Rest(rest) => rest.search(cx, wanted).await?,
        Way::Function(function) => by_function(tx, function, stored, wanted).await?,
        Way::Comparison => by_comparison(tx, stored, wanted).await?,
    };
    // A function that takes no notice of the count would make every recall better.
    hits.truncate(wanted.count as usize);
    Ok(hits)
}

/// Why no search can be good: rows are missing, or cannot be compared with each other.
fn unsearchable(names: &[String], agents: &Agents) -> Option<String> {
    let missing = names.iter().find(|name| !agents.contains_key(*name));
    let missing = missing.map(|name| format!("there is no row of `{name}`"));
    missing.or_else(|| agents.iter().find_map(|(name, agent)| agent.mixture(name)))
}

fn same_size(agents: &Agents, vector: Option<&Embedding>) -> Result<(), ActionError> {
    let size = vector.map_or(0, |vector| vector.len());
    let other = agents.iter().find_map(|(name, agent)| {
        agent
            .dimensions
            .filter(|(least, ..)| *least as usize != size)
            .map(|(least, ..)| (name, least))
    });
    let Some((name, stored)) = other else { return Ok(()) };
    let text = format!(
        "measure the recall of `{name}`: its rows have {stored} dimensions, and queries {size}"
    );
    Err(ActionError::new(ErrorKind::Conflict, text).hint(
        "Ask for as many in `connections: {knowledge: {embeddings: {dimensions: …}}}`, or index the rows again.",
    ))
}

#[async_trait]
impl Probe for Question {
    fn describe(&self) -> Description {
        let ExpectItem { table, shadow, queries, recall, k, .. } = &self.item;
        let what = if *shadow { format!("the shadow of {table}") } else { table.clone() };
        let queries = match queries.len() {
            1 => "1 labelled query".to_owned(),
            many => format!("{many} labelled queries"),
        };
        Description::question(format!("recall@{k} of {queries} in {what} is at least {recall}"))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(self.ask(cx).await?.into())
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        match self.ask(cx).await {
            Err(error) if error.kind != ErrorKind::Cancelled => {
                let causes =
                    error.causes.first().map_or_else(String::new, |cause| format!(": {cause}"));
                Ok(Answer::NoData { reason: format!("failed to {error}{causes}") })
            }
            other => other,
        }
    }
}

impl Labelled {
    /// The documents that it expects and are not among these.
    fn lacks(&self, hits: &[Hit]) -> Vec<&String> {
        self.expect.iter().filter(|name| !hits.iter().any(|hit| hit.is(name))).collect()
    }
}

impl ExpectItem {
    #[expect(clippy::cast_precision_loss, reason = "there are at most a thousand queries")]
    fn judge(&self, results: &[Vec<Hit>], of: (&Agents, &str), secrets: &Secrets) -> Answer {
        let (mut sum, mut missed) = (0.0, Vec::new());
        for (query, hits) in self.queries.iter().zip(results) {
            let lacks = query.lacks(hits);
            let found = query.expect.len() - lacks.len();
            sum += found as f64 / query.expect.len() as f64;
            if !lacks.is_empty() {
                missed.push((query, lacks, hits));
            }
        }
        let recall = sum / self.queries.len().max(1) as f64;
        let summary = format!(
            "recall@{} is {recall:.3} over {} queries, wanted at least {}",
            self.k,
            self.queries.len(),
            self.recall
        );
        let clean = |text: &str| quoted(text.as_bytes(), secrets);
        if recall >= self.recall {
            let (agents, model) = of;
            let missed: Vec<_> = missed
                .iter()
                .take(MOST_MISSED)
                .map(|(query, lacks, hits)| {
                    let found: Vec<String> = hits.iter().map(|hit| clean(hit.shown())).collect();
                    json!({ "query": query.query, "agent": query.agent, "missed": lacks, "found": found })
                })
                .collect();
            let facts = json!({ "recall": recall, "k": self.k, "queries": self.queries.len(), "model": model, "agents": agents, "missed": missed });
            return Answer::Yes { evidence: Evidence::with(summary, facts) };
        }
        let shown = missed.iter().take(MOST_SHOWN).map(|(query, lacks, hits)| {
            let found = hits.first().map_or_else(|| "nothing".to_owned(), |hit| clean(hit.shown()));
            format!(
                "\"{}\" ({}) lacks {}, found {found} first",
                clean(&query.query),
                query.agent,
                clean(lacks[0])
            )
        });
        let shown = shown.collect::<Vec<_>>().join("; ");
        let more = match missed.len().saturating_sub(MOST_SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Answer::No { observed: format!("{summary}: {shown}{more}") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn item(recall: f64, expected: &[&[&str]]) -> ExpectItem {
        let queries = expected.iter().map(|expect| Labelled {
            query: "how?".into(),
            agent: "a".into(),
            expect: expect.iter().map(|name| (*name).to_owned()).collect(),
        });
        ExpectItem {
            table: "t".into(),
            shadow: false,
            queries: queries.collect(),
            recall,
            k: 5,
            match_threshold: 0.0,
        }
    }

    fn hits(names: &[&str]) -> Vec<Hit> {
        names.iter().filter_map(|name| Hit::of(&json!({ "title": name }), "title")).collect()
    }

    #[test]
    fn recall_is_the_mean_share_of_what_is_found() {
        let results = [hits(&["A", "B"]), hits(&["C"])];
        let judge = |recall| {
            item(recall, &[&["A"], &["B", "C"]]).judge(
                &results,
                (&Agents::new(), "m"),
                &Secrets::default(),
            )
        };
        let Answer::Yes { evidence } = judge(0.75) else { panic!("0.75 is enough") };
        assert_eq!(evidence.summary, "recall@5 is 0.750 over 2 queries, wanted at least 0.75");
        assert_eq!(evidence.facts["missed"][0]["missed"], json!(["B"]));
        assert_eq!(evidence.facts["model"], "m");
        let Answer::No { observed } = judge(0.76) else { panic!("0.75 is too little") };
        assert!(observed.ends_with("\"how?\" (a) lacks B, found C first"), "{observed}");
    }

    #[test]
    fn arguments_that_measure_nothing_are_refused() {
        let check = |more: Value| {
            let mut args = json!({"table": "t", "queries": "queries.json"});
            args.as_object_mut()
                .expect("a mapping")
                .extend(more.as_object().expect("a mapping").clone());
            serde_json::from_value::<Expect>(args).expect("arguments").validate()
        };
        assert_eq!(check(json!({})), Ok(()));
        for bad in [
            json!({"recall": 1.5}),
            json!({"k": 0}),
            json!({"k": 101}),
            json!({"match_threshold": 2}),
            json!({"queries": []}),
            json!({"table": "a.b.c"}),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad}");
        }
    }
}
