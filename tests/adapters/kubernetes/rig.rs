//! A control plane under test with a namespace of its own, and workloads with a history.
//!
//! The real one has no kubelet, and the double is started without: pods become ready when a test says so over the API.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, Client, Method};
use rollback::sandbox::faults::Faults;
use rollback::sandbox::kubernetes::{Cluster, Setup};
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::wire::{Door, open_tcp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::support::kubernetes::ControlPlane;
use crate::support::{HANG, install_tls};

/// The users of both worlds. All but the first may do nothing until they are granted something.
const USERS: [&str; 4] = ["admin", "deployer", "viewer", "nobody"];

/// Kinds of patches.
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(super) const OPERATIONS: &str = "application/json-patch+json";

/// The double of one test.
pub(super) struct Double {
    pub(super) ledger: Ledger,
    _cluster: Cluster,
    _door: Door,
}

/// A control plane with a namespace of this test alone.
pub(super) struct Rig {
    api: Api,
    /// A file with the contexts `admin`, `deployer`, `viewer` and `nobody`.
    pub(super) kubeconfig: PathBuf,
    /// The server's authority, when it speaks TLS.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) double: Option<Double>,
    _folder: TempDir,
}

impl Deref for Rig {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

/// Its API, and what tests do over it.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) url: String,
    pub(super) namespace: String,
    tokens: HashMap<&'static str, String>,
    client: Client,
}

/// A kubelet without containers, for as long as it is kept.
pub(super) type Kubelet = AbortOnDropHandle<()>;

impl Rig {
    /// The real control plane.
    pub(super) async fn real() -> Self {
        install_tls();
        let found = ControlPlane::find();
        let authority = Certificate::from_pem_bundle(&found.authority).expect("certificates");
        let client = Client::builder().tls_certs_only(authority).build().expect("a client");
        let folder = TempDir::new().expect("the temporary folder is writable");
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, &found.authority).expect("it is writable");
        let tokens = USERS.map(|user| (user, found.token(user))).into();
        let api = Api::new(found.url, tokens, client).await;
        Self {
            api,
            kubeconfig: found.kubeconfig,
            ca_file: Some(ca_file),
            double: None,
            _folder: folder,
        }
    }

    /// A double of its own.
    pub(super) async fn double() -> Self {
        Self::behind(None).await
    }

    /// A double of its own behind faults.
    pub(super) async fn behind(faults: Option<Faults>) -> Self {
        install_tls();
        let folder = TempDir::new().expect("the temporary folder is writable");
        let tokens = USERS.map(|user| (user, Uuid::new_v4().simple().to_string()));
        let ledger = Ledger::open(&folder.path().join("effects.log")).expect("it is writable");
        let cluster = Cluster::open(Setup {
            path: folder.path().join("state.json"),
            tokens: tokens
                .iter()
                .map(|(user, token)| (token.clone(), (*user).to_owned()))
                .collect(),
            pace: Duration::from_millis(20),
            kubelet: None,
            ledger: ledger.clone(),
        })
        .expect("the double opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let door = open_tcp(listener, cluster.front(faults));
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, config(&url, &tokens).to_string()).expect("it is writable");
        let api = Api::new(url, tokens.into(), Client::new()).await;
        let double = Some(Double { ledger, _cluster: cluster, _door: door });
        Self { api, kubeconfig, ca_file: None, double, _folder: folder }
    }
}

/// A kubeconfig; YAML is JSON, too.
fn config(url: &str, tokens: &[(&str, String)]) -> Value {
    let named = |user: &str, field: &str, content: Value| json!({"name": user, field: content});
    let users = tokens.iter().map(|(user, token)| named(user, "user", json!({"token": token})));
    let contexts = tokens
        .iter()
        .map(|(user, _)| named(user, "context", json!({"cluster": "double", "user": user})));
    json!({
        "apiVersion": "v1", "kind": "Config", "clusters": [named("double", "cluster", json!({"server": url}))],
        "users": users.collect::<Vec<_>>(), "contexts": contexts.collect::<Vec<_>>(),
    })
}

/// The namespace goes with the test, and with it all that is in it.
impl Drop for Rig {
    fn drop(&mut self) {
        if self.double.is_some() {
            return;
        }
        let api = self.api.clone();
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let path = format!("/api/v1/namespaces/{}", api.namespace);
            runtime.expect("a runtime").block_on(api.send("admin", Method::DELETE, &path, None))
        });
        let gone = gone.join();
        if !std::thread::panicking() {
            assert_eq!(gone.expect("it can be asked").0, 200, "the namespace is removed");
        }
    }
}

