//! Following a deployment to its end.

use std::time::Duration;

use tokio::time::Instant;

use super::app::{Deployment, DeploymentAnswer, Target};
use super::client::{DigitalOcean, segment};
use crate::action::{ActionError, ErrorKind, StepContext};

/// The pauses between two looks: short at first, and then as long as a limit of 250 requests a minute bears for a whole fleet.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One deployment as it is now.
pub(super) async fn deployment(
    account: &DigitalOcean,
    cx: &StepContext,
    target: &Target,
    id: &str,
) -> Result<Deployment, ActionError> {
    let doing = format!("read deployment {id} of {target}");
    let path = format!("{}/deployments/{}", target.path(), segment(id));
    let answer: DeploymentAnswer = account.get(cx, &doing, &path).await?;
    Ok(answer.deployment)
}

/// All deployments of an app, the newest first.
pub(super) async fn deployments(
    account: &DigitalOcean,
    cx: &StepContext,
    target: &Target,
) -> Result<Vec<Deployment>, ActionError> {
    let path = format!("{}/deployments", target.path());
    account.list(cx, &format!("list the deployments of {target}"), &path, "deployments").await
}

/// Waits until a deployment that this step has begun is over, and tells how it ended. One that serves, or was followed by another, is
/// given back; every other end is an error. An end of time leaves the outcome open, since the deployment goes on.
pub(super) async fn to_its_end(
    account: &DigitalOcean,
    cx: &StepContext,
    target: &Target,
    id: &str,
) -> Result<Deployment, ActionError> {
    let mut pause = FIRST_PAUSE;
    let mut seen = "it has just begun".to_owned();
    loop {
        match deployment(account, cx, target, id).await {
            Ok(found) if found.is_over() => return ended(target, found),
            Ok(found) => seen = format!("it is {}", found.progress()),
            // A look that fails takes nothing back of what was begun.
            Err(error) if error.retryable => seen.clone_from(&error.message),
            Err(error) => return Err(open(target, id, &error.message)),
        }
        let late = Instant::now() + pause >= cx.deadline();
        tokio::select! {
            () = tokio::time::sleep(pause), if !late => {}
            () = cx.cancelled().cancelled(), if !late => return Err(open(target, id, "the run was told to stop")),
            else => return Err(open(target, id, &seen)),
        }
        pause = pause.mul_f32(1.5).min(LONGEST_PAUSE);
    }
}

/// The error of a deployment whose end was not seen.
fn open(target: &Target, id: &str, seen: &str) -> ActionError {
    let text = format!("see the end of deployment {id} of {target}: {seen}");
    ActionError::new(ErrorKind::Unknown, text)
        .hint("It goes on by itself. `rollback resume` looks at it again, and sends nothing twice.")
}

fn ended(target: &Target, found: Deployment) -> Result<Deployment, ActionError> {
    if matches!(found.phase.as_str(), "ACTIVE" | "SUPERSEDED") {
        return Ok(found);
    }
    let text = format!("deploy {target}: deployment {} ended with {}", found.id, found.progress());
    Err(ActionError::new(ErrorKind::Failed, text).hint(format!(
        "`doctl apps logs {} --deployment {} --type deploy` says why.",
        target.id, found.id
    )))
}
