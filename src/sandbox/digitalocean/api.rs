//! The HTTP API: who may ask, pages, and the form of every answer.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::account::{Account, Holdings, Refusal};
use super::logs;
use crate::clock;
use crate::sandbox::faults::{Double, Faults};
use crate::sandbox::wire::{Front, plain_refusal, routed};

/// The size of a page, and its greatest.
const PAGE: usize = 20;
const GREATEST_PAGE: usize = 200;
/// Requests in an hour.
const LIMIT: u32 = 5000;

type Fields = HashMap<String, String>;
type Given = Result<Json<Value>, Refusal>;
type Shared = State<Account>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let id = match self.status.as_u16() {
            400 => "bad_request",
            401 => "unauthorized",
            404 => "not_found",
            409 => "conflict",
            422 => "unprocessable_entity",
            429 => "too_many_requests",
            503 => "service_unavailable",
            _ => "server_error",
        };
        let request = uuid::Uuid::new_v4().to_string();
        let body = json!({"id": id, "message": self.message, "request_id": request});
        (self.status, Json(body)).into_response()
    }
}

/// An injected error in the words of the API; a 429 says when to come back.
fn refuse(status: StatusCode) -> Response<Body> {
    let mut answer = Refusal::new(status, "a fault was injected").into_response();
    if let Some(wait) = plain_refusal(status).headers_mut().remove(header::RETRY_AFTER) {
        let _none = answer.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    limited(answer)
}

/// The headers that every answer of the API has.
fn limited(mut answer: Response<Body>) -> Response<Body> {
    let reset = clock::now().as_second() + 3600;
    for (name, value) in [
        ("ratelimit-limit", i64::from(LIMIT)),
        ("ratelimit-remaining", i64::from(LIMIT) - 1),
        ("ratelimit-reset", reset),
    ] {
        let name = HeaderName::from_static(name);
        let _none = answer.headers_mut().insert(name, HeaderValue::from(value));
    }
    answer
}

impl Account {
    /// The API behind the faults of its world.
    pub fn front(&self, faults: Option<Faults>) -> Front {
        let (api, logs) = (routed(self.router()), routed(logs::router(self.clone())));
        let expected = format!("Bearer {}", self.token());
        let handler = move |request: Request<Body>| {
            let (api, logs, expected) = (api.clone(), logs.clone(), expected.clone());
            let answering: futures_util::future::BoxFuture<'static, Response<Body>> =
                Box::pin(async move {
                    if request.uri().path().starts_with("/logs/") {
                        return logs(request).await;
                    }
                    let given = request.headers().get(header::AUTHORIZATION);
                    if given.is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
                        let text = "Unable to authenticate you.";
                        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, text);
                        return limited(refusal.into_response());
                    }
                    limited(api(request).await)
                });
            answering
        };
        Front {
            faults: faults.map(|faults| (Double::DigitalOcean, faults)),
            handler: std::sync::Arc::new(handler),
            refuse,
        }
    }

    fn router(&self) -> Router {
        let logs = get(get_logs);
        Router::new()
            .route("/v2/apps", get(list_apps))
            .route("/v2/apps/{id}", get(get_app).put(put_app))
            .route("/v2/apps/{id}/restart", post(restart))
            .route("/v2/apps/{id}/deployments", get(list_deployments).post(deploy))
            .route("/v2/apps/{id}/deployments/{deployment}", get(get_deployment))
            .route("/v2/apps/{id}/rollback", post(roll_back))
            .route("/v2/apps/{id}/rollback/validate", post(validate))
            .route("/v2/apps/{id}/rollback/commit", post(commit))
            .route("/v2/apps/{id}/rollback/revert", post(revert))
            .route("/v2/apps/{id}/logs", logs.clone())
            .route("/v2/apps/{id}/components/{component}/logs", logs.clone())
            .route("/v2/apps/{id}/deployments/{deployment}/logs", logs.clone())
            .route("/v2/apps/{id}/deployments/{deployment}/components/{component}/logs", logs)
            .route("/v2/domains/{domain}/records", get(list_records).post(add_record))
            .route(
                "/v2/domains/{domain}/records/{record}",
                get(get_record).put(set_record).patch(set_record).delete(remove_record),
            )
            .route("/v2/gen-ai/agents", get(list_agents))
            .route("/v2/gen-ai/agents/{uuid}", get(get_agent).put(put_agent))
            .route(
                "/v2/gen-ai/agents/{uuid}/child_agents/{child}",
                post(add_route).put(put_route).delete(remove_route),
            )
            .route("/v2/gen-ai/agents/{uuid}/functions", post(add_function))
            .route("/v2/gen-ai/agents/{uuid}/functions/{function}", delete(remove_function))
            .fallback(async || Refusal::not_found())
            .with_state(self.clone())
    }

    /// One page of a list in the form of the API.
    fn page(
        &self,
        field: &str,
        (path, fields, headers): (&str, &Fields, &HeaderMap),
        all: Vec<Value>,
    ) -> Given {
        let number = |name: &str, default: usize| match fields.get(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
                Refusal::unprocessable(format!("{name} is not a number greater than 0"))
            }),
        };
        let (page, size) = (number("page", 1)?, number("per_page", PAGE)?);
        if size > GREATEST_PAGE {
            return Err(Refusal::unprocessable("per_page is greater than 200"));
        }
        let (total, last) = (all.len(), all.len().div_ceil(size).max(1));
        let here = all.into_iter().skip((page - 1) * size).take(size).collect::<Vec<_>>();
        let host = self.host(headers);
        let kept = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "page" | "per_page"));
        let kept: Vec<String> = kept.map(|(name, value)| format!("&{name}={value}")).collect();
        let kept = kept.concat();
        let at = |page: usize| format!("{host}{path}?page={page}&per_page={size}{kept}");
        let mut pages = Map::new();
        if page > 1 {
            pages.insert("first".to_owned(), at(1).into());
            pages.insert("prev".to_owned(), at(page - 1).into());
        }
        if page < last {
            pages.insert("next".to_owned(), at(page + 1).into());
            pages.insert("last".to_owned(), at(last).into());
        }
        let links = if pages.is_empty() { json!({}) } else { json!({ "pages": pages }) };
        Ok(Json(json!({field: here, "links": links, "meta": {"total": total}})))
    }

    /// Where this API is reached.
    fn host(&self, headers: &HeaderMap) -> String {
        let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let here = || format!("http://{}", asked.unwrap_or("127.0.0.1"));
        self.public().map_or_else(here, str::to_owned)
    }
}

