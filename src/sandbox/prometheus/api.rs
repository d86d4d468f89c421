//! The HTTP API: the paths that clients of this program ask, in the form of Prometheus 2.42.

use std::collections::HashMap;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::Prometheus;
use super::query::{Query, Selector};
use super::store::{Labels, Sample};
use crate::clock;
use crate::sandbox::faults::{Double, Faults};
use crate::sandbox::wire::{Front, routed};

/// The longest form that is read, in bytes.
const LONGEST_FORM: usize = 1 << 20;
/// The most points of one series, as Prometheus has it.
const MOST_POINTS: f64 = 11_000.0;

type Fields = HashMap<String, String>;

/// A refusal: the parameter, and what is wrong with it.
type Refusal = (StatusCode, &'static str, String);

impl Prometheus {
    /// The server behind the faults of its world.
    pub fn front(&self, faults: Option<Faults>) -> Front {
        Front {
            faults: faults.map(|faults| (Double::Prometheus, faults)),
            handler: routed(self.router()),
            refuse,
        }
    }

    fn router(&self) -> axum::Router {
        axum::Router::new()
            .route("/-/ready", get(async || "Prometheus Server is Ready.\n"))
            .route("/api/v1/status/buildinfo", get(build))
            .route("/api/v1/query", get(instant).post(instant))
            .route("/api/v1/query_range", get(window).post(window))
            .route("/api/v1/alerts", get(alerts))
            .route("/api/v1/rules", get(rules))
            .with_state(self.clone())
    }
}

fn success(data: &Value) -> Response<Body> {
    Json(json!({"status": "success", "data": data})).into_response()
}

fn error(status: StatusCode, kind: &str, text: &str) -> Response<Body> {
    (status, Json(json!({"status": "error", "errorType": kind, "error": text}))).into_response()
}

/// An injected error in the words of Prometheus.
fn refuse(status: StatusCode) -> Response<Body> {
    let kind = match status.as_u16() {
        400 => "bad_data",
        422 => "execution",
        503 => "unavailable",
        _ => "internal",
    };
    error(status, kind, "a fault was injected")
}

fn bad(parameter: &str, what: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, "bad_data", format!("invalid parameter {parameter:?}: {what}"))
}

