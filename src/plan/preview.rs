//! What `rollback plan` tells: for every item what would happen, and how we know.
//!
//! The plan is walked in its order with the read-only half of the port: actions are inspected, probes are asked, nothing
//! is applied. What a step would change is carried to the later steps as predictions. The verdict is that of the weakest
//! required step, never better.

mod late;
mod look;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layers::layers;
use super::{Items, Plan, PlannedStep, StepId};
use crate::action::{ActionError, Prediction, ResolveContext, Window};

pub use late::Late;
use look::{Looker, Seen};

/// How many items are looked at at the same time.
const PARALLEL_ITEMS: usize = 16;

/// A plan held against the live systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The steps, in the order of the plan.
    pub steps: Vec<PreviewStep>,
    /// That of the weakest required step.
    pub verdict: PreviewVerdict,
    /// The required steps that have this verdict, unless it is the best.
    pub weakest: Vec<StepId>,
    /// Changes that reach everybody later than a target that they stand before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<Late>,
}

/// A step of a preview.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewStep {
    /// The step.
    pub id: StepId,
    /// Whether the run does without it.
    pub optional: bool,
    /// Its items; one with an empty name for a step that is skipped or deferred.
    pub items: Vec<PreviewItem>,
}

/// An item of a preview.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewItem {
    /// Its name; empty when the step has just one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the step does to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub does: String,
    /// What undo would do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub undo: String,
    /// What would happen.
    pub finding: Finding,
    /// How we know.
    pub known: Known,
}

/// What would happen with an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum Finding {
    /// The change is needed.
    WouldChange {
        /// How much there is to change, where the look told it: `655 keys`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<String>,
        /// How long the change takes at most to reach everybody once it is made, where the look told it, in milliseconds.
        #[serde(
            default,
            rename = "spreads_ms",
            skip_serializing_if = "Option::is_none",
            with = "super::model::millis::option"
        )]
        spreads: Option<Duration>,
    },
    /// The wanted state is there already (or will be, by earlier steps).
    AlreadyDone {
        /// What shows it.
        evidence: String,
    },
    /// The answer is as expected now.
    Holds {
        /// What shows it.
        evidence: String,
    },
    /// The answer is not as expected now; with the predicted effects of earlier steps it will be.
    WillHold {
        /// What was seen.
        observed: String,
    },
    /// The answer is not as expected now; earlier steps change things, and may change this.
    MayHold {
        /// What was seen.
        observed: String,
    },
    /// The answer is not as expected, and nothing before it changes anything.
    DoesNotHold {
        /// What was seen.
        observed: String,
    },
    /// A person will be asked.
    AsksPerson {
        /// Whether the run waits for the answer.
        required: bool,
        /// When, after the run, it is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<Window>,
    },
    /// A system will be asked, after the run.
    AsksLater {
        /// When.
        window: Window,
    },
    /// The step is not run.
    Skipped {
        /// Why.
        because: String,
    },
    /// The systems did not say.
    CannotTell {
        /// Why, and what to do.
        error: ActionError,
    },
}

/// How we know what would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// From the runbook and the environment alone.
    Rendered,
    /// From the live system.
    ReadLive,
    /// From the live system and the predicted effects of earlier steps.
    Predicted,
    /// The system tried the change without making it.
    DryRun,
}

/// What can be said about a run, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreviewVerdict {
    /// Everything is there already: nothing would change.
    NothingToDo,
    /// Everything was read live and is as the plan needs it.
    Ready,
    /// Some expected answers depend on what earlier steps change.
    Likely,
    /// Some things could not be read.
    CannotTell,
    /// Some required answer is wrong, and nothing before it changes that.
    WillFail,
}

/// What a preview may use.
pub struct PreviewContext {
    /// The systems.
    pub resolve: Arc<ResolveContext>,
    /// A private folder for the time of the preview.
    pub scratch: PathBuf,
}

