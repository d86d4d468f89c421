//! The address of the world's PostgreSQL, open from the world's first moment.
//!
//! Making a cluster takes a second or more, and nothing else in the world waits for it: whoever connects is held back
//! until the server behind answers, and is told in PostgreSQL's own words when it never will.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::database::State;
use crate::sandbox::SandboxError;
use crate::sandbox::wire::{Door, open_unix_with};

/// The port that clients know, which for a Unix socket is a part of its name.
pub(super) const PORT: u16 = 5432;
/// The port of the server behind.
pub(super) const INNER_PORT: u16 = 5433;

/// The socket of a port in a folder, as libpq names it.
pub(super) fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// Opens the address in `folder`; the server behind has its socket in `behind`.
pub(super) fn open(
    folder: &Path,
    behind: &Path,
    state: watch::Receiver<State>,
) -> Result<Door, SandboxError> {
    let behind = socket(behind, INNER_PORT);
    open_unix_with(&socket(folder, PORT), move |stream, stop: CancellationToken| {
        let (behind, state) = (behind.clone(), state.clone());
        async move {
            // A connection that breaks is its client's to notice.
            if let Some(Err(error)) = stop.run_until_cancelled(carry(stream, &behind, state)).await
            {
                tracing::debug!(%error, "a connection to PostgreSQL ended early");
            }
        }
    })
}

async fn carry(
    mut client: UnixStream,
    behind: &Path,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    if let Err(why) = State::settled(&mut state).await {
        return client.write_all(&refusal(&why)).await;
    }
    let mut server = UnixStream::connect(behind).await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

/// `ErrorResponse` with `cannot_connect_now`
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
fn refusal(why: &str) -> Vec<u8> {
    let why: String = why.chars().filter(|letter| !letter.is_control()).take(500).collect();
    let mut fields = Vec::new();
    for (code, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "57P03"), (b'M', &why)] {
        fields.push(code);
        fields.extend_from_slice(text.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [&[b'E'][..], &length.to_be_bytes(), &fields].concat()
}
