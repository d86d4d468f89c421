//! Rollbacks of apps (`/v2/apps/{id}/rollback`): validated, then a new deployment that repeats an old one; until it is committed or reverted,
//! the app is pinned to it.

use serde_json::{Map, Value, json};

use super::account::{Holdings, Refusal};
use super::apps::App;
use super::deployments::Phase;

/// What stands against a rollback.
fn condition(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message, "components": ["agent"]})
}

fn target(body: &Map<String, Value>) -> Result<&str, Refusal> {
    body.get("deployment_id")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::invalid("deployment_id is required"))
}

impl App {
    /// The answer of the validation.
    fn validated(&self, target: &str) -> Result<Value, Refusal> {
        let found = self.deployment(target).ok_or_else(Refusal::not_found)?;
        let error = match found.phase {
            _ if self.pinned.is_some() => {
                Some(condition("app_pinned", "the app is already pinned to a rollback deployment"))
            }
            Phase::Active | Phase::Superseded => None,
            _ => Some(condition("incompatible_phase", "the deployment never became active")),
        };
        let error = error.or_else(|| self.verdict.get("error").cloned());
        let mut answer = json!({"valid": error.is_none()});
        if let Some(error) = error {
            answer["error"] = error;
        }
        if let Some(warnings) = self.verdict.get("warnings") {
            answer["warnings"] = warnings.clone();
        }
        Ok(answer)
    }
}

impl Holdings {
    /// `POST /v2/apps/{id}/rollback/validate`.
    pub(super) fn validate_rollback(
        &self,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<Value, Refusal> {
        self.app(id)?.validated(target(body)?)
    }

    /// `POST /v2/apps/{id}/rollback`.
    pub(super) fn roll_back(
        &mut self,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let target = target(body)?;
        let app = self.app_mut(id)?;
        if let Some(error) = app.validated(target)?.get("error") {
            return Err(Refusal::invalid(error["message"].as_str().unwrap_or_default()));
        }
        let spec = app.deployment(target).ok_or_else(Refusal::not_found)?.spec.clone();
        let former = std::mem::replace(&mut app.spec, spec);
        let begun = app.deploy("rollback", Some(target.to_owned()));
        if body.get("skip_pin") != Some(&Value::Bool(true)) {
            app.pinned = Some(begun.id.clone());
            app.before_rollback = Some(former);
        }
        Ok((format!("roll back app {}", app.name()), json!({"deployment": begun.shown()})))
    }

    /// `POST /v2/apps/{id}/rollback/commit`.
    pub(super) fn commit_rollback(&mut self, id: &str) -> Result<(String, ()), Refusal> {
        let app = self.app_mut(id)?;
        if app.pinned.take().is_none() {
            return Err(Refusal::invalid("the app is not pinned"));
        }
        app.before_rollback = None;
        Ok((format!("commit rollback of app {}", app.name()), ()))
    }

    /// `POST /v2/apps/{id}/rollback/revert`.
    pub(super) fn revert_rollback(&mut self, id: &str) -> Result<(String, Value), Refusal> {
        let app = self.app_mut(id)?;
        if app.pinned.take().is_none() {
            return Err(Refusal::invalid("the app is not pinned"));
        }
        if let Some(former) = app.before_rollback.take() {
            app.spec = former;
        }
        let begun = app.deploy("rollback reverted", None);
        Ok((format!("revert rollback of app {}", app.name()), json!({"deployment": begun.shown()})))
    }
}