fn object(body: &Bytes) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("the body is no JSON object: {error}")))
}

async fn list_apps(
    State(account): Shared,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
) -> Given {
    let all = account.look(|it| Ok(it.apps.iter().map(super::App::shown).collect()))?;
    account.page("apps", ("/v2/apps", &fields, &headers), all)
}

async fn get_app(State(account): Shared, Path(id): Path<String>) -> Given {
    account.look(|it| Ok(Json(json!({"app": it.app(&id)?.shown()}))))
}

async fn put_app(State(account): Shared, Path(id): Path<String>, body: Bytes) -> Given {
    let body = object(&body)?;
    account.change(|it| it.put_app(&id, &body)).map(Json)
}

async fn restart(State(account): Shared, Path(id): Path<String>, body: Bytes) -> Given {
    if !body.is_empty() {
        let _components = object(&body)?;
    }
    account.change(|it| it.restart_app(&id)).map(Json)
}

async fn deploy(State(account): Shared, Path(id): Path<String>, body: Bytes) -> Given {
    let _forced = object(&body)?;
    account.change(|it| it.deploy_app(&id)).map(Json)
}

async fn list_deployments(
    State(account): Shared,
    Path(id): Path<String>,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
) -> Given {
    let shown =
        |it: &Holdings| Ok(it.app(&id)?.deployments.iter().map(super::Deployment::shown).collect());
    let all = account.look(shown)?;
    account.page("deployments", (&format!("/v2/apps/{id}/deployments"), &fields, &headers), all)
}

async fn get_deployment(
    State(account): Shared,
    Path((id, deployment)): Path<(String, String)>,
) -> Given {
    account.look(|it| {
        let found = it.app(&id)?.deployment(&deployment).ok_or_else(Refusal::not_found)?;
        Ok(Json(json!({"deployment": found.shown()})))
    })
}

async fn validate(State(account): Shared, Path(id): Path<String>, body: Bytes) -> Given {
    let body = object(&body)?;
    account.look(|it| it.validate_rollback(&id, &body)).map(Json)
}

