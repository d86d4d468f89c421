//! The HTTP API of Prometheus (<https://prometheus.io/docs/prometheus/latest/querying/api/>), over the client of `http`.
//!
//! Queries are sent as forms, since a long one does not fit into a URL and a URL ends up in the logs of proxies. Nothing that is
//! sent here changes anything, so an answer that does not come is a failure that may pass, and never an unknown outcome.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::connection::{Address, PrometheusConnection};
use super::envelope::{self, Given, QueryResult};
use super::series::Series;
use crate::action::{ActionError, Connections, ErrorKind, StepContext};
use crate::adapters::http::{Answer, Client, Content, HttpConnection, Message, Method, Resolved};
use crate::secret::Secrets;

/// The longest wait for one answer: a server that hangs is asked again. The deadline is often nearer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The time for the question whether Prometheus answers; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);

/// The steps at which a query is evaluated, in the server's time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// The last step, in seconds since 1970.
    pub(super) end: f64,
    /// The time between two steps, in seconds.
    pub(super) step: f64,
    /// How many steps lie before the last.
    pub(super) before: u32,
}

/// The server of an environment.
pub(super) struct Prometheus {
    http: Client,
    base: String,
    /// Its address as people may see it.
    at: String,
    token: Option<String>,
}

impl Prometheus {
    /// The one of these connections.
    pub(super) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let secrets = connections.secrets().clone();
        connections.client::<PrometheusConnection, Self, _>(|settings, _| {
            let Address { base, shown } = settings.address(&secrets)?;
            let reached = HttpConnection { ca_file: settings.ca_file, ..HttpConnection::default() };
            let http = Client::new(reached, secrets, "{prometheus: {ca_file: …}}");
            Ok(Self { http, base, at: shown, token: settings.token })
        })
    }

    fn secrets(&self) -> &Secrets {
        self.http.secrets()
    }

    /// Evaluates a query at one time, the server's now without one.
    pub(super) async fn query(
        &self,
        cx: &StepContext,
        query: &str,
        at: Option<f64>,
    ) -> Result<Given<Vec<Series>>, ActionError> {
        let at = at.map(|at| format!("{at:.3}"));
        let mut fields = vec![("query", query)];
        fields.extend(at.as_deref().map(|at| ("time", at)));
        let given: Given<QueryResult> = self.post(cx, "/api/v1/query", &fields).await?;
        if given.data.is_matrix() {
            return Err(self.unsuited("the query gives a window of samples, such as `name[5m]`"));
        }
        self.series(given)
    }

    /// Evaluates a query at every step of a window.
    pub(super) async fn query_window(
        &self,
        cx: &StepContext,
        query: &str,
        window: Window,
    ) -> Result<Given<Vec<Series>>, ActionError> {
        let start = window.step.mul_add(-f64::from(window.before), window.end);
        let [start, end, step] = [start, window.end, window.step].map(|time| format!("{time:.3}"));
        let fields = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        self.series(self.post(cx, "/api/v1/query_range", &fields).await?)
    }

    /// All alerting rules with their alerts.
    pub(super) async fn rules<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
    ) -> Result<Given<T>, ActionError> {
        self.ask(cx, Method::Get, "/api/v1/rules?type=alert", Content::Empty).await
    }

    fn series(&self, given: Given<QueryResult>) -> Result<Given<Vec<Series>>, ActionError> {
        let data = given.data.series(self.secrets()).map_err(|why| self.unsuited(&why))?;
        Ok(Given { data, warnings: given.warnings })
    }

    fn unsuited(&self, why: &str) -> ActionError {
        ActionError::new(ErrorKind::Invalid, format!("{}: {why}", self.asked()))
            .hint("Write a query that gives one number, or one for each series.")
    }

    fn asked(&self) -> String {
        format!("ask prometheus at {}", self.at)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Given<T>, ActionError> {
        let form =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask(cx, Method::Post, path, Content::Text(form)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<Given<T>, ActionError> {
        let answer = self.exchange(cx, method, path, content).await?;
        envelope::open(&self.asked(), &answer, self.secrets())
    }

    async fn exchange(
        &self,
        cx: &StepContext,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<Answer, ActionError> {
        let mut headers = IndexMap::new();
        if let Content::Text(_) = content {
            let form = "application/x-www-form-urlencoded".to_owned();
            let _none = headers.insert("Content-Type".to_owned(), form);
        }
        if let Some(token) = &self.token {
            let _none = headers.insert("Authorization".to_owned(), format!("Bearer {token}"));
        }
        let url = format!("{}{path}", self.base);
        let message =
            Message { method, url, headers, content, resolved: Resolved::new(), fresh: true };
        let until = cx.deadline().min(Instant::now() + ANSWER_WITHIN);
        let answered = self.http.exchange(&message, until, cx.cancelled()).await;
        answered.map_err(|error| self.unanswered(cx, until, error))
    }

    /// The error of a question without an answer. Whether it was heard makes no difference to one that only reads.
    fn unanswered(&self, cx: &StepContext, until: Instant, error: ActionError) -> ActionError {
        let (kind, text) = match error.kind {
            ErrorKind::Invalid => return error,
            _ if cx.cancelled().is_cancelled() => {
                (ErrorKind::Cancelled, format!("{}: the run was told to stop", self.asked()))
            }
            _ if Instant::now() >= until => {
                (ErrorKind::TimedOut, format!("{}: no answer in time", self.asked()))
            }
            ErrorKind::Unreachable => {
                (ErrorKind::Unreachable, format!("reach prometheus at {}", self.at))
            }
            _ => (ErrorKind::Failed, format!("{}: the answer broke off", self.asked())),
        };
        // A certificate that is not trusted is no better a little later.
        let again = kind != ErrorKind::Cancelled && (error.retryable || error.outcome_unknown());
        let mut told = ActionError::new(kind, text).retryable(again);
        (told.causes, told.hints) = (error.causes, error.hints);
        told
    }
}

#[derive(Deserialize)]
struct BuildInfo {
    version: String,
}

/// Whether Prometheus answers: `prometheus 2.42.0 at metrics:9090`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let prometheus = Prometheus::of(connections)?;
    let cx = StepContext::looking(REACHING);
    // Ready is what answers queries; a server that still reads its log of samples refuses them.
    let ready = prometheus.exchange(&cx, Method::Get, "/-/ready", Content::Empty).await?;
    if ready.status != 200 {
        // Those that only speak as it does, such as Thanos or Mimir, may have no such page.
        let empty: Given<QueryResult> =
            prometheus.post(&cx, "/api/v1/query", &[("query", "vector(1)")]).await?;
        drop(empty);
        return Ok(format!("prometheus answers at {}", prometheus.at));
    }
    // It is ready; a server that keeps its version to itself is named without it.
    let path = "/api/v1/status/buildinfo";
    let built: Result<Given<BuildInfo>, _> =
        prometheus.ask(&cx, Method::Get, path, Content::Empty).await;
    let version = built.map(|built| built.data.version.chars().take(30).collect::<String>());
    Ok(format!("prometheus {} at {}", version.as_deref().unwrap_or("is ready"), prometheus.at))
}