/// Walks a plan without changing anything.
pub async fn preview(plan: &Plan, cx: &PreviewContext) -> Preview {
    let mut walk = Walk::default();
    let mut found: HashMap<StepId, PreviewStep> = HashMap::new();
    for phase in &plan.phases {
        for layer in layers(phase) {
            let looker = Looker::new(cx, walk.predictions.clone(), walk.changed);
            let futures: Vec<_> = layer.iter().flat_map(|step| looks(step, &looker)).collect();
            let seen: Vec<(StepId, Seen)> =
                stream::iter(futures).buffered(PARALLEL_ITEMS).collect().await;
            for step in layer {
                let _none = found.insert(
                    step.id.clone(),
                    PreviewStep {
                        id: step.id.clone(),
                        optional: step.policy.optional,
                        items: Vec::new(),
                    },
                );
            }
            walk.learn(seen, &mut found);
        }
    }
    let steps: Vec<PreviewStep> = plan.steps().filter_map(|step| found.remove(&step.id)).collect();
    let verdict = steps.iter().filter(|step| !step.optional).map(PreviewStep::verdict).max();
    let verdict = verdict.unwrap_or(PreviewVerdict::NothingToDo);
    let weakest = steps
        .iter()
        .filter(|step| verdict > PreviewVerdict::Ready && !step.optional)
        .filter(|step| step.verdict() == verdict)
        .map(|step| step.id.clone())
        .collect();
    let late = late::late(plan, &steps);
    Preview { steps, verdict, weakest, late }
}

/// What is known from the steps before.
#[derive(Default)]
struct Walk {
    predictions: Arc<HashMap<String, Value>>,
    changed: bool,
}

impl Walk {
    fn learn(&mut self, seen: Vec<(StepId, Seen)>, found: &mut HashMap<StepId, PreviewStep>) {
        let mut predictions = HashMap::clone(&self.predictions);
        for (id, Seen { item, predicted }) in seen {
            self.changed |=
                matches!(item.finding, Finding::WouldChange { .. } | Finding::CannotTell { .. });
            for Prediction { resource, state } in predicted {
                let _former = predictions.insert(resource, state);
            }
            if let Some(step) = found.get_mut(&id) {
                step.items.push(item);
            }
        }
        self.predictions = Arc::new(predictions);
    }
}

type Look<'a> = futures_util::future::BoxFuture<'a, (StepId, Seen)>;

/// The looks that a step needs: one for each item.
fn looks<'a>(step: &'a PlannedStep, looker: &'a Looker<'_>) -> Vec<Look<'a>> {
    let known = |item: PreviewItem| -> Look<'a> {
        let id = step.id.clone();
        Box::pin(async move { (id, Seen { item, predicted: Vec::new() }) })
    };
    if let Some(because) = &step.skip {
        let finding = Finding::Skipped { because: because.to_string() };
        return vec![known(whole(step, finding))];
    }
    match &step.items {
        Items::Deferred(deferred) => {
            let reason = deferred.reason.clone();
            let error = ActionError::new(crate::action::ErrorKind::Unreachable, reason)
                .hint("It is resolved when its turn comes.");
            vec![known(whole(step, Finding::CannotTell { error }))]
        }
        Items::Resolved(items) => items
            .iter()
            .map(|item| -> Look<'a> {
                Box::pin(async move { (step.id.clone(), looker.look(step, item).await) })
            })
            .collect(),
    }
}

/// A finding about a step as a whole.
fn whole(step: &PlannedStep, finding: Finding) -> PreviewItem {
    PreviewItem {
        name: String::new(),
        does: step.title.as_deref().unwrap_or(&step.verb).to_owned(),
        undo: String::new(),
        finding,
        known: Known::Rendered,
    }
}

impl PreviewStep {
    /// What can be said about the step: that of its weakest item.
    pub fn verdict(&self) -> PreviewVerdict {
        let items = self.items.iter().map(|item| item.finding.verdict());
        items.max().unwrap_or(PreviewVerdict::NothingToDo)
    }
}

impl Finding {
    /// What can be said about a run that consists of this alone.
    pub fn verdict(&self) -> PreviewVerdict {
        match self {
            Self::AlreadyDone { .. } | Self::Holds { .. } | Self::Skipped { .. } => {
                PreviewVerdict::NothingToDo
            }
            Self::WouldChange { .. } | Self::AsksPerson { .. } | Self::AsksLater { .. } => {
                PreviewVerdict::Ready
            }
            Self::WillHold { .. } | Self::MayHold { .. } => PreviewVerdict::Likely,
            Self::CannotTell { .. } => PreviewVerdict::CannotTell,
            Self::DoesNotHold { .. } => PreviewVerdict::WillFail,
        }
    }
}
