//! Whether this account may do what a step will do, asked before anything is touched.
//!
//! `SelfSubjectAccessReview` is the question of `kubectl auth can-i`
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>). It changes nothing, and every
//! account may ask it.

use futures_util::future::try_join_all;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

use super::client::Kubernetes;
use super::workload::Target;
use crate::action::{ActionError, ErrorKind, StepContext};

/// Something to do with a kind of resource.
#[derive(Debug, Clone)]
pub(super) struct Need {
    /// `get`, `list`, `patch`.
    pub(super) verb: &'static str,
    /// The resource.
    pub(super) resource: ApiResource,
    /// `scale`, `status`.
    pub(super) subresource: Option<&'static str>,
    /// The object, where it is one.
    pub(super) name: Option<String>,
}

impl Need {
    /// To read the target.
    pub(super) fn to_get(target: &Target) -> Self {
        let name = Some(target.name.clone());
        Self { verb: "get", resource: target.kind.resource(), subresource: None, name }
    }

    /// To change the target, or a subresource of it.
    pub(super) fn to_patch(target: &Target, subresource: Option<&'static str>) -> Self {
        let name = Some(target.name.clone());
        Self { verb: "patch", resource: target.kind.resource(), subresource, name }
    }

    /// To read all objects of a kind.
    pub(super) fn to_list(resource: ApiResource) -> Self {
        Self { verb: "list", resource, subresource: None, name: None }
    }

    /// To read any object of a kind.
    pub(super) fn to_get_any(resource: ApiResource) -> Self {
        Self { verb: "get", resource, subresource: None, name: None }
    }

    /// `deployments.apps/scale`, as RBAC rules and kubectl write it.
    fn of(&self) -> String {
        let subresource = self.subresource.map(|part| format!("/{part}")).unwrap_or_default();
        format!("{}.{}{subresource}", self.resource.plural, self.resource.group)
    }
}

/// An error of kind [`Denied`](ErrorKind::Denied) that names everything which this account may not do.
pub(super) async fn check(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    target: &Target,
    needs: Vec<Need>,
) -> Result<(), ActionError> {
    let answers = needs.iter().map(|need| allowed(kubernetes, cx, &target.namespace, need));
    let answers = try_join_all(answers).await?;
    let missing: Vec<&Need> =
        needs.iter().zip(answers).filter(|(_, allowed)| !allowed).map(|(need, _)| need).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let list: Vec<String> =
        missing.iter().map(|need| format!("{} {}", need.verb, need.of())).collect();
    let text = format!(
        "change {target}: this account may not {} in namespace {}",
        list.join(", nor "),
        target.namespace
    );
    let subresource =
        first.subresource.map(|part| format!(" --subresource={part}")).unwrap_or_default();
    let resource = format!("{}.{}", first.resource.plural, first.resource.group);
    let ask = format!(
        "`kubectl auth can-i {} {resource}{subresource} --namespace {}` asks the same; a Role of the account has to allow it.",
        first.verb, target.namespace
    );
    Err(ActionError::new(ErrorKind::Denied, text).hint(ask))
}

async fn allowed(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    namespace: &str,
    need: &Need,
) -> Result<bool, ActionError> {
    let kind = GroupVersionKind::gvk("authorization.k8s.io", "v1", "SelfSubjectAccessReview");
    let reviews = ApiResource::from_gvk_with_plural(&kind, "selfsubjectaccessreviews");
    let question = json!({
        "apiVersion": reviews.api_version,
        "kind": reviews.kind,
        "spec": {"resourceAttributes": {
            "verb": need.verb, "group": need.resource.group, "resource": need.resource.plural,
            "subresource": need.subresource, "namespace": namespace, "name": need.name,
        }},
    });
    let doing = format!("ask what this account may do with {}", need.of());
    let answer = kubernetes.ask(cx, &doing, &reviews, &question).await?;
    Ok(answer.pointer("/status/allowed").and_then(serde_json::Value::as_bool).unwrap_or(false))
}
