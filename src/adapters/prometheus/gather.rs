//! How queries went around an incident, for evidence.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{Prometheus, Window};
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
            Ok(found) => gathering.piece(name, format!("{found:#}\n").into_bytes()),
            Err(error) => Piece { name, content: Err(error), left_out: 0 },
        });
    }
    Ok(pieces)
}

async fn series(
    prometheus: &Prometheus,
    cx: &StepContext,
    query: &str,
    gathering: &Gathering,
) -> Result<Value, ActionError> {
    let (since, end) = (gathering.since.as_duration(), gathering.until.as_duration());
    let step = ((end - since).as_secs_f64() / f64::from(STEPS)).max(1.0);
    let window = Window { end: end.as_secs_f64(), step, before: STEPS };
    let given = prometheus.query_window(cx, query, window).await?;
    let series: Vec<Value> = given
        .data
        .iter()
        .map(|series| {
            let points: Vec<_> =
                series.points.iter().map(|point| (point.at, point.value)).collect();
            json!({"labels": series.labels.to_string(), "points": points})
        })
        .collect();
    Ok(json!({"query": query, "series": series, "warnings": given.warnings}))
}
