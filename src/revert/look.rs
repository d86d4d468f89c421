//! The plan of a revert, held against the live systems: whether each change is still as the run left it.
//!
//! Several changes of a run may have touched the same thing (a container is stopped, exchanged, started). Only the last of them
//! can be held against the present; what stands below it is seen when its turn comes, by the undo itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::scope::Scope;
use super::{Change, Past};
use crate::action::{ActionError, ErrorKind, Present, ResolveContext, StepContext};
use crate::engine::{Vault, take_back};
use crate::plan::preview::{Finding, Known, PreviewItem, PreviewStep, PreviewVerdict};
use crate::plan::{Back, Concern, Plan, PlannedItem, PlannedStep, Preview};

/// The longest look at one change.
const LOOK: Duration = Duration::from_secs(5);
/// How many changes are looked at at the same time.
const PARALLEL: usize = 16;

/// What looking may use.
pub struct LookContext {
    /// The systems.
    pub resolve: Arc<ResolveContext>,
    /// Where the former run's private saved states lie.
    pub vault: Arc<dyn Vault>,
    /// The former run's folder for what its steps parked.
    pub scratch: PathBuf,
}

/// What was found.
pub struct Looked {
    /// Item by item.
    pub preview: Preview,
    /// What is not as the run left it, or cannot be seen: nothing may start.
    pub refusals: Vec<Concern>,
}

/// What a look at one change found.
type Seen = Result<Present, ActionError>;

/// Looks at everything that `plan` takes back. Only reads.
pub async fn look(plan: &Plan, past: &Past, cx: &LookContext) -> Looked {
    let judge = Judge::of(past, &cx.resolve);
    let looks = plan.steps().flat_map(|step| {
        step.items.resolved().iter().map(move |item| see(&past.header.run, step, item, cx).boxed())
    });
    let looks: Vec<_> = looks.collect();
    let mut seen = stream::iter(looks).buffered(PARALLEL).collect::<Vec<Seen>>().await.into_iter();
    let (mut steps, mut refusals) = (Vec::new(), Vec::new());
    for step in plan.steps() {
        let mut items = Vec::new();
        for item in step.items.resolved() {
            let Some(seen) = seen.next() else { break };
            let (finding, refusal) = judge.find(item, seen);
            refusals.extend(refusal);
            let (name, does) = (item.name.clone(), item.does.to_string());
            let known = known(&finding);
            items.push(PreviewItem { name, does, undo: String::new(), finding, known });
        }
        steps.push(PreviewStep { id: step.id.clone(), optional: false, items });
    }
    Looked { preview: preview(steps), refusals }
}

async fn see(run: &str, step: &PlannedStep, item: &PlannedItem, cx: &LookContext) -> Seen {
    let verb = cx.resolve.registry.verb(&step.verb).ok_or_else(|| {
        ActionError::new(ErrorKind::Invalid, format!("find the verb `{}`", step.verb))
    })?;
    let back = take_back(verb, &item.args, run, &cx.resolve, cx.vault.as_ref()).await?;
    let deadline = Instant::now() + LOOK.min(step.policy.timeout);
    let at = StepContext::new(deadline, CancellationToken::new(), cx.scratch.clone(), run);
    let late =
        || ActionError::new(ErrorKind::TimedOut, "read the present state in time: no answer");
    tokio::time::timeout_at(deadline, back.look(&at)).await.unwrap_or_else(|_| Err(late()))
}

fn known(finding: &Finding) -> Known {
    match finding {
        Finding::CannotTell { .. } => Known::Rendered,
        Finding::MayHold { .. } => Known::Predicted,
        _ => Known::ReadLive,
    }
}

fn preview(steps: Vec<PreviewStep>) -> Preview {
    let verdict = steps.iter().map(PreviewStep::verdict).max();
    let verdict = verdict.unwrap_or(PreviewVerdict::NothingToDo);
    let weakest = steps
        .iter()
        .filter(|step| verdict > PreviewVerdict::Ready && step.verdict() == verdict)
        .map(|step| step.id.clone())
        .collect();
    Preview { steps, verdict, weakest, late: Vec::new() }
}

/// Knows what of the present the run itself explains.
struct Judge<'a> {
    past: &'a Past,
    /// The changes by their place, with what they may have touched.
    changes: HashMap<String, (&'a Change, Scope)>,
}

impl<'a> Judge<'a> {
    fn of(past: &'a Past, cx: &ResolveContext) -> Self {
        let scoped =
            |change: &'a Change| (change.place().to_string(), (change, Scope::of(change, cx)));
        Self { past, changes: past.changes.iter().map(scoped).collect() }
    }

    fn find(&self, item: &PlannedItem, seen: Seen) -> (Finding, Option<Concern>) {
        let change = item.args.read::<Back>().ok();
        let change = change.and_then(|back| self.changes.get(&back.place));
        let Some((change, scope)) = change else {
            let error = ActionError::new(ErrorKind::Invalid, "find the change in the journal");
            return (Finding::CannotTell { error }, None);
        };
        let explained = self.explained(change, scope);
        let observed = match seen {
            Ok(Present::AsLeft | Present::Unseen) => {
                return (Finding::WouldChange { found: None, spreads: None }, None);
            }
            Ok(Present::AsBefore) => {
                let evidence = "it is as it was before the run".to_owned();
                return (Finding::AlreadyDone { evidence }, None);
            }
            Ok(Present::Other) if explained => "later steps of the run have changed it".to_owned(),
            Ok(Present::Other) => {
                "it is neither as the run left it nor as it was before".to_owned()
            }
            // Where nothing can be read, nothing is explained by what the run did.
            Err(error) if is_about_the_way(&error) => return self.refused(change, error),
            Err(error) => error.message,
        };
        if !change.settled || explained {
            return (Finding::MayHold { observed }, None);
        }
        let text = format!("take it back: {observed}");
        self.refused(change, ActionError::new(ErrorKind::Conflict, text))
    }

    /// Whether a later step of the run may have touched the same thing.
    fn explained(&self, change: &Change, scope: &Scope) -> bool {
        self.changes.values().any(|(later, touched)| {
            later.index != change.index && later.ended > change.ended && touched.overlaps(scope)
        })
    }

    fn refused(&self, change: &Change, error: ActionError) -> (Finding, Option<Concern>) {
        let about = match change.item.name.as_str() {
            "" => format!("step {}", change.step.id),
            item => format!("step {} [{item}]", change.step.id),
        };
        let mut told = error.clone();
        if error.kind == ErrorKind::Conflict {
            told = told.hint(format!(
                "Something has changed it since run {}: look at it, then undo that first, or take this step back by hand.",
                self.past.header.run
            ));
        }
        let concern = Concern { about, step: Some(change.step.id.clone()), error: told };
        let finding = if error.kind == ErrorKind::Conflict {
            Finding::DoesNotHold { observed: error.message }
        } else {
            Finding::CannotTell { error }
        };
        (finding, Some(concern))
    }
}

/// Whether an error says nothing about the thing itself.
fn is_about_the_way(error: &ActionError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Unreachable
            | ErrorKind::TimedOut
            | ErrorKind::Denied
            | ErrorKind::Invalid
            | ErrorKind::Cancelled
            | ErrorKind::Unknown
    )
}
