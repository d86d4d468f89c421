//! The protocol: calls to the API server, each bound to the step's deadline and cancellation.
//!
//! Objects stay JSON: a typed one would lose the fields that are newer than this program, and an undo must bring back a pod
//! template as it was. See <https://kubernetes.io/docs/reference/using-api/api-concepts/>; tried with 1.20.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::{Request, StatusCode};
use kube::Client;
use kube::Resource as _;
use kube::api::{DynamicObject, GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::core::request::{Error as RequestError, Request as Requests};
use kube::core::{ApiResource, Status};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::connection::{Cluster, KubernetesConnection};
use super::errors::{self, Intent};
use super::transport;
use crate::action::{ActionError, Connections, ErrorKind, StepContext};
use crate::adapters::http::Progress;
use crate::secret::Secrets;

/// Who we are, in the managed fields of what we change.
const MANAGER: &str = "rollback";
/// The longest wait for one answer: a server that hangs is asked again. The deadline is often nearer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The time for the question whether the server answers; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);
/// The time to resolve what a step names.
const RESOLVING: Duration = Duration::from_secs(5);

/// A context for looks while a step is resolved.
pub(super) fn resolving() -> StepContext {
    StepContext::looking(RESOLVING)
}

/// One object: `deployments.apps/ollama-integration` in a namespace.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) resource: ApiResource,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Object {
    fn requests(&self) -> Requests {
        requests(&self.resource, self.namespace.as_deref())
    }
}

fn requests(resource: &ApiResource, namespace: Option<&str>) -> Requests {
    Requests::new(DynamicObject::url_path(resource, namespace))
}

/// Whether a change is made, or only tried by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is stored.
    Store,
    /// It goes through admission and validation, and is stored nowhere.
    DryRun,
}

/// The API server of an environment.
pub(super) struct Kubernetes {
    cluster: Cluster,
    secrets: Arc<Secrets>,
    client: OnceCell<Client>,
}

