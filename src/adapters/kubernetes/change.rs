//! What all changes share: they are made to the state that was looked at, or not at all.
//!
//! The precondition is the generation and not the resource version: a status that its controller writes meanwhile is no
//! reason to refuse, a changed specification is.

use kube::api::Patch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Kubernetes, Mode};
use super::history::fingerprint;
use super::workload::{Target, Workload};
use crate::action::{ActionError, ErrorKind, Prediction, Saved, StepContext};

/// The specification that a look saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) uid: String,
    pub(super) generation: u64,
}

impl Version {
    /// That of a workload.
    pub(super) fn of(workload: &Workload) -> Self {
        Self { uid: workload.uid().to_owned(), generation: workload.generation() }
    }

    /// The one that was saved.
    pub(super) fn read(saved: &Saved) -> Result<Self, ActionError> {
        read(&saved.state)
    }

    fn tests(&self) -> Vec<Value> {
        vec![
            json!({"op": "test", "path": "/metadata/uid", "value": self.uid}),
            json!({"op": "test", "path": "/metadata/generation", "value": self.generation}),
        ]
    }
}

/// Reads a saved state.
pub(super) fn read<T: serde::de::DeserializeOwned>(state: &Value) -> Result<T, ActionError> {
    T::deserialize(state).map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "read the saved state of a workload").caused_by(&error)
    })
}

/// Changes the specification of a workload in one request, if it still is the one that was looked at.
pub(super) async fn write(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    (target, doing): (&Target, &str),
    version: &Version,
    operations: Vec<Value>,
    mode: Mode,
) -> Result<Workload, ActionError> {
    let mut patch = version.tests();
    patch.extend(operations);
    let written =
        kubernetes.patch(cx, doing, (&target.object(), None), &as_json(patch)?, mode).await;
    match written {
        Ok(object) => Ok(Workload::of(target, object)),
        // The server says the same of a failed test and of a specification that it does not accept.
        Err(error) if error.kind == ErrorKind::Invalid => {
            let now = Version::of(&target.look(kubernetes, cx).await?);
            Err(if now == *version { error } else { moved(doing, target) })
        }
        Err(error) => Err(error),
    }
}

/// A list of operations as a JSON patch (RFC 6902).
pub(super) fn as_json(operations: Vec<Value>) -> Result<Patch<Value>, ActionError> {
    let patch = serde_json::from_value(Value::Array(operations)).map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "make a JSON patch").caused_by(&error)
    })?;
    Ok(Patch::Json(patch))
}

/// Somebody else has changed it in between.
pub(super) fn moved(doing: &str, target: &Target) -> ActionError {
    let text = format!("{doing}: {target} was changed by somebody else in between");
    ActionError::new(ErrorKind::Conflict, text).retryable(true)
}

/// The specification that a change may be made to: the one that was looked at. An attempt before this one may have been made and
/// may have moved it; what was saved then is kept for undo, and the engine has found since that the change is still needed.
pub(super) async fn current(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    target: &Target,
    saved: &Saved,
) -> Result<Version, ActionError> {
    let version = Version::read(saved)?;
    if !cx.was_attempted() {
        return Ok(version);
    }
    let workload = look_again(kubernetes, cx, target, &version.uid).await?;
    Ok(Version::of(&workload))
}

/// The workload that is there now, which must be the one that was changed and not a namesake.
pub(super) async fn look_again(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    target: &Target,
    uid: &str,
) -> Result<Workload, ActionError> {
    let workload = target.look(kubernetes, cx).await?;
    if workload.uid() == uid {
        return Ok(workload);
    }
    let text = format!("change {target}: another one has taken its place");
    Err(ActionError::new(ErrorKind::Conflict, text))
}

/// The operation that halts rollouts, or lets them go on.
pub(super) fn set_paused(paused: bool) -> Value {
    json!({"op": "add", "path": "/spec/paused", "value": paused})
}

/// A workload as earlier steps of the plan will leave it.
pub(super) struct Foreseen {
    /// Whether its rollouts are halted.
    pub(super) paused: bool,
    /// How many replicas are wanted.
    pub(super) replicas: u64,
    /// The images of its pod template.
    pub(super) images: Vec<String>,
    /// The hash of its pod template.
    pub(super) template: String,
    /// Whether a step before this one starts a rollout.
    pub(super) will_roll: bool,
}

impl Foreseen {
    /// What is there now, with the predicted effects on it.
    pub(super) fn of(cx: &StepContext, workload: &Workload) -> Self {
        let predicted = cx.predicted(&workload.target.resource()).unwrap_or_default();
        let images = predicted.get("images").and_then(|images| Vec::deserialize(images).ok());
        Self {
            paused: predicted["paused"].as_bool().unwrap_or_else(|| workload.paused()),
            replicas: predicted["replicas"].as_u64().unwrap_or_else(|| workload.replicas()),
            images: images.unwrap_or_else(|| workload.images()),
            template: predicted["template"]
                .as_str()
                .map_or_else(|| fingerprint(workload.template()), str::to_owned),
            will_roll: predicted["will_roll"].as_bool().unwrap_or(false),
        }
    }
}

/// The effect of a change for later steps of a plan, beside those of the steps before it.
pub(super) fn predict(cx: &StepContext, target: &Target, effect: Value) -> Vec<Prediction> {
    let resource = target.resource();
    let mut state = cx.predicted(&resource).unwrap_or_else(|| json!({}));
    if let (Value::Object(state), Value::Object(effect)) = (&mut state, effect) {
        state.extend(effect);
    }
    vec![Prediction { resource, state }]
}
