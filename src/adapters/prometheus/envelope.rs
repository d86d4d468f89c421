//! The envelope of every answer (<https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview>), and which
//! kind of the port each refusal is. The only place that decides it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::series::{Labels, Point, Series};
use crate::action::{ActionError, ErrorKind};
use crate::adapters::http::{Answer, quoted};
use crate::secret::Secrets;

/// The most of the server's warnings that is shown.
const MOST_WARNINGS: usize = 3;

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Box<RawValue>>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// What a server gave, and what it warns of.
#[derive(Debug)]
pub(super) struct Given<T> {
    pub(super) data: T,
    pub(super) warnings: Vec<String>,
}

/// What is behind `data` in an answer of `asked`, a fragment such as `ask prometheus at metrics:9090`.
pub(super) fn open<T: DeserializeOwned>(
    asked: &str,
    answer: &Answer,
    secrets: &Secrets,
) -> Result<Given<T>, ActionError> {
    if answer.cut {
        let text = format!("{asked}: the answer is longer than 1 MiB");
        return Err(ActionError::new(ErrorKind::Failed, text)
            .hint("Aggregate in the query, such as with `max by (instance) (…)`."));
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&answer.body) else {
        return Err(foreign(asked, answer, secrets));
    };
    if envelope.status != "success" || answer.status != 200 {
        let kind = envelope.error_type.as_deref().unwrap_or_default();
        let said = envelope.error.as_deref().unwrap_or("no reason is given");
        let said = quoted(said.as_bytes(), secrets);
        return Err(refused(asked, answer.status, kind, &said));
    }
    let data = envelope.data.as_deref().map_or("null", RawValue::get);
    let data = serde_json::from_str(data).map_err(|error| {
        // The parser repeats what it did not expect, whatever its length.
        let why = quoted(error.to_string().as_bytes(), secrets);
        let text = format!("{asked}: the answer has another form: {why}");
        ActionError::new(ErrorKind::Failed, text)
    })?;
    let warnings = envelope.warnings.iter().take(MOST_WARNINGS);
    let warnings = warnings.map(|text| quoted(text.as_bytes(), secrets)).collect();
    Ok(Given { data, warnings })
}

/// Prometheus itself refuses.
fn refused(asked: &str, status: u16, error_type: &str, said: &str) -> ActionError {
    let text = format!("{asked}: {said}");
    match error_type {
        "bad_data" => ActionError::new(ErrorKind::Invalid, text)
            .hint("Try the query in the server's own page, `/graph`, and mend it."),
        // The query is fine and its data do not suit it, such as two series where one may be.
        "execution" => ActionError::new(ErrorKind::Failed, text)
            .hint("Try the query in the server's own page, `/graph`."),
        "timeout" | "canceled" | "unavailable" => {
            ActionError::new(ErrorKind::Failed, text).retryable(true)
        }
        _ => by_status(status, text),
    }
}

/// Something answered that does not speak as Prometheus does, such as a proxy.
fn foreign(asked: &str, answer: &Answer, secrets: &Secrets) -> ActionError {
    let text = format!("{asked}: it answered {}", answer.gist(secrets));
    by_status(answer.status, text)
}

fn by_status(status: u16, text: String) -> ActionError {
    match status {
        401 | 403 | 407 => ActionError::new(ErrorKind::Denied, text)
            .hint("Check `token` of the connection `prometheus`."),
        404 | 410 => ActionError::new(ErrorKind::NotFound, text)
            .hint("Does `url` of the connection `prometheus` end with the path of the API?"),
        429 | 500..=599 => ActionError::new(ErrorKind::Failed, text).retryable(true),
        _ => ActionError::new(ErrorKind::Failed, text)
            .hint("Is `url` of the connection `prometheus` that of a Prometheus server?"),
    }
}

/// The result of a query, by its type.
#[derive(Deserialize)]
pub(super) struct QueryResult {
    #[serde(rename = "resultType")]
    kind: String,
    result: Box<RawValue>,
}

/// A time and a value as the API writes them: `[1435781451.781, "1"]`.
type Written = (f64, String);

#[derive(Deserialize)]
struct WrittenSeries {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<Written>,
    #[serde(default)]
    values: Vec<Written>,
}

impl QueryResult {
    /// The series of a vector or, for a window, of a matrix; a scalar is a series without labels. The error is a fragment.
    pub(super) fn series(&self, secrets: &Secrets) -> Result<Vec<Series>, String> {
        let unreadable = |error: serde_json::Error| {
            let why = quoted(error.to_string().as_bytes(), secrets);
            format!("the result has another form: {why}")
        };
        match self.kind.as_str() {
            "scalar" => {
                let written = serde_json::from_str(self.result.get()).map_err(unreadable)?;
                Ok(vec![Series { labels: Labels::default(), points: vec![point(&written)?] }])
            }
            "vector" | "matrix" => {
                let written: Vec<WrittenSeries> =
                    serde_json::from_str(self.result.get()).map_err(unreadable)?;
                written.into_iter().map(|series| read(series, secrets)).collect()
            }
            "string" => Err("the query gives a text, and not numbers".to_owned()),
            _ => Err("the query gives something that is neither a vector nor a scalar".to_owned()),
        }
    }

