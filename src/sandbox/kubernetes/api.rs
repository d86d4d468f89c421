//! The HTTP API: who asks for what, and the answer.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::access::User;
use super::cluster::Inner;
use super::failure::Failure;
use super::fields::{object, text};
use super::request::{Options, Target, is_dry, options};
use super::resources::{NAMESPACES, PODS, REVIEWS, Resource};
use super::selector::Selector;
use super::state::{State, uid};
use super::{change, discovery, patch};

/// The longest body that is read, in bytes.
const LONGEST: usize = 3 << 20;

/// An answer: its status and its body.
type Answer = Result<(StatusCode, Value), Failure>;

/// Answers a request.
pub(super) async fn handle(cluster: Arc<Inner>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST).await else {
        return Failure::bad_request("the body is too long").into_response();
    };
    match answer(&cluster, &head, &body) {
        Ok((status, Value::String(text))) => (status, text).into_response(),
        Ok((status, body)) => (status, Json(body)).into_response(),
        Err(failure) => failure.into_response(),
    }
}

fn answer(cluster: &Inner, head: &Parts, body: &Bytes) -> Answer {
    let user = User::of(&head.headers, cluster.tokens())?;
    let path = head.uri.path();
    let (found, target) = (discovery::answer(path), Target::read(path));
    match (found, target) {
        (None, Some(target)) => objects(cluster, &user, head, &target, body),
        (found, _) => {
            user.may_read(path)?;
            match (path, found) {
                (_, Some(found)) => Ok((StatusCode::OK, found)),
                ("/version", _) => Ok((StatusCode::OK, discovery::version())),
                ("/readyz" | "/livez" | "/healthz", _) => Ok((StatusCode::OK, "ok".into())),
                _ => Ok(no_page()),
            }
        }
    }
}

fn no_page() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, "404 page not found\n".into())
}

fn objects(cluster: &Inner, user: &User, head: &Parts, target: &Target, body: &Bytes) -> Answer {
    let options = options(&head.uri);
    let verb = target.verb(&head.method, &options);
    let state = cluster.state();
    let path = target.path();
    user.must(&state, &target.deed(verb, &path))?;
    let Some(resource) = target.resource else {
        return if target.has_group() { Err(Failure::no_resource()) } else { Ok(no_page()) };
    };
    if *resource == REVIEWS {
        let review = read(body)?;
        return match verb {
            "create" => Ok((StatusCode::CREATED, user.review(&state, &review))),
            _ => Err(Failure::method_not_allowed()),
        };
    }
    match verb {
        "list" => return list(&state, resource, target, &options),
        "get" => {
            let found = find(&state, resource, target)?;
            return Ok((StatusCode::OK, shown(target, found)));
        }
        "watch" | "deletecollection" => return Err(Failure::method_not_allowed()),
        _ => drop(state),
    }
    let asked = Asked { resource, target, head, body };
    let effect = format!("kubernetes {verb} {}", asked.subject(&path));
    cluster.change(is_dry(&options)?, Some(&effect), |state| asked.change(state, &head.method))
}

/// A request that changes an object.
struct Asked<'a> {
    resource: &'static Resource,
    target: &'a Target<'a>,
    head: &'a Parts,
    body: &'a Bytes,
}

impl Asked<'_> {
    /// What the ledger calls it: `deployments/scale ollama/web`.
    fn subject(&self, path: &str) -> String {
        let parts = [self.target.namespace, self.target.name];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{path} {}", parts.join("/"))
    }

    fn change(&self, state: &mut State, method: &Method) -> Answer {
        let Self { resource, target, .. } = *self;
        match *method {
            Method::POST if target.name.is_empty() => {
                let made = change::create(state, resource, target.namespace, read(self.body)?)?;
                Ok((StatusCode::CREATED, made))
            }
            Method::PUT if !target.name.is_empty() => {
                let old = find(state, resource, target)?.clone();
                let new = read(self.body)?;
                let new = change::update(state, resource, target.below, &old, new)?;
                Ok((StatusCode::OK, new))
            }
            Method::PATCH if !target.name.is_empty() => {
                let old = find(state, resource, target)?.clone();
                let kind = self.head.headers.get(header::CONTENT_TYPE);
                let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                let patched = patch::apply(resource, kind, self.body, &shown(target, &old))?;
                let new = change::update(state, resource, target.below, &old, patched)?;
                Ok((StatusCode::OK, new))
            }
            Method::DELETE if target.below.is_empty() => self.remove(state),
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn remove(&self, state: &mut State) -> Answer {
        let Self { resource, target, .. } = *self;
        let gone = find(state, resource, target)?.clone();
        let options = if self.body.is_empty() { Value::Null } else { read(self.body)? };
        let wanted = |field: &str| text(&options, &format!("/preconditions/{field}")).to_owned();
        let is_another = |wanted: String, found: &str| !wanted.is_empty() && wanted != found;
        if is_another(wanted("uid"), uid(&gone))
            || is_another(wanted("resourceVersion"), text(&gone, "/metadata/resourceVersion"))
        {
            return Err(Failure::modified(resource, target.name));
        }
        state.remove(resource, &gone, text(&options, "/propagationPolicy") != "Orphan");
        if [&PODS, &NAMESPACES].contains(&resource) {
            return Ok((StatusCode::OK, gone));
        }
        let mut details =
            json!({"name": target.name, "group": resource.group, "kind": resource.plural});
        details["uid"] = uid(&gone).into();
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}});
        status["status"] = "Success".into();
        status["details"] = details;
        Ok((StatusCode::OK, status))
    }
}

fn read(body: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))
}

fn find<'a>(state: &'a State, resource: &Resource, target: &Target) -> Result<&'a Value, Failure> {
    let found = state.get(resource, target.namespace, target.name);
    found.ok_or_else(|| Failure::not_found(resource, target.name))
}

/// The part of an object that was asked for.
fn shown(target: &Target, found: &Value) -> Value {
    if target.below == "scale" { change::scale(found) } else { found.clone() }
}

fn list(state: &State, resource: &Resource, target: &Target, options: &Options) -> Answer {
    let selector = Selector::read(options.get("labelSelector"), options.get("fieldSelector"))?;
    let within = (!target.namespace.is_empty()).then_some(target.namespace);
    let found = state.list(resource, if resource.namespaced { within } else { Some("") });
    let mut items: Vec<Value> =
        found.into_iter().filter(|object| selector.admits(object)).cloned().collect();
    if !resource.is_custom() {
        for item in &mut items {
            let item = object(item, &[]);
            item.retain(|field, _| field != "kind" && field != "apiVersion");
        }
    }
    Ok((
        StatusCode::OK,
        json!({
            "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": state.version().to_string()}, "items": items,
        }),
    ))
}
