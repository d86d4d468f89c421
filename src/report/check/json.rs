//! For scripts: one document with every problem.

use serde_json::{Value, json};

use super::CheckedFile;

/// `{"format": 1, "files": […]}`.
pub fn json(files: &[CheckedFile]) -> Value {
    json!({
        "format": 1,
        "failed": files.iter().filter(|file| file.failed).count(),
        "files": files,
    })
}
