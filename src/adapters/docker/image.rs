//! Images: references become absolute ids, once, before anything is changed. Nothing is ever pulled.
//!
//! `recorded` is the image that a container ran before its present one. The engine itself keeps no such history: Compose
//! removes the former container, and its labels name only the present image. So it has to have been written down, by one of
//! - the label `rollback.former-image` on the container, which `docker.swap` writes and a deployment may write, or
//! - a file `{"service": "image", …}` that the deployment leaves behind, named with `recorded_in`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{Engine, Limits};
use super::parking::FORMER_IMAGE;
use super::project::Member;
use crate::action::{ActionError, ErrorKind};

/// The largest file of recorded images that is read, in bytes.
const LARGEST_RECORD: u64 = 1024 * 1024;

/// The word for the image that a container ran before.
const RECORDED: &str = "recorded";

/// Which image to run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "DockerImage")]
pub(super) enum Wanted {
    /// A JSON file that names an image for every service.
    Listed(Listed),
    /// An image on the engine by name, digest or id, or `recorded`: the one that the container's label
    /// `rollback.former-image` names.
    Named(String),
}

/// Images by service, in a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DockerRecordedImages")]
pub(super) struct Listed {
    /// The file: `{"agent-001": "registry.example/agent@sha256:…", …}`.
    recorded_in: PathBuf,
}

impl Wanted {
    /// Checks offline.
    pub(super) fn validate(&self) -> Result<(), String> {
        match self {
            Self::Listed(_) => Ok(()),
            Self::Named(reference) => validate(reference),
        }
    }

    /// The reference for every one of these containers.
    pub(super) fn references(&self, members: &[&Member]) -> Result<Vec<String>, ActionError> {
        match self {
            Self::Named(word) if word == RECORDED => members
                .iter()
                .map(|member| member.former_image.clone().ok_or_else(|| unrecorded(member)))
                .collect(),
            Self::Named(reference) => Ok(vec![reference.clone(); members.len()]),
            Self::Listed(Listed { recorded_in }) => {
                let images = read(recorded_in)?;
                members
                    .iter()
                    .map(|member| {
                        images.get(&member.service).cloned().ok_or_else(|| {
                            not_found(format!(
                                "find service `{}` in {}",
                                member.service,
                                recorded_in.display()
                            ))
                        })
                    })
                    .collect()
            }
        }
    }
}

fn unrecorded(member: &Member) -> ActionError {
    not_found(format!("find the recorded image of container {}", member.name)).hint(format!(
        "Nothing wrote down what ran before: it has no label `{FORMER_IMAGE}`. Name the image, or a file with `image: {{recorded_in: PATH}}`."
    ))
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, ActionError> {
    let doing = || format!("read the recorded images in {}", path.display());
    let size = std::fs::metadata(path).map_err(|error| not_found(doing()).caused_by(&error))?.len();
    if size > LARGEST_RECORD {
        return Err(invalid(format!("{}: it is larger than 1 MiB", doing())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| invalid(doing()).caused_by(&error))?;
    let images: BTreeMap<String, String> = serde_json::from_str(&text).map_err(|error| {
        invalid(doing())
            .caused_by(&error)
            .hint("Write one JSON object: `{\"SERVICE\": \"IMAGE\", …}`.")
    })?;
    for reference in images.values() {
        validate(reference).map_err(|reason| invalid(format!("{}: {reason}", doing())))?;
    }
    Ok(images)
}

/// Checks a reference offline: it becomes a part of a URL's path.
pub(super) fn validate(reference: &str) -> Result<(), String> {
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':' | b'@')
    };
    let sound = !reference.is_empty()
        && reference.len() <= 512
        && reference.bytes().all(allowed)
        && reference.as_bytes()[0].is_ascii_alphanumeric()
        && !reference.contains("..")
        && !reference.contains("/./");
    if sound { Ok(()) } else { Err(format!("`{reference}` is not the name of an image")) }
}

/// The id of an image on this engine.
pub(super) async fn resolve(
    engine: &Engine,
    limits: &Limits,
    reference: &str,
) -> Result<String, ActionError> {
    validate(reference).map_err(|reason| invalid(format!("use an image: {reason}")))?;
    let image = engine.image(limits, reference).await?.ok_or_else(|| {
        not_found(format!("find image {reference} at {}", engine.at())).hint(format!(
            "Images are never pulled during a run. `docker -H {} pull {reference}` fetches it beforehand.",
            engine.at()
        ))
    })?;
    image.id.ok_or_else(|| {
        ActionError::new(ErrorKind::Failed, format!("understand the engine: {reference} has no id"))
    })
}

fn not_found(message: impl Into<String>) -> ActionError {
    ActionError::new(ErrorKind::NotFound, message)
}

fn invalid(message: impl Into<String>) -> ActionError {
    ActionError::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(service: &str, former: Option<&str>) -> Member {
        Member {
            id: "0123".into(),
            name: format!("green-{service}-1"),
            service: service.into(),
            number: 1,
            running: true,
            image: "sha256:aa".into(),
            former_image: former.map(str::to_owned),
            replaces: None,
            network_of: None,
        }
    }

    #[test]
    fn references_that_would_leave_the_path_are_refused() {
        for good in ["agent:1.0.0", "registry.example:5000/team/agent@sha256:00ff", "sha256:00ff"] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in ["", "../containers", "a/../../b", "a b", "a?x=1", "a#b", "-a", "a%2e", "a/./b"]
        {
            assert!(validate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn recorded_reads_the_label_and_says_when_there_is_none() {
        let wanted: Wanted = serde_json::from_str("\"recorded\"").unwrap();
        let known = member("web", Some("sha256:bb"));
        assert_eq!(wanted.references(&[&known]).unwrap(), ["sha256:bb"]);
        let error = wanted.references(&[&known, &member("api", None)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("green-api-1"), "{error}");
        assert!(error.hints[0].contains("recorded_in"), "{:?}", error.hints);
    }

    #[test]
    fn a_file_names_an_image_for_every_service() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.json");
        let wanted: Wanted =
            serde_json::from_value(serde_json::json!({"recorded_in": path})).unwrap();
        let (web, api) = (member("web", None), member("api", None));
        assert_eq!(wanted.references(&[&web]).unwrap_err().kind, ErrorKind::NotFound);
        std::fs::write(&path, r#"{"web": "agent:1.0.0"}"#).unwrap();
        assert_eq!(wanted.references(&[&web]).unwrap(), ["agent:1.0.0"]);
        assert_eq!(wanted.references(&[&api]).unwrap_err().kind, ErrorKind::NotFound);
        std::fs::write(&path, r#"{"web": "../etc"}"#).unwrap();
        assert_eq!(wanted.references(&[&web]).unwrap_err().kind, ErrorKind::Invalid);
        std::fs::write(&path, "[]").unwrap();
        assert_eq!(wanted.references(&[&web]).unwrap_err().kind, ErrorKind::Invalid);
    }
}
