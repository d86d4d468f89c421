//! The services around the knowledge base, and the documents that it is made of.

use std::path::{Path, PathBuf};

use tokio::net::TcpListener;

use super::info::WorldInfo;
use crate::sandbox::SandboxError;
use crate::sandbox::faults::Faults;
use crate::sandbox::knowledge::{Embeddings, Postgrest, corpus};
use crate::sandbox::postgres::clients_config;
use crate::sandbox::wire::{Door, open_tcp};

/// The folder of the documents.
pub(super) fn folder(dir: &Path) -> PathBuf {
    dir.join("knowledge")
}

/// Writes the documents anew.
pub(super) fn seed(info: &WorldInfo) -> Result<(), SandboxError> {
    corpus::write(&info.knowledge)
}

/// Serves both until the doors are dropped.
pub(super) fn serve(
    (embeddings, supabase): (TcpListener, TcpListener),
    info: &WorldInfo,
    faults: &Faults,
) -> [Door; 2] {
    let database = info.postgres.as_deref().map(clients_config);
    let api = Postgrest::new(database, &info.key, &["scout"]);
    [
        open_tcp(embeddings, Embeddings::new(&info.key).front(Some(faults.clone()))),
        open_tcp(supabase, api.front(Some(faults.clone()))),
    ]
}
