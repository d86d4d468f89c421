//! An answer that is not a success, in the words of the real server.

use axum::Json;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::resources::Resource;
use crate::sandbox::SandboxError;

/// A failure that becomes a `Status` object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) code: StatusCode,
    pub(super) reason: &'static str,
    pub(super) message: String,
    details: Value,
}

impl Failure {
    pub(super) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// Which object it is about; what is empty is not told.
    pub(super) fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = json!({});
        for (field, content) in [("name", name), ("group", group), ("kind", kind)] {
            if !content.is_empty() {
                self.details[field] = content.into();
            }
        }
        self
    }

    pub(super) fn of(self, resource: &Resource, name: &str) -> Self {
        self.about(resource.group, resource.plural, name)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).of(resource, name)
    }

    /// There is no such kind of things.
    pub(super) fn no_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about("", "", "")
    }

    pub(super) fn exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).of(resource, name)
    }

    /// It has been changed since the client looked.
    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; \
             please apply your changes to the latest version and try again",
            resource.qualified()
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).of(resource, name)
    }

    /// The object would not be valid: `field: what is wrong`.
    pub(super) fn invalid(resource: &Resource, name: &str, problem: &str) -> Self {
        let kind = match resource.group {
            "" => resource.kind.to_owned(),
            group => format!("{}.{group}", resource.kind),
        };
        let message = format!("{kind} \"{name}\" is invalid: {problem}");
        let invalid = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        invalid.about(resource.group, resource.kind, name)
    }

    /// A patch that cannot be applied to the object as it is, such as a `test` that fails.
    pub(super) fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about("", "", "")
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(super) fn unsupported(message: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let message = format!("failed to {error}{}", cause.unwrap_or_default());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        if !self.details.is_null() {
            status["details"] = self.details;
        }
        status["code"] = self.code.as_u16().into();
        (self.code, Json(status)).into_response()
    }
}

/// An injected error in the server's own form.
pub(super) fn refuse(code: StatusCode) -> Response<Body> {
    let reason = match code.as_u16() {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    Failure::new(code, reason, "an error was injected into the sandbox").into_response()
}
