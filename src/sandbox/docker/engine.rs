//! The engine's state, kept on disk with one file per object, and how its objects are looked up.
//!
//! Every change goes through [`Engine::update`], which writes the container before anybody sees the change.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use indexmap::IndexMap;
use tokio::sync::watch;

use super::contention::{Queue, Work};
use super::lifecycle::Life;
use super::model::{Container, Health, Image, Network, Status};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::{SandboxError, store};

/// An answer of the engine that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The text under `message`.
    pub message: String,
}

impl EngineError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<SandboxError> for EngineError {
    fn from(error: SandboxError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let message = format!("failed to {error}{}", cause.unwrap_or_default());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

/// What an engine starts with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where its state lives.
    pub dir: PathBuf,
    /// How many times as fast as a real engine it works.
    pub speed: f64,
    /// Where its effects are counted.
    pub ledger: Ledger,
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) containers: IndexMap<String, Container>,
    pub(super) images: Vec<Image>,
    pub(super) networks: Vec<Network>,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    dir: PathBuf,
    pub(super) speed: f64,
    pub(super) ledger: Ledger,
    pub(super) exit: Queue,
    pub(super) teardown: Queue,
    pub(super) start: Queue,
    pub(super) register: Queue,
    objects: Mutex<Objects>,
    pub(super) lives: Mutex<HashMap<String, watch::Sender<Life>>>,
}

impl Engine {
    /// Opens the engine with the state that its folder holds. Containers that were about to become healthy do.
    pub fn open(setup: Setup) -> Result<Arc<Self>, SandboxError> {
        store::folder(&setup.dir.join("containers"))?;
        let objects = load(&setup.dir)?;
        let starting: Vec<String> = objects
            .containers
            .values()
            .filter(|container| container.state.health == Some(Health::Starting))
            .filter(|container| container.is_running())
            .map(|container| container.id.clone())
            .collect();
        let queue = |work| Queue::new(work, setup.speed);
        let engine = Arc::new(Self {
            dir: setup.dir,
            speed: setup.speed,
            ledger: setup.ledger,
            exit: queue(Work::Exit),
            teardown: queue(Work::Teardown),
            start: queue(Work::Start),
            register: queue(Work::Register),
            objects: Mutex::new(objects),
            lives: Mutex::default(),
        });
        for id in starting {
            engine.clone().watch_health(id);
        }
        Ok(engine)
    }

    /// Replaces everything that the engine knows.
    pub fn seed(
        &self,
        images: Vec<Image>,
        networks: Vec<Network>,
        containers: Vec<Container>,
    ) -> Result<(), SandboxError> {
        let mut objects = self.objects();
        store::remove_folder(&self.dir.join("containers"))?;
        store::folder(&self.dir.join("containers"))?;
        store::write_json(&self.dir.join("images.json"), &images)?;
        store::write_json(&self.dir.join("networks.json"), &networks)?;
        for container in &containers {
            store::write_json(&self.file(&container.id), container)?;
        }
        let containers = containers.into_iter().map(|each| (each.id.clone(), each)).collect();
        *objects = Objects { containers, images, networks };
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// All containers, in the order of their creation.
    pub fn containers(&self) -> Vec<Container> {
        self.objects().containers.values().cloned().collect()
    }

    /// All images.
    pub fn images(&self) -> Vec<Image> {
        self.objects().images.clone()
    }

    pub(super) fn networks(&self) -> Vec<Network> {
        self.objects().networks.clone()
    }

    pub(super) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: &str) -> PathBuf {
        self.dir.join("containers").join(format!("{id}.json"))
    }

    /// The container with this id, name or unambiguous beginning of an id.
    pub fn find(&self, reference: &str) -> Result<Container, EngineError> {
        find_in(&self.objects(), reference)
    }

