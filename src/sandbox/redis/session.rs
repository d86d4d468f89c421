//! One connection: commands come in, the faults are asked about each, and the answers of what came together leave together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::commands::{self, Session};
use super::resp::{Command, Reply, parse};
use super::server::Shared;
use crate::sandbox::faults::{Double, Effect, Verdict};

/// How much is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// How a batch of commands ends.
enum End {
    /// All of them are answered.
    Answered,
    /// The connection is cut instead of further answers.
    Cut,
    /// Nothing comes any more.
    Silent,
    /// The client has said goodbye, or nonsense.
    Closed,
}

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: TcpStream, server: Arc<Shared>) {
    let mut session = Session::default();
    let mut input = Vec::new();
    loop {
        let (mut answers, mut consumed) = (Vec::new(), 0);
        let end = batch(&server, &mut session, &input, &mut consumed, &mut answers).await;
        input.drain(..consumed);
        let delivered = match server.save() {
            Ok(()) => deliver(&mut stream, &answers, &end).await,
            Err(error) => {
                tracing::error!(%error, "failed to keep the keys");
                return;
            }
        };
        if let Err(error) = delivered {
            tracing::debug!(%error, "a connection to redis ended early");
            return;
        }
        match end {
            End::Answered => {}
            End::Silent => std::future::pending().await,
            End::Cut | End::Closed => return,
        }
        match stream.read_buf(&mut limited(&mut input)).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a connection to redis ended early");
                return;
            }
        }
    }
}

/// Room for one read.
fn limited(input: &mut Vec<u8>) -> &mut Vec<u8> {
    input.reserve(CHUNK);
    input
}

async fn deliver(stream: &mut TcpStream, answers: &[u8], end: &End) -> io::Result<()> {
    if matches!(end, End::Cut) {
        // Dropped without goodbye, which TCP shows as a reset.
        return stream.set_zero_linger();
    }
    stream.write_all(answers).await
}

/// Carries out every whole command of `input`; `consumed` is how much of it that was.
async fn batch(
    server: &Shared,
    session: &mut Session,
    input: &[u8],
    consumed: &mut usize,
    answers: &mut Vec<u8>,
) -> End {
    // A slow network delays what travels together, and not each command of it.
    let mut waited = Duration::ZERO;
    loop {
        let command = match parse(input.get(*consumed..).unwrap_or_default()) {
            Ok(None) => return End::Answered,
            Ok(Some((command, length))) => {
                *consumed += length;
                command
            }
            Err(malformed) => {
                Reply::error(malformed.to_string()).write(session.protocol, answers);
                return End::Closed;
            }
        };
        if command.is_empty() {
            continue;
        }
        let verdict = decide(server, &command);
        if verdict.latency > waited {
            tokio::time::sleep(verdict.latency.saturating_sub(waited)).await;
            waited = verdict.latency;
        }
        match verdict.end {
            None | Some(Effect::Latency(_)) => {
                if commands::name(&command) == "QUIT" {
                    Reply::Status("OK").write(session.protocol, answers);
                    return End::Closed;
                }
                server.execute(session, &command).write(session.protocol, answers);
            }
            Some(Effect::Error(status)) => injected(status).write(session.protocol, answers),
            Some(Effect::Reset) => return End::Cut,
            Some(Effect::Silence) => return End::Silent,
            Some(Effect::Lost) => {
                drop(server.execute(session, &command));
                return End::Cut;
            }
        }
    }
}

/// What is to happen to a command; a fault's `path` is a part of `UNLINK metrics:v2:a`.
fn decide(server: &Shared, command: &Command) -> Verdict {
    let Some(faults) = &server.faults else { return Verdict::default() };
    let first = command.get(1).map(|argument| String::from_utf8_lossy(argument).into_owned());
    let path = format!("{} {}", commands::name(command), first.unwrap_or_default());
    faults.decide(Double::Redis, path.trim_end())
}

/// An injected error in the words of Redis, by the status that HTTP would have for it.
fn injected(status: u16) -> Reply {
    Reply::error(match status {
        401 => "NOAUTH Authentication required.",
        403 => "NOPERM this user has no permissions to run this command",
        409 => "READONLY You can't write against a read only replica.",
        503 => "LOADING Redis is loading the dataset in memory",
        _ => "ERR an injected fault",
    })
}
