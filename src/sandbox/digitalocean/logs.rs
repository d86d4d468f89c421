//! Logs: the API gives addresses, and other hosts give the text. Whoever sends those hosts the token is found out.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::account::{Account, Holdings, Refusal};

/// The part of every address that would be the signature of a real one.
const SIGNATURE: &str = "signature=presigned";

impl Holdings {
    /// Where the log of an app is (`GET /v2/apps/{id}/…/logs`); `host` is where the hosts of logs are.
    pub(super) fn logs(
        &self,
        (app, deployment): (&str, Option<&str>),
        (kind, host): (&str, &str),
    ) -> Result<Value, Refusal> {
        let app = self.app(app)?;
        let id = deployment.or(app.active.as_deref()).ok_or_else(Refusal::not_found)?;
        let _found = app.deployment(id).ok_or_else(Refusal::not_found)?;
        if let Some(places) = &app.log_places {
            return Ok(places.clone());
        }
        let at = |how: &str| format!("{host}/logs/{how}/{}/{kind}?{SIGNATURE}", app.id);
        Ok(match kind {
            "BUILD" | "DEPLOY" => json!({"historic_urls": [at("kept")]}),
            // Its containers are gone.
            "RUN" if app.is_archived() => json!({"historic_urls": []}),
            "RUN" => json!({"live_url": at("live"), "historic_urls": []}),
            "RUN_RESTARTED" | "AUTOSCALE_EVENT" => json!({"historic_urls": []}),
            _ => return Err(Refusal::invalid("type is none of the types of logs")),
        })
    }
}

/// The hosts of logs. They are asked with the address alone.
pub(super) fn router(account: Account) -> axum::Router {
    axum::Router::new()
        .route("/logs/{how}/{app}/{kind}", axum::routing::get(give))
        .with_state(account)
}

async fn give(
    State(account): State<Account>,
    Path((how, app, kind)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    if headers.contains_key(header::AUTHORIZATION) {
        account.ledger().record("digitalocean credentials sent to a host of logs");
        return (StatusCode::BAD_REQUEST, "only one way to authenticate is allowed")
            .into_response();
    }
    let text = account.look(|holdings| {
        let app = holdings.app(&app)?;
        let lines = app.log.iter().map(|line| {
            format!(
                "{} {kind} {line}
",
                app.name()
            )
        });
        Ok(lines.collect::<Vec<_>>().concat())
    });
    match (text, how.as_str()) {
        (Ok(text), "kept") => text.into_response(),
        // What is live never ends.
        (Ok(text), "live") => {
            let text = stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from(text)) });
            Body::from_stream(text.chain(stream::pending())).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
