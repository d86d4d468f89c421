//! What a step is about: a Deployment, a StatefulSet, a DaemonSet or an Argo Rollout, as the API server describes it.

use kube::core::{ApiResource, GroupVersionKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Kubernetes, Object};
use crate::action::{ActionError, ErrorKind, StepContext};

/// The kinds of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `argoproj.io/v1alpha1` Rollout.
    Rollout,
}

impl Kind {
    /// Its resource in the API.
    pub(super) fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
            Self::Rollout => ("argoproj.io", "v1alpha1", "Rollout", "rollouts"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// How a runbook spells it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::Rollout => "rollout",
        }
    }

    /// Whether its rollouts can be halted.
    pub(super) fn can_pause(self) -> bool {
        matches!(self, Self::Deployment | Self::Rollout)
    }
}

/// The workload that a step is about. Exactly one kind is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KubernetesWorkload")]
pub(super) struct Named {
    /// A Deployment's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    /// A StatefulSet's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statefulset: Option<String>,
    /// A DaemonSet's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    daemonset: Option<String>,
    /// The name of an Argo Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rollout: Option<String>,
    /// Its namespace; by default the one of the environment's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

impl Named {
    /// The kind and the name.
    pub(super) fn workload(&self) -> Result<(Kind, &str), String> {
        let named = [
            (Kind::Deployment, &self.deployment),
            (Kind::StatefulSet, &self.statefulset),
            (Kind::DaemonSet, &self.daemonset),
            (Kind::Rollout, &self.rollout),
        ];
        let mut named = named.into_iter().filter_map(|(kind, name)| Some((kind, name.as_deref()?)));
        match (named.next(), named.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(
                "no workload is named; add `deployment`, `statefulset`, `daemonset` or `rollout`"
                    .to_owned(),
            ),
            (Some((one, _)), Some((other, _))) => {
                Err(format!("`{}` and `{}` exclude each other", one.word(), other.word()))
            }
        }
    }

    /// The same with the connection's namespace filled in.
    pub(super) fn target(&self, kubernetes: &Kubernetes) -> Result<Target, ActionError> {
        let (kind, name) =
            self.workload().map_err(|problem| ActionError::new(ErrorKind::Invalid, problem))?;
        let namespace = self.namespace.as_deref().unwrap_or_else(|| kubernetes.namespace());
        Ok(Target { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// A workload's place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.word(), self.namespace, self.name)
    }
}

impl Target {
    /// Its name in the predictions of a plan.
    pub(super) fn resource(&self) -> String {
        format!("kubernetes:{}/{}/{}", self.namespace, self.kind.word(), self.name)
    }

    /// Its object in the API.
    pub(super) fn object(&self) -> Object {
        Object {
            resource: self.kind.resource(),
            namespace: Some(self.namespace.clone()),
            name: self.name.clone(),
        }
    }

    /// The workload as it is now.
    pub(super) async fn look(
        &self,
        kubernetes: &Kubernetes,
        cx: &StepContext,
    ) -> Result<Workload, ActionError> {
        match kubernetes.find(cx, &self.object()).await? {
            Some(object) => Ok(Workload { target: self.clone(), object }),
            None => {
                Err(ActionError::new(ErrorKind::NotFound, format!("find {self}")).hint(format!(
                    "`kubectl get {} --namespace {}` lists those that there are.",
                    self.kind.resource().plural,
                    self.namespace
                )))
            }
        }
    }
}

/// A workload as the API server describes it.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) target: Target,
    object: Value,
}

impl Workload {
    /// A workload that a change has given back.
    pub(super) fn of(target: &Target, object: Value) -> Self {
        Self { target: target.clone(), object }
    }

    fn at(&self, pointer: &str) -> &Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// A field of the status.
    pub(super) fn status(&self, field: &str) -> &Value {
        self.at("/status").get(field).unwrap_or(&Value::Null)
    }

    /// A field of the status that counts something; what is not there is zero.
    pub(super) fn counted(&self, field: &str) -> u64 {
        self.status(field).as_u64().unwrap_or(0)
    }

    /// A field of the status that is a text.
    pub(super) fn said(&self, field: &str) -> &str {
        self.status(field).as_str().unwrap_or_default()
    }

    /// The identity that a namesake would not have.
    pub(super) fn uid(&self) -> &str {
        self.at("/metadata/uid").as_str().unwrap_or_default()
    }