    /// Changes a container and writes it; nothing is changed when that fails.
    pub(super) fn update<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Container) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.update_with(id, |container, _| change(container))
    }

    /// As [`update`](Self::update), with sight of the other objects as they were.
    pub(super) fn update_with<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Container, &mut Objects) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut objects = self.objects();
        let mut container = find_in(&objects, id)?;
        let result = change(&mut container, &mut objects)?;
        store::write_json(&self.file(&container.id), &container)?;
        objects.containers.insert(container.id.clone(), container);
        Ok(result)
    }

    /// Writes and adds a container.
    pub(super) fn insert(
        &self,
        objects: &mut Objects,
        container: Container,
    ) -> Result<(), EngineError> {
        store::write_json(&self.file(&container.id), &container)?;
        objects.containers.insert(container.id.clone(), container);
        Ok(())
    }

    pub(super) fn forget(&self, objects: &mut Objects, id: &str) -> Result<(), EngineError> {
        let path = self.file(id);
        fs::remove_file(&path).map_err(SandboxError::file("remove", &path))?;
        objects.containers.shift_remove(id);
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    /// The image with this name, id or digest.
    pub fn find_image(&self, reference: &str) -> Result<Image, EngineError> {
        find_image_in(&self.objects(), reference)
    }
}

pub(super) fn find_in(objects: &Objects, reference: &str) -> Result<Container, EngineError> {
    let name = reference.strip_prefix('/').unwrap_or(reference);
    if let Some(found) = objects.containers.get(reference) {
        return Ok(found.clone());
    }
    if let Some(found) = objects.containers.values().find(|each| each.name == name) {
        return Ok(found.clone());
    }
    let mut found = objects.containers.values().filter(|each| each.id.starts_with(reference));
    match (found.next(), found.next()) {
        (Some(found), None) if !reference.is_empty() => Ok(found.clone()),
        (Some(_), Some(_)) if !reference.is_empty() => Err(EngineError::bad_request(format!(
            "Multiple IDs found with provided prefix: {reference}"
        ))),
        _ => Err(EngineError::not_found(format!("No such container: {reference}"))),
    }
}

pub(super) fn find_image_in(objects: &Objects, reference: &str) -> Result<Image, EngineError> {
    let named = with_tag(reference);
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    let is_id = digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = objects.images.iter().find(|image| {
        image.tags.contains(&named)
            || image.digests.iter().any(|digest| digest == reference)
            || (is_id && image.id.trim_start_matches("sha256:").starts_with(digits))
    });
    found.cloned().ok_or_else(|| EngineError::not_found(format!("No such image: {named}")))
}

/// The reference with `:latest` where it has neither tag nor digest.
fn with_tag(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains(':') || reference.contains('@') {
        return reference.to_owned();
    }
    format!("{reference}:latest")
}

fn load(dir: &Path) -> Result<Objects, SandboxError> {
    let images = dir.join("images.json");
    if !images.exists() {
        return Ok(Objects::default());
    }
    let mut containers: Vec<Container> = Vec::new();
    let folder = dir.join("containers");
    for entry in fs::read_dir(&folder).map_err(SandboxError::file("read", &folder))? {
        let path = entry.map_err(SandboxError::file("read", &folder))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut container: Container = store::read_json(&path)?;
            // The process ended under an engine that was killed before it could say so.
            if container.is_running() && !container.state.process {
                container.state.status = Status::Exited;
                container.state.health = container.state.health.map(|_| Health::Unhealthy);
            }
            containers.push(container);
        }
    }
    containers.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
    Ok(Objects {
        containers: containers.into_iter().map(|each| (each.id.clone(), each)).collect(),
        images: store::read_json(&images)?,
        networks: store::read_json(&dir.join("networks.json"))?,
    })
}

/// 64 hexadecimal digits that are the same for the same text.
pub(crate) fn digest_of(text: &str) -> String {
    crate::digest::sha256(text.as_bytes())
}

/// 64 hexadecimal digits that nothing else has.
pub(crate) fn fresh_id() -> String {
    digest_of(&uuid::Uuid::new_v4().to_string())
}
