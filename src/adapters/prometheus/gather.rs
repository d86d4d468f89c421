//! How queries went around an incident, for evidence.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{Prometheus, Window};
use super::envelope::Given;
use super::series::{Point, Series};
use crate::action::{ActionError, Connections, Gathering, Piece, StepContext};

/// How many steps the time is divided into.
const STEPS: u32 = 120;

/// Every named query over the time, one after another: a server that is in trouble has enough to do.
pub(super) async fn gather(
    connections: &Connections,
    gathering: &Gathering,
) -> Result<Vec<Piece>, ActionError> {
    let queries: BTreeMap<String, String> = gathering.settings()?;
    let prometheus = Prometheus::of(connections)?;
    let cancel = CancellationToken::new();
    let cx = StepContext::new(gathering.deadline, cancel, std::env::temp_dir(), "evidence");
    let mut pieces = Vec::new();
    for (name, query) in queries {
        let name = format!("{name}.json");
        pieces.push(match series(&prometheus, &cx, &query, gathering).await {
            Ok(found) => told(name, &query, &found, gathering),
            Err(error) => Piece::missing(name, error),
        });
    }
    Ok(pieces)
}

/// The series as they went, and their mean on both sides of the rollback.
fn told(name: String, query: &str, found: &Given<Vec<Series>>, gathering: &Gathering) -> Piece {
    let series = found.data.iter().map(|series| {
        let points: Vec<_> = series.points.iter().map(|point| (point.at, point.value)).collect();
        json!({"labels": series.labels.to_string(), "points": points})
    });
    let series: Vec<Value> = series.collect();
    let text = json!({"query": query, "series": series, "warnings": found.warnings});
    let (began, ended) = gathering.rollback;
    let (began, ended) = (seconds(began), seconds(ended));
    let points = || found.data.iter().flat_map(|series| &series.points);
    let before = mean(points().filter(|point| point.at < began));
    let after = mean(points().filter(|point| point.at > ended));
    let piece = gathering.piece(name, format!("{text:#}\n").into_bytes());
    Piece { compared: Some((before, after)), ..piece }
}

fn mean<'a>(points: impl Iterator<Item = &'a Point>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for point in points.filter(|point| point.value.is_finite()) {
        sum += point.value;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

async fn series(
    prometheus: &Prometheus,
    cx: &StepContext,
    query: &str,
    gathering: &Gathering,
) -> Result<Given<Vec<Series>>, ActionError> {
    let (since, end) = (seconds(gathering.since), seconds(gathering.until));
    let step = ((end - since) / f64::from(STEPS)).max(1.0);
    prometheus.query_window(cx, query, Window { end, step, before: STEPS }).await
}