    /// The number of its specification; each change of it makes it greater.
    pub(super) fn generation(&self) -> u64 {
        self.at("/metadata/generation").as_u64().unwrap_or(0)
    }

    /// The specification that the controller has seen. Argo writes the number as text.
    pub(super) fn observed(&self) -> u64 {
        let observed = self.at("/status/observedGeneration");
        observed.as_u64().or_else(|| observed.as_str()?.parse().ok()).unwrap_or(0)
    }

    /// Whether its rollouts are halted.
    pub(super) fn paused(&self) -> bool {
        self.at("/spec/paused").as_bool().unwrap_or(false)
    }

    /// How many replicas are wanted.
    pub(super) fn replicas(&self) -> u64 {
        self.at("/spec/replicas").as_u64().unwrap_or(1)
    }

    /// The pod template.
    pub(super) fn template(&self) -> &Value {
        self.at("/spec/template")
    }

    /// The images of the pod template's containers.
    pub(super) fn images(&self) -> Vec<String> {
        images(self.template())
    }

    /// The specification.
    pub(super) fn spec(&self) -> &Value {
        self.at("/spec")
    }

    /// A condition of the status.
    pub(super) fn condition(&self, kind: &str) -> Option<&Value> {
        self.at("/status/conditions").as_array()?.iter().find(|one| one["type"] == kind)
    }

    /// A label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.at("/metadata/labels")[name].as_str()
    }

    /// An annotation.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.at("/metadata/annotations")[name].as_str()
    }

    /// Who has written to it, as the API server records it.
    pub(super) fn managers(&self) -> impl Iterator<Item = &str> {
        let fields = self.at("/metadata/managedFields").as_array();
        fields.into_iter().flatten().filter_map(|entry| entry["manager"].as_str())
    }

    /// The label selector of its pods and of its history, in the API's own spelling.
    pub(super) fn selector(&self) -> Result<String, ActionError> {
        let selector = self.at("/spec/selector");
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut terms: Vec<String> =
            labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default();
            let values = expression["values"].as_array().into_iter().flatten();
            let values: Vec<&str> = values.filter_map(Value::as_str).collect();
            terms.push(match expression["operator"].as_str() {
                Some("In") => format!("{key} in ({})", values.join(",")),
                Some("NotIn") => format!("{key} notin ({})", values.join(",")),
                Some("Exists") => key.to_owned(),
                Some("DoesNotExist") => format!("!{key}"),
                other => {
                    let text = format!("read the selector of {}: operator {other:?}", self.target);
                    return Err(ActionError::new(ErrorKind::Failed, text));
                }
            });
        }
        if terms.is_empty() {
            let text = format!("read the selector of {}: it selects everything", self.target);
            return Err(ActionError::new(ErrorKind::Failed, text));
        }
        Ok(terms.join(","))
    }
}

/// The images of a pod template's containers, in their order.
pub(super) fn images(template: &Value) -> Vec<String> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let images = containers.into_iter().flatten().filter_map(|one| one["image"].as_str());
    images.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(args: Value) -> Result<(Kind, String), String> {
        let named: Named = serde_json::from_value(args).unwrap();
        named.workload().map(|(kind, name)| (kind, name.to_owned()))
    }

    #[test]
    fn exactly_one_workload_is_named() {
        assert_eq!(named(json!({"daemonset": "a"})), Ok((Kind::DaemonSet, "a".into())));
        assert!(named(json!({})).unwrap_err().contains("no workload"));
        let two = named(json!({"deployment": "a", "rollout": "b"})).unwrap_err();
        assert_eq!(two, "`deployment` and `rollout` exclude each other");
    }

    #[test]
    fn a_selector_is_spelled_as_the_api_has_it() {
        let target = Target { kind: Kind::Deployment, namespace: "n".into(), name: "a".into() };
        let spelled = |selector: Value| {
            Workload::of(&target, json!({"spec": {"selector": selector}})).selector()
        };
        let all = spelled(json!({
            "matchLabels": {"app": "a", "tier": "web"},
            "matchExpressions": [
                {"key": "x", "operator": "In", "values": ["1", "2"]},
                {"key": "y", "operator": "NotIn", "values": ["3"]},
                {"key": "z", "operator": "Exists"},
                {"key": "w", "operator": "DoesNotExist"},
            ],
        }));
        assert_eq!(all.unwrap(), "app=a,tier=web,x in (1,2),y notin (3),z,!w");
        assert!(spelled(json!({})).is_err(), "never the history of everything");
    }
}
