//! What the containers of projects have written, for evidence.

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use super::client::{Engine, Limits};
use super::project::PROJECT;
use crate::action::{ActionError, Connections, Gathering, Piece};

/// How many containers are asked at the same time.
const AT_ONCE: usize = 8;

/// Whose logs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Compose projects.
    projects: Vec<String>,
}

/// The logs of every container, parked and stopped ones included.
pub(super) async fn gather(
    connections: &Connections,
    gathering: &Gathering,
) -> Result<Vec<Piece>, ActionError> {
    let wanted: Wanted = gathering.settings()?;
    let engine = Engine::of(connections)?;
    let limits = Limits::ending(gathering.deadline);
    let mut names = Vec::new();
    for project in wanted.projects {
        let found =
            engine.list(&limits.for_one_look(), vec![format!("{PROJECT}={project}")]).await?;
        let own = found.into_iter().filter_map(|container| container.names?.into_iter().next());
        names.extend(own.map(|name| name.trim_start_matches('/').to_owned()));
    }
    let ask = async |name: String| match engine.logs(&limits, &name, gathering).await {
        Ok(content) => gathering.piece(format!("{name}.log"), content),
        Err(error) => Piece::missing(format!("{name}.log"), error),
    };
    Ok(stream::iter(names).map(ask).buffered(AT_ONCE).collect().await)
}
