//! Who asks, and what roles let them do: bearer tokens, and the rules of RBAC within a namespace.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::failure::Failure;
use super::fields::{items, text};
use super::resources::{BINDINGS, ROLES};
use super::state::{State, name, namespace};

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";

/// Tokens with the names of their users. One called `admin` may do everything, everybody else what roles say.
pub type Tokens = BTreeMap<String, String>;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    name: String,
    groups: Vec<&'static str>,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    /// With its subresource: `deployments/scale`.
    pub(super) resource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl User {
    /// Who has the token of a request.
    pub(super) fn of(headers: &HeaderMap, tokens: &Tokens) -> Result<Self, Failure> {
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            let groups = vec!["system:unauthenticated"];
            return Ok(Self { name: "system:anonymous".to_owned(), groups });
        };
        let token = given.to_str().ok().and_then(|given| given.strip_prefix("Bearer "));
        let name = token.and_then(|token| tokens.get(token)).ok_or_else(Failure::unauthorized)?;
        let mut groups = vec!["system:authenticated"];
        if name == "admin" {
            groups.push(MASTERS);
        }
        Ok(Self { name: name.clone(), groups })
    }

    fn is_known(&self) -> bool {
        self.groups.contains(&"system:authenticated")
    }

    /// Whether they may read a path that is no resource: health for all, discovery for who is known.
    pub(super) fn may_read(&self, path: &str) -> Result<(), Failure> {
        let public = ["/version", "/readyz", "/livez", "/healthz"].contains(&path);
        let discovery = path == "/api" || path == "/apis" || path.starts_with("/api");
        if public || (discovery && self.is_known()) {
            return Ok(());
        }
        let message = format!("forbidden: User \"{}\" cannot get path \"{path}\"", self.name);
        Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", message).about("", "", ""))
    }

    /// Refuses what no role allows.
    pub(super) fn must(&self, state: &State, deed: &Deed) -> Result<(), Failure> {
        if self.may(state, deed).is_some() {
            return Ok(());
        }
        let plural = deed.resource.split('/').next().unwrap_or_default();
        let qualified = match deed.group {
            "" => plural.to_owned(),
            group => format!("{plural}.{group}"),
        };
        let what = match deed.name {
            "" => qualified,
            name => format!("{qualified} \"{name}\""),
        };
        let scope = match deed.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let message = format!(
            "{what} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
            self.name, deed.verb, deed.resource, deed.group
        );
        let forbidden = Failure::new(StatusCode::FORBIDDEN, "Forbidden", message);
        Err(forbidden.about(deed.group, plural, deed.name))
    }

    /// Whether they may, and then why.
    pub(super) fn may(&self, state: &State, deed: &Deed) -> Option<String> {
        if self.groups.contains(&MASTERS) {
            return Some(String::new());
        }
        if deed.group == "authorization.k8s.io" && self.is_known() {
            return Some(
                "RBAC: allowed by ClusterRoleBinding \"system:basic-user\" of ClusterRole \
                \"system:basic-user\" to Group \"system:authenticated\""
                    .to_owned(),
            );
        }
        let bindings = state.list(&BINDINGS, Some(deed.namespace)).into_iter();
        let mut mine = bindings.filter(|binding| self.is_subject_of(binding));
        let allowing = mine.find(|binding| {
            let role = state.get(&ROLES, namespace(binding), text(binding, "/roleRef/name"));
            role.is_some_and(|role| items(role, "/rules").iter().any(|rule| allows(rule, deed)))
        })?;
        Some(format!(
            "RBAC: allowed by RoleBinding \"{}/{}\" of Role \"{}\" to User \"{}\"",
            name(allowing),
            namespace(allowing),
            text(allowing, "/roleRef/name"),
            self.name
        ))
    }

    fn is_subject_of(&self, binding: &Value) -> bool {
        items(binding, "/subjects").iter().any(|subject| match text(subject, "/kind") {
            "User" => text(subject, "/name") == self.name,
            "Group" => self.groups.contains(&text(subject, "/name")),
            _ => false,
        })
    }

    /// The answer to the question whether they may do something.
    pub(super) fn review(&self, state: &State, review: &Value) -> Value {
        let asked = review.pointer("/spec/resourceAttributes").cloned().unwrap_or_default();
        let resource = match (text(&asked, "/resource"), text(&asked, "/subresource")) {
            (resource, "") => resource.to_owned(),
            (resource, below) => format!("{resource}/{below}"),
        };
        let deed = Deed {
            verb: text(&asked, "/verb"),
            group: text(&asked, "/group"),
            resource: &resource,
            namespace: text(&asked, "/namespace"),
            name: text(&asked, "/name"),
        };
        let mut answer = json!({
            "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "metadata": {"creationTimestamp": null}, "spec": review["spec"],
        });
        answer["status"] = match self.may(state, &deed) {
            Some(reason) if reason.is_empty() => json!({"allowed": true}),
            Some(reason) => json!({"allowed": true, "reason": reason}),
            None => json!({"allowed": false}),
        };
        answer
    }
}

fn allows(rule: &Value, deed: &Deed) -> bool {
    let lists = |field: &str, wanted: &str| {
        items(rule, field).iter().any(|each| each == "*" || each.as_str() == Some(wanted))
    };
    let names = items(rule, "/resourceNames");
    lists("/verbs", deed.verb)
        && lists("/apiGroups", deed.group)
        && lists("/resources", deed.resource)
        && (names.is_empty() || names.iter().any(|each| each.as_str() == Some(deed.name)))
}