/// The parameters, from the URL and from a form.
async fn fields(request: Request<Body>) -> Result<Fields, Refusal> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, LONGEST_FORM).await.map_err(|error| {
        (StatusCode::BAD_REQUEST, "bad_data", format!("error parsing form values: {error}"))
    })?;
    let from_url = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let all = from_url.chain(form_urlencoded::parse(&body));
    Ok(all.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

/// A time in seconds since 1970, as milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "a time that does not fit is refused before")]
fn time(fields: &Fields, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = fields.get(name) else { return Ok(None) };
    let seconds: Option<f64> = text.parse().ok().filter(|time: &f64| time.abs() < 1e12);
    let seconds =
        seconds.ok_or_else(|| bad(name, &format!("cannot parse {text:?} to a valid timestamp")))?;
    Ok(Some((seconds * 1000.0).round() as i64))
}

fn query(fields: &Fields) -> Result<Query, Refusal> {
    let text = fields.get("query").map(String::as_str).unwrap_or_default();
    Query::read(text).ok_or_else(|| {
        bad("query", "parse error: the sandbox's Prometheus reads selectors such as `name{label=\"value\"}` alone")
    })
}

/// A time and a value as the API has them.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit")]
fn pair((at, value): Sample) -> Value {
    let value = match value {
        value if value == f64::INFINITY => "+Inf".to_owned(),
        value if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    };
    json!([at as f64 / 1000.0, value])
}

async fn instant(State(server): State<Prometheus>, request: Request<Body>) -> Response<Body> {
    let answer = async {
        let fields = fields(request).await?;
        let at = time(&fields, "time")?.unwrap_or_else(|| clock::now().as_millisecond());
        let (kind, result) = match query(&fields)? {
            Query::Number(value) => ("scalar", pair((at, value))),
            Query::Text(text) => ("string", json!([pair((at, 0.0))[0], text])),
            other => ("vector", vector(&values(&server, &other, at), at)),
        };
        Ok::<_, Refusal>(json!({"resultType": kind, "result": result}))
    };
    told(answer.await)
}

fn vector(series: &[(Labels, f64)], at: i64) -> Value {
    let series = series.iter();
    series.map(|(labels, value)| json!({"metric": labels, "value": pair((at, *value))})).collect()
}

/// The series that a query gives at a time.
#[expect(clippy::cast_precision_loss, reason = "ages are small")]
fn values(server: &Prometheus, query: &Query, at: i64) -> Vec<(Labels, f64)> {
    match query {
        Query::Select(selector) => {
            let found = server.select(selector, at).into_iter();
            found.map(|(labels, (_, value))| (labels, value)).collect()
        }
        Query::Ages(selector) => {
            let found = server.select(selector, at).into_iter();
            let aged = found.map(|(mut labels, (sampled, _))| {
                let _name = labels.remove("__name__");
                (labels, (at - sampled) as f64 / 1000.0)
            });
            aged.collect()
        }
        Query::Number(value) => vec![(Labels::new(), *value)],
        Query::Text(_) => Vec::new(),
    }
}

async fn window(State(server): State<Prometheus>, request: Request<Body>) -> Response<Body> {
    let answer = async {
        let fields = fields(request).await?;
        let needed = |name| time(&fields, name)?.ok_or_else(|| bad(name, "cannot parse \"\""));
        let (start, end, step) = (needed("start")?, needed("end")?, needed("step")?);
        if step <= 0 {
            return Err(bad(
                "step",
                "zero or negative query resolution step widths are not accepted",
            ));
        }
        if end < start {
            return Err(bad("end", "end timestamp must not be before start time"));
        }
        #[expect(clippy::cast_precision_loss, reason = "only compared with a bound")]
        if (end - start) as f64 / step as f64 > MOST_POINTS {
            let text = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
            return Err((StatusCode::BAD_REQUEST, "bad_data", text.to_owned()));
        }
        let query = query(&fields)?;
        if let Query::Text(_) = query {
            return Err(bad(
                "query",
                "invalid expression type \"string\" for range query, must be Scalar or instant Vector",
            ));
        }
        let mut series: Vec<(Labels, Vec<Value>)> = Vec::new();
        let steps = std::iter::successors(Some(start), |at| Some(at + step));
        for at in steps.take_while(|at| *at <= end) {
            for (labels, value) in values(&server, &query, at) {
                match series.iter_mut().find(|(known, _)| *known == labels) {
                    Some((_, points)) => points.push(pair((at, value))),
                    None => series.push((labels, vec![pair((at, value))])),
                }
            }
        }
        let result: Vec<Value> = series
            .into_iter()
            .map(|(labels, points)| json!({"metric": labels, "values": points}))
            .collect();
        Ok::<_, Refusal>(json!({"resultType": "matrix", "result": result}))
    };
    told(answer.await)
}

fn told(answer: Result<Value, Refusal>) -> Response<Body> {
    match answer {
        Ok(data) => success(&data),
        Err((status, kind, text)) => error(status, kind, &text),
    }
}

async fn build() -> Response<Body> {
    success(&json!({"version": "2.42.0", "revision": "sandbox", "branch": "", "goVersion": ""}))
}

/// The alerts of a rule.
fn firing(server: &Prometheus, alert: &str, metric: &str) -> Vec<Value> {
    let Some(selector) = Selector::read(metric) else { return Vec::new() };
    let series = server.select(&selector, clock::now().as_millisecond()).into_iter();
    let firing = series.filter(|(_, (_, value))| *value > 0.0).map(|(mut labels, (_, value))| {
        let _name = labels.insert("alertname".to_owned(), alert.to_owned());
        let _metric = labels.remove("__name__");
        json!({"labels": labels, "annotations": {}, "state": "firing", "value": value.to_string()})
    });
    firing.collect()
}

async fn alerts(State(server): State<Prometheus>) -> Response<Body> {
    let rules = server.rules().iter();
    let alerts: Vec<Value> =
        rules.flat_map(|rule| firing(&server, &rule.alert, &rule.metric)).collect();
    success(&json!({"alerts": alerts}))
}

async fn rules(State(server): State<Prometheus>) -> Response<Body> {
    let rules: Vec<Value> = server
        .rules()
        .iter()
        .map(|rule| {
            let alerts = firing(&server, &rule.alert, &rule.metric);
            let state = if alerts.is_empty() { "inactive" } else { "firing" };
            json!({
                "name": rule.alert, "query": format!("{} > 0", rule.metric), "state": state, "duration": 0,
                "labels": {}, "annotations": {}, "alerts": alerts, "health": "ok", "type": "alerting"
            })
        })
        .collect();
    success(
        &json!({"groups": [{"name": "sandbox", "file": "sandbox", "interval": 1, "rules": rules}]}),
    )
}
