//! The cluster of a world: the agents' integration service in the middle of the rollout that goes wrong, and who may do something about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sandbox::kubernetes::{Cluster, Kubelet, Setup, Tokens};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::{SandboxError, store};

/// The namespace of the agents.
const NAMESPACE: &str = "ollama";
/// The user that a runbook comes in as.
const USER: &str = "rollback";
/// The images before and after the deployment. Containers of the new one never become ready.
const LEGACY: &str = "legacy/integration:1.0.0";
const ENHANCED: &str = "ollama/integration:2.0.0";

/// A Deployment as it looks from the world's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// The image that is wanted.
    pub image: String,
    /// The revision that is wanted, as the controller numbers it.
    pub revision: String,
    /// Whether its rollout stands still.
    pub paused: bool,
    /// How many pods are wanted.
    pub replicas: i64,
    /// How many have the wanted template.
    pub updated: i64,
    /// How many are available, of any template.
    pub available: i64,
}

/// The file with the token that a runbook comes in with.
pub(super) fn token_file(dir: &Path) -> PathBuf {
    dir.join("kubernetes/token")
}

/// The world's cluster, as it is at first when there is no file yet.
pub(super) fn open(dir: &Path, ledger: &Ledger, speed: f64) -> Result<Cluster, SandboxError> {
    let folder = dir.join("kubernetes");
    store::folder(&folder)?;
    let path = folder.join("state.json");
    let known = path.exists();
    let cluster = Cluster::open(Setup {
        path,
        tokens: Tokens::from([(token(dir)?, USER.to_owned())]),
        pace: Duration::from_millis(100).div_f64(speed),
        kubelet: Some(Kubelet {
            readiness: Duration::from_secs(2).div_f64(speed),
            broken: vec![ENHANCED.to_owned()],
        }),
        ledger: ledger.clone(),
    })?;
    if !known {
        cluster.seed(&seeded())?;
    }
    Ok(cluster)
}

/// The token, made at the first time.
fn token(dir: &Path) -> Result<String, SandboxError> {
    let path = token_file(dir);
    if !path.exists() {
        store::replace(&path, uuid::Uuid::new_v4().simple().to_string().as_bytes())?;
    }
    std::fs::read_to_string(&path).map_err(SandboxError::file("read", &path))
}

/// What is applied one after the other: the deployment comes last.
pub(super) fn seeded() -> Vec<Value> {
    let within = |name: &str| json!({"name": name, "namespace": NAMESPACE});
    let rbac = "rbac.authorization.k8s.io";
    let deployment = |image: &str| {
        let pod = json!({"containers": [{
            "name": "integration", "image": image, "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/health", "port": 8080, "scheme": "HTTP"}},
        }]});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": within("ollama-integration"),
            "spec": {
                "replicas": 4, "selector": {"matchLabels": {"app": "ollama-integration"}},
                "template": {"metadata": {"labels": {"app": "ollama-integration"}}, "spec": pod},
            },
        })
    };
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": within(USER), "rules": rules(),
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": within(USER),
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": USER},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": USER}],
        }),
        deployment(LEGACY),
        deployment(ENHANCED),
    ]
}

/// What a rollback needs, and nothing else.
fn rules() -> Value {
    let apps = |resources: &[&str], verbs: &[&str]| json!({"apiGroups": ["apps"], "resources": resources, "verbs": verbs});
    json!([
        apps(&["deployments", "statefulsets", "daemonsets"], &["get", "list", "patch"]),
        apps(&["deployments/scale", "statefulsets/scale"], &["get", "patch", "update"]),
        apps(&["replicasets", "controllerrevisions"], &["get", "list"]),
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": ["argoproj.io"], "resources": ["rollouts/status"], "verbs": ["patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "delete"]},
    ])
}

/// Every Deployment.
pub(super) fn status(cluster: &Cluster) -> Vec<DeploymentStatus> {
    cluster.objects("deployments.apps").iter().map(told).collect()
}

fn told(deployment: &Value) -> DeploymentStatus {
    let text = |pointer: &str| {
        deployment.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    DeploymentStatus {
        name: format!("{}/{}", text("/metadata/namespace"), text("/metadata/name")),
        image: text("/spec/template/spec/containers/0/image"),
        revision: text("/metadata/annotations/deployment.kubernetes.io~1revision"),
        paused: deployment["spec"]["paused"] == true,
        replicas: number("/spec/replicas"),
        updated: number("/status/updatedReplicas"),
        available: number("/status/availableReplicas"),
    }
}