async fn roll_back(State(account): Shared, Path(id): Path<String>, body: Bytes) -> Given {
    let body = object(&body)?;
    account.change(|it| it.roll_back(&id, &body)).map(Json)
}

async fn commit(State(account): Shared, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    account.change(|it| it.commit_rollback(&id))?;
    Ok(StatusCode::OK)
}

async fn revert(State(account): Shared, Path(id): Path<String>) -> Given {
    account.change(|it| it.revert_rollback(&id)).map(Json)
}

async fn get_logs(
    State(account): Shared,
    Path(parts): Path<Fields>,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
) -> Given {
    let kind = fields.get("type").map_or("UNSPECIFIED", String::as_str);
    let app = parts.get("id").map_or("", String::as_str);
    let of = (app, parts.get("deployment").map(String::as_str));
    // The hosts of logs are others; here they are the same listener under its own address.
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = account
        .logs_at()
        .map_or_else(|| format!("http://{}", asked.unwrap_or("127.0.0.1")), str::to_owned);
    account.look(|it| it.logs(of, (kind, &host))).map(Json)
}

async fn list_records(
    State(account): Shared,
    Path(domain): Path<String>,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
) -> Given {
    let field = |name: &str| fields.get(name).map(String::as_str);
    let found = |it: &Holdings| {
        let records = it.domain(&domain)?.records(field("type"), field("name"));
        Ok(records.into_iter().map(super::Record::shown).collect())
    };
    let all = account.look(found)?;
    let path = format!("/v2/domains/{domain}/records");
    account.page("domain_records", (&path, &fields, &headers), all)
}

async fn add_record(
    State(account): Shared,
    Path(domain): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let body = object(&body)?;
    let given = account.change(|it| it.add_record(&domain, &body))?;
    Ok((StatusCode::CREATED, Json(given)))
}

async fn get_record(State(account): Shared, Path((domain, record)): Path<(String, u64)>) -> Given {
    account.look(|it| Ok(Json(json!({"domain_record": it.record(&domain, record)?.shown()}))))
}

async fn set_record(
    State(account): Shared,
    Path((domain, record)): Path<(String, u64)>,
    body: Bytes,
) -> Given {
    let body = object(&body)?;
    account.change(|it| it.set_record((&domain, record), &body)).map(Json)
}

async fn remove_record(
    State(account): Shared,
    Path((domain, record)): Path<(String, u64)>,
) -> Result<StatusCode, Refusal> {
    account.change(|it| it.remove_record(&domain, record))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_agents(
    State(account): Shared,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
) -> Given {
    let all = account.look(|it| Ok(it.agents.iter().map(super::Agent::listed).collect()))?;
    account.page("agents", ("/v2/gen-ai/agents", &fields, &headers), all)
}

async fn get_agent(State(account): Shared, Path(uuid): Path<String>) -> Given {
    account.look(|it| Ok(Json(json!({"agent": it.shown_agent(&uuid)?}))))
}

async fn put_agent(State(account): Shared, Path(uuid): Path<String>, body: Bytes) -> Given {
    let body = object(&body)?;
    account.change(|it| it.put_agent(&uuid, &body)).map(Json)
}

async fn add_route(
    State(account): Shared,
    Path((parent, child)): Path<(String, String)>,
    body: Bytes,
) -> Given {
    let body = object(&body)?;
    account.change(|it| it.add_route((&parent, &child), &body)).map(Json)
}

async fn put_route(
    State(account): Shared,
    Path((parent, child)): Path<(String, String)>,
    body: Bytes,
) -> Given {
    let body = object(&body)?;
    account.change(|it| it.put_route((&parent, &child), &body)).map(Json)
}

async fn remove_route(
    State(account): Shared,
    Path((parent, child)): Path<(String, String)>,
) -> Given {
    account.change(|it| it.remove_route((&parent, &child))).map(Json)
}

async fn add_function(State(account): Shared, Path(uuid): Path<String>, body: Bytes) -> Given {
    let body = object(&body)?;
    account.change(|it| it.add_function(&uuid, &body)).map(Json)
}

async fn remove_function(
    State(account): Shared,
    Path((uuid, function)): Path<(String, String)>,
) -> Given {
    account.change(|it| it.remove_function((&uuid, &function))).map(Json)
}