impl Api {
    async fn new(url: String, tokens: HashMap<&'static str, String>, client: Client) -> Self {
        let namespace = format!("test-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let api = Self { url, namespace, tokens, client };
        let body = json!({"metadata": {"name": api.namespace}});
        api.create("/api/v1/namespaces", body).await;
        api
    }

    /// The token of a user; of one that is not known, a token that is not known.
    pub(super) fn token(&self, user: &str) -> &str {
        self.tokens.get(user).map_or("unknown", String::as_str)
    }

    /// The path of all objects of a kind in this namespace.
    pub(super) fn all(&self, plural: &str) -> String {
        let group = match plural {
            "pods" => "/api/v1",
            "leases" => "/apis/coordination.k8s.io/v1",
            "rollouts" => "/apis/argoproj.io/v1alpha1",
            "roles" | "rolebindings" => "/apis/rbac.authorization.k8s.io/v1",
            _ => "/apis/apps/v1",
        };
        format!("{group}/namespaces/{}/{plural}", self.namespace)
    }

    /// The path of one of them, or of a part of it: `web`, `web/scale`.
    pub(super) fn one(&self, plural: &str, name: &str) -> String {
        format!("{}/{name}", self.all(plural))
    }

    /// Sends a request with a body of a content type, and reads the answer: JSON, or else its text.
    pub(super) async fn send(
        &self,
        user: &str,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !user.is_empty() {
            request = request.bearer_auth(self.token(user));
        }
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body.to_string());
        }
        let answer = request.timeout(HANG).send().await.expect("the server answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("the answer is whole");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request as the admin that has to succeed.
    async fn done(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> Value {
        let (status, answer) = self.send("admin", method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.done(Method::GET, path, None).await
    }

    pub(super) async fn create(&self, path: &str, body: Value) -> Value {
        self.done(Method::POST, path, Some(("application/json", &body))).await
    }

    pub(super) async fn patch(&self, path: &str, kind: &str, body: Value) -> Value {
        self.done(Method::PATCH, path, Some((kind, &body))).await
    }

    /// The objects of a list, by their names.
    pub(super) async fn list(&self, plural: &str) -> Vec<Value> {
        let list = self.get(&self.all(plural)).await;
        list["items"].as_array().expect("a list").clone()
    }

    /// Lets a user do in this namespace what these rules say, on top of what they may do.
    pub(super) async fn grant(&self, user: &str, rules: Value) {
        let group = "rbac.authorization.k8s.io";
        let role = json!({"metadata": {"generateName": "role-"}, "rules": rules});
        let role = self.create(&self.all("roles"), role).await;
        let binding = json!({
            "metadata": {"generateName": "binding-"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": role["metadata"]["name"]},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        });
        self.create(&self.all("rolebindings"), binding).await;
        // The authorizer hears of it a moment later.
        let allowed = async || {
            let attributes = json!({
                "namespace": self.namespace, "verb": rules[0]["verbs"][0], "group": rules[0]["apiGroups"][0],
                "resource": rules[0]["resources"][0], "name": rules[0]["resourceNames"][0],
            });
            self.review(user, attributes).await["allowed"] == true
        };
        self.wait("the right is known", allowed).await;
    }

    /// What an access review says to a user.
    pub(super) async fn review(&self, user: &str, attributes: Value) -> Value {
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        });
        let body = Some(("application/json", &body));
        let (status, answer) = self.send(user, Method::POST, path, body).await;
        assert_eq!(status, 201, "{answer}");
        answer["status"].clone()
    }

    /// Asks again until it holds.
    pub(super) async fn wait(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let asking = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(HANG, asking).await;
        assert!(ended.is_ok(), "{what}: it did not come in {HANG:?}");
    }

    /// Makes those pods ready that are not, but for those of an image that is broken.
    pub(super) async fn make_ready(&self, broken: &str) {
        for pod in self.list("pods").await {
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            let named = pod["metadata"]["name"].as_str().expect("a pod has a name");
            if image == broken || condition(&pod, "Ready")["status"] == "True" {
                continue;
            }
            let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
            let path = self.one("pods", &format!("{named}/status"));
            // It may have gone meanwhile.
            let (status, answer) =
                self.send("admin", Method::PATCH, &path, Some((MERGE, &ready))).await;
            assert!([200, 404, 409].contains(&status), "{status} {answer}");
        }
    }

    /// Goes on making pods ready in the background, but for those of an image that is broken.
    pub(super) fn kubelet(&self, broken: &'static str) -> Kubelet {
        let api = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                api.make_ready(broken).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }

    /// Makes a Deployment, `StatefulSet` or `DaemonSet` (`deployments`, …) with a revision for each image, all of them rolled out.
    pub(super) async fn workload(&self, plural: &str, name: &str, images: &[&str]) -> Value {
        if plural == "daemonsets" {
            self.node().await;
        }
        let mut spec = json!({
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": images[0]}]}},
        });
        match plural {
            "deployments" => spec["replicas"] = 2.into(),
            "statefulsets" => {
                spec["replicas"] = 2.into();
                spec["serviceName"] = name.into();
            }
            _ => {}
        }
        let path = self.all(plural);
        self.create(&path, json!({"metadata": {"name": name}, "spec": spec})).await;
        self.roll_out(plural, name).await;
        for image in &images[1..] {
            self.set_image(plural, name, image).await;
            self.roll_out(plural, name).await;
        }
        self.get(&self.one(plural, name)).await
    }

    /// Removes a workload and waits until it has gone.
    pub(super) async fn remove(&self, plural: &str, name: &str) {
        let path = self.one(plural, name);
        self.done(Method::DELETE, &path, None).await;
        let gone = async || self.send("admin", Method::GET, &path, None).await.0 == 404;
        self.wait("it has gone", gone).await;
    }

    pub(super) async fn set_image(&self, plural: &str, name: &str, image: &str) -> Value {
        let containers = json!([{"name": "main", "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.patch(&self.one(plural, name), STRATEGIC, patch).await
    }

    /// Makes pods ready until the controller says that all is as wanted.
    pub(super) async fn roll_out(&self, plural: &str, name: &str) {
        let path = self.one(plural, name);
        let complete = async || {
            self.make_ready("").await;
            is_complete(plural, &self.get(&path).await)
        };
        self.wait("the rollout is complete", complete).await;
    }

    /// Waits until the controller has seen the object as it is.
    pub(super) async fn observed(&self, plural: &str, name: &str) -> Value {
        let path = self.one(plural, name);
        let seen = async || {
            let found = self.get(&path).await;
            found["status"]["observedGeneration"] == found["metadata"]["generation"]
        };
        self.wait("the controller has seen it", seen).await;
        self.get(&path).await
    }

    /// The one node, where a `DaemonSet` has its pod.
    async fn node(&self) {
        let body = json!({"metadata": {"name": "rollback-test"}});
        let body = Some(("application/json", &body));
        let (status, answer) = self.send("admin", Method::POST, "/api/v1/nodes", body).await;
        assert!([201, 409].contains(&status), "{status} {answer}");
        // A node is tainted until a kubelet says that it is well.
        self.patch("/api/v1/nodes/rollback-test", MERGE, json!({"spec": {"taints": null}})).await;
    }

    /// Makes the kind Rollout known, which the double knows already.
    pub(super) async fn define_rollouts(&self) {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let body = json!({
            "metadata": {"name": "rollouts.argoproj.io"},
            "spec": {
                "group": "argoproj.io", "scope": "Namespaced",
                "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "shortNames": ["ro"]},
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        });
        let all = self.all("rollouts");
        let known = async || self.send("admin", Method::GET, &all, None).await.0 == 200;
        if !known().await {
            let body = Some(("application/json", &body));
            let (status, answer) = self.send("admin", Method::POST, path, body).await;
            assert!([201, 409].contains(&status), "{status} {answer}");
            self.wait("the kind is served", known).await;
        }
    }
}

fn is_complete(plural: &str, workload: &Value) -> bool {
    let status = &workload["status"];
    let count = |field: &str| status[field].as_u64().unwrap_or_default();
    let wanted = workload["spec"]["replicas"].as_u64().unwrap_or_default();
    let all = |fields: &[&str], wanted: u64| fields.iter().all(|field| count(field) == wanted);
    status["observedGeneration"] == workload["metadata"]["generation"]
        && match plural {
            "deployments" => {
                all(&["replicas", "updatedReplicas", "availableReplicas"], wanted)
                    && condition(workload, "Progressing")["reason"] == "NewReplicaSetAvailable"
            }
            "statefulsets" => {
                all(&["replicas", "updatedReplicas", "readyReplicas"], wanted)
                    && status["currentRevision"] == status["updateRevision"]
            }
            _ => {
                let wanted = count("desiredNumberScheduled");
                wanted > 0 && all(&["updatedNumberScheduled", "numberAvailable"], wanted)
            }
        }
}

/// The condition of this type, or null.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// The image of the first container of a workload's template.
pub(super) fn image(workload: &Value) -> &str {
    workload["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// The number of a Deployment's or `ReplicaSet`'s revision.
pub(super) fn revision(object: &Value) -> &str {
    let annotations = &object["metadata"]["annotations"];
    annotations["deployment.kubernetes.io/revision"].as_str().unwrap_or_default()
}