impl Kubernetes {
    /// The one of these connections.
    pub(super) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let secrets = connections.secrets().clone();
        connections.client::<KubernetesConnection, Self, _>(|settings, _| {
            Ok(Self { cluster: settings.cluster()?, secrets, client: OnceCell::new() })
        })
    }

    /// The namespace of workloads that do not name their own.
    pub(super) fn namespace(&self) -> &str {
        &self.cluster.namespace
    }

    /// The object; `None` when there is none of this name.
    pub(super) async fn find(
        &self,
        cx: &StepContext,
        object: &Object,
    ) -> Result<Option<Value>, ActionError> {
        let doing = format!("read {}", object.name);
        let request = object.requests().get(&object.name, &GetParams::default());
        match self.call(cx, Intent::Read, &doing, request).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// All objects of a kind that carry these labels.
    pub(super) async fn list(
        &self,
        cx: &StepContext,
        resource: &ApiResource,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Value>, ActionError> {
        let doing = format!("list the {} of namespace {namespace}", resource.plural);
        let request =
            requests(resource, Some(namespace)).list(&ListParams::default().labels(selector));
        let mut list = self.call(cx, Intent::Read, &doing, request).await?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => {
                Err(ActionError::new(ErrorKind::Failed, format!("{doing}: the answer is no list")))
            }
        }
    }

    /// Changes an object, or one of its subresources; gives the object as it is then.
    pub(super) async fn patch(
        &self,
        cx: &StepContext,
        doing: &str,
        (object, subresource): (&Object, Option<&str>),
        patch: &Patch<Value>,
        mode: Mode,
    ) -> Result<Value, ActionError> {
        let parameters = PatchParams {
            dry_run: mode == Mode::DryRun,
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let requests = object.requests();
        let request = match subresource {
            None => requests.patch(&object.name, &parameters, patch),
            Some(part) => requests.patch_subresource(part, &object.name, &parameters, patch),
        };
        let intent = if mode == Mode::DryRun { Intent::Read } else { Intent::Change };
        self.call(cx, intent, doing, request).await
    }

    /// Creates an object that only asks something, such as an access review.
    pub(super) async fn ask(
        &self,
        cx: &StepContext,
        doing: &str,
        resource: &ApiResource,
        question: &Value,
    ) -> Result<Value, ActionError> {
        let body = question.to_string().into_bytes();
        let request = requests(resource, None).create(&PostParams::default(), body);
        self.call(cx, Intent::Read, doing, request).await
    }

    async fn call(
        &self,
        cx: &StepContext,
        intent: Intent,
        doing: &str,
        request: Result<Request<Vec<u8>>, RequestError>,
    ) -> Result<Value, ActionError> {
        let request = request
            .map_err(|error| ActionError::new(ErrorKind::Invalid, doing).caused_by(&error))?;
        let until = cx.deadline().min(Instant::now() + ANSWER_WITHIN);
        if cx.cancelled().is_cancelled() {
            return Err(errors::cancelled(doing));
        }
        let progress = Progress::default();
        let cut_off = |before_sending: ActionError| match intent {
            Intent::Change if progress.may_be_sent() => errors::unknown(doing),
            _ => before_sending,
        };
        let exchange = async {
            let client = self.client().await?;
            progress.track(self.exchange(client, intent, doing, request, &progress)).await
        };
        tokio::select! {
            biased;
            answered = exchange => answered,
            () = cx.cancelled().cancelled() => Err(cut_off(errors::cancelled(doing))),
            () = tokio::time::sleep_until(until) => Err(cut_off(errors::late(doing))),
        }
    }

    async fn exchange(
        &self,
        client: &Client,
        intent: Intent,
        doing: &str,
        request: Request<Vec<u8>>,
        progress: &Progress,
    ) -> Result<Value, ActionError> {
        let broken = |error: &(dyn std::error::Error + 'static)| {
            errors::unanswered(intent, doing, progress.may_be_sent(), error, &self.secrets)
        };
        let answer = client.send(request.map(Body::from)).await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| broken(&error));
        }
        Err(self.refused(intent, doing, status, &body))
    }

    fn refused(&self, intent: Intent, doing: &str, status: StatusCode, body: &[u8]) -> ActionError {
        // What stands before an API server answers in words of its own: the code is all that counts then.
        let said: Status = serde_json::from_slice(body).unwrap_or_default();
        errors::answered(intent, doing, status.as_u16(), &said, &self.secrets)
    }

    /// The client, made on first use: credentials may come from a program that takes its time.
    async fn client(&self) -> Result<&Client, ActionError> {
        let connecting =
            async {
                let config = self.cluster.config(&self.secrets).await?;
                let runtime = tokio::runtime::Handle::current();
                let connecting = tokio::task::spawn_blocking(move || {
                    // The client starts a task of its own.
                    let _entered = runtime.enter();
                    transport::connect(&config)
                });
                match connecting.await {
                    Ok(connected) => connected.map_err(|error| errors::unusable(&error)),
                    Err(panic) => Err(ActionError::new(ErrorKind::Failed, "connect to kubernetes")
                        .caused_by(&panic)),
                }
            };
        self.client.get_or_try_init(|| connecting).await
    }
}

/// Whether the cluster answers and has the namespace: `kubernetes v1.20.2, context prod-eu, namespace ollama`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let kubernetes = Kubernetes::of(connections)?;
    let cx = StepContext::looking(REACHING);
    let Cluster { namespace, .. } = &kubernetes.cluster;
    let of_namespace = Object {
        resource: ApiResource::erase::<k8s_openapi::api::core::v1::Namespace>(&()),
        namespace: None,
        name: namespace.clone(),
    };
    let request = Request::get("/version").body(Vec::new()).map_err(RequestError::BuildRequest);
    let (version, found) = tokio::join!(
        kubernetes.call(&cx, Intent::Read, "reach kubernetes", request),
        kubernetes.find(&cx, &of_namespace),
    );
    let version = version?;
    match found {
        Ok(Some(_)) => {}
        Ok(None) => {
            let text = format!("use the namespace {namespace}: the cluster has none of this name");
            return Err(ActionError::new(ErrorKind::NotFound, text).hint(
                "Mend `connections: {kubernetes: {namespace: …}}`, or is it another cluster?",
            ));
        }
        // Many accounts may not look at namespaces themselves, and need not.
        Err(error) if error.kind == ErrorKind::Denied => {}
        Err(error) => return Err(error),
    }
    let version: String =
        version["gitVersion"].as_str().unwrap_or_default().chars().take(30).collect();
    let shown = kubernetes.cluster.shown();
    Ok(format!("kubernetes {version}, {shown}, namespace {namespace}"))
}
