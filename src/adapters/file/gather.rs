//! Files below the root, for evidence: the ends of logs, mostly.

use std::io::{Read as _, Seek as _, SeekFrom};

use rustix::fs::Dir;

use super::place::Place;
use super::root::{Root, root, validate_path};
use super::work::fail;
use crate::action::{ActionError, Connections, ErrorKind, Gathering, Piece};

/// More files than this of one pattern are not read.
const MOST_FILES: usize = 200;

/// The files of every pattern: a path below the root whose last part may hold one `*`.
pub(super) async fn gather(
    connections: &Connections,
    gathering: &Gathering,
) -> Result<Vec<Piece>, ActionError> {
    let patterns: Vec<String> = gathering.settings()?;
    let root = root(connections)?;
    let gathering = gathering.clone();
    let read = tokio::task::spawn_blocking(move || {
        patterns.iter().flat_map(|pattern| of_pattern(&root, pattern, &gathering)).collect()
    });
    read.await.map_err(|error| ActionError::new(ErrorKind::Failed, "read files").caused_by(&error))
}

fn of_pattern(root: &Root, pattern: &str, gathering: &Gathering) -> Vec<Piece> {
    let failed = |error| vec![Piece::missing(named(pattern), error)];
    let places = match matching(root, pattern) {
        Ok(places) if places.is_empty() => {
            let error = ActionError::new(ErrorKind::NotFound, format!("find a file `{pattern}`"));
            return failed(error);
        }
        Ok(places) => places,
        Err(error) => return failed(error),
    };
    let read = |place: &Place| match end_of(place, gathering.most) {
        Ok((content, left_out)) => {
            Piece { left_out, ..gathering.piece(named(place.shown()), content) }
        }
        Err(error) => Piece::missing(named(place.shown()), error),
    };
    places.iter().map(read).collect()
}

/// The name in the archive.
fn named(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

fn matching(root: &Root, pattern: &str) -> Result<Vec<Place>, ActionError> {
    validate_path("files", pattern)
        .map_err(|problem| ActionError::new(ErrorKind::Invalid, problem))?;
    let (folder, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let Some((start, end)) = name.split_once('*') else {
        return root.place(pattern).map(|place| vec![place]);
    };
    let listed = root.place(pattern)?;
    let unreadable = |error| fail(format!("list the folder of `{pattern}`"), error);
    let mut names = Vec::new();
    for entry in Dir::read_from(listed.folder()).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let fits = name.len() >= start.len() + end.len();
        if fits && name.starts_with(start) && name.ends_with(end) && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.into_iter().take(MOST_FILES).map(|name| root.place(&format!("{folder}/{name}"))).collect()
}

/// The end of a file, and how much lies before it.
fn end_of(place: &Place, most: usize) -> Result<(Vec<u8>, usize), ActionError> {
    let shown = place.shown();
    let failed = |error: std::io::Error| {
        ActionError::new(ErrorKind::Failed, format!("read `{shown}`")).caused_by(&error)
    };
    let (mut file, _) = place
        .open()?
        .ok_or_else(|| ActionError::new(ErrorKind::NotFound, format!("find `{shown}`")))?;
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let start = length.saturating_sub(most as u64);
    let _at = file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut content = Vec::new();
    let _length = file.take(most as u64).read_to_end(&mut content).map_err(failed)?;
    Ok((content, usize::try_from(start).unwrap_or(usize::MAX)))
}