    /// Whether the query gave several values for each series although one time was asked for: `name[5m]`.
    pub(super) fn is_matrix(&self) -> bool {
        self.kind == "matrix"
    }
}

fn read(written: WrittenSeries, secrets: &Secrets) -> Result<Series, String> {
    let labels = written.metric.into_iter();
    let labels = Labels::new(labels.map(|(name, value)| (name, secrets.redact(&value))).collect());
    let points: Vec<Point> =
        written.value.iter().chain(&written.values).map(point).collect::<Result<_, _>>()?;
    if points.is_empty() {
        return Err("a series is a histogram, and no single value".to_owned());
    }
    Ok(Series { labels, points })
}

/// Values are texts, since JSON has neither `NaN` nor `+Inf`.
fn point((at, value): &Written) -> Result<Point, String> {
    let value = value.parse().map_err(|_| "a value is not a number".to_owned())?;
    Ok(Point { at: *at, value })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use serde_json::{Value, json};

    use super::*;

    fn answer(status: u16, body: &Value) -> Answer {
        let body = body.to_string().into_bytes();
        Answer { status, headers: HeaderMap::new(), body, cut: false }
    }

    fn error_of(status: u16, body: &Value) -> ActionError {
        let secrets = Secrets::default();
        open::<Value>("ask", &answer(status, body), &secrets).map(|_| ()).expect_err("refused")
    }

    #[test]
    fn every_refusal_has_its_kind() {
        for (status, error_type, kind, again) in [
            (400, "bad_data", ErrorKind::Invalid, false),
            (422, "execution", ErrorKind::Failed, false),
            (503, "timeout", ErrorKind::Failed, true),
            (503, "canceled", ErrorKind::Failed, true),
            (503, "unavailable", ErrorKind::Failed, true),
            (500, "internal", ErrorKind::Failed, true),
            (404, "not_found", ErrorKind::NotFound, false),
        ] {
            let body = json!({"status": "error", "errorType": error_type, "error": "it says why"});
            let error = error_of(status, &body);
            assert_eq!((error.kind, error.retryable), (kind, again), "{error_type}: {error:?}");
            assert_eq!(error.message, "ask: it says why");
        }
        for (status, kind, again) in [
            (401, ErrorKind::Denied, false),
            (403, ErrorKind::Denied, false),
            (404, ErrorKind::NotFound, false),
            (429, ErrorKind::Failed, true),
            (502, ErrorKind::Failed, true),
            (200, ErrorKind::Failed, false),
            (302, ErrorKind::Failed, false),
        ] {
            let error = error_of(status, &json!("a page of another server"));
            assert_eq!((error.kind, error.retryable), (kind, again), "{status}: {error:?}");
        }
    }

    #[test]
    fn what_a_server_repeats_is_redacted_and_warnings_are_kept() {
        let mut secrets = Secrets::default();
        let _marker = secrets.insert("token", "hunter2-hunter2".into());
        let body = json!({"status": "error", "error": "no hunter2-hunter2"});
        let error = open::<Value>("ask", &answer(400, &body), &secrets).map(|_| ()).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        let body = json!({
            "status": "success",
            "data": {"resultType": "vector", "result": [
                {"metric": {"a": "hunter2-hunter2"}, "value": [1.5, "+Inf"]}
            ]},
            "warnings": ["a remote read failed", "for hunter2-hunter2"],
        });
        let given: Given<QueryResult> = open("ask", &answer(200, &body), &secrets).unwrap();
        assert_eq!(given.warnings, ["a remote read failed", "for [secret]"]);
        let series = given.data.series(&secrets).unwrap();
        assert_eq!(series[0].labels.to_string(), r#"{a="[secret]"}"#);
        assert_eq!(series[0].points, [Point { at: 1.5, value: f64::INFINITY }]);
    }

    #[test]
    fn results_of_other_types_are_told() {
        let series = |kind: &str, result: Value| {
            let data = json!({"resultType": kind, "result": result});
            let body = json!({"status": "success", "data": data});
            let given: Given<QueryResult> =
                open("ask", &answer(200, &body), &Secrets::default()).unwrap();
            given.data.series(&Secrets::default())
        };
        let scalar = series("scalar", json!([1.0, "NaN"])).unwrap();
        assert!(scalar[0].latest().is_nan());
        assert!(series("string", json!([1.0, "x"])).unwrap_err().contains("a text"));
        assert!(series("novelty", json!([])).is_err());
        let histogram = json!([{"metric": {}, "histogram": [1.0, {"count": "1"}]}]);
        assert!(series("vector", histogram).unwrap_err().contains("histogram"));
        let broken = json!([{"metric": {}, "value": [1.0, "many"]}]);
        assert!(series("vector", broken).is_err());
    }
}
