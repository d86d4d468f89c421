//! One server on the wire: UDP and TCP on one port, behind the world's faults.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::sandbox::faults::{Double, Effect, Faults};
use crate::sandbox::wire::{Door, open_datagrams, open_stream};

/// The least that a client takes over UDP, in bytes (RFC 1035 section 4.2.1).
const LEAST_DATAGRAM: usize = 512;
/// What is sent over UDP at most, in bytes.
const MOST_DATAGRAM: usize = 1232;

/// What a server does with a message: the bytes of the answer, if there is one.
pub(super) type Handle = Arc<dyn Fn(&Message, &[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// A server.
#[derive(Clone)]
pub(super) struct Server {
    /// What a fault's path begins with for it: nothing, `SECONDARY `, `RESOLVER `.
    pub(super) word: &'static str,
    pub(super) faults: Option<Faults>,
    pub(super) handle: Handle,
}

/// How one exchange ends.
enum End {
    Answer(Vec<u8>),
    Silence,
    Cut,
}

impl Server {
    /// Serves until the doors are dropped.
    pub(super) fn serve(self, tcp: TcpListener, udp: UdpSocket) -> [Door; 2] {
        let (over_tcp, over_udp) = (self.clone(), self);
        [
            open_stream(tcp, move |stream| converse(stream, over_tcp.clone())),
            open_datagrams(udp, move |bytes| {
                let server = over_udp.clone();
                async move { server.datagram(&bytes).await }
            }),
        ]
    }

    async fn datagram(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let End::Answer(answer) = self.exchange(bytes).await else { return None };
        let asked = Message::from_vec(bytes).ok()?;
        let room = asked.edns.as_ref().map_or(LEAST_DATAGRAM, |edns| edns.max_payload().into());
        if answer.len() <= room.clamp(LEAST_DATAGRAM, MOST_DATAGRAM) {
            return Some(answer);
        }
        Message::from_vec(&answer).ok()?.truncate().to_vec().ok()
    }

    async fn exchange(&self, bytes: &[u8]) -> End {
        let Ok(message) = Message::from_vec(bytes) else {
            tracing::debug!("a message to a name server could not be read");
            return End::Silence;
        };
        let verdict = match &self.faults {
            Some(faults) => faults.decide(Double::Dns, &self.path(&message)),
            None => crate::sandbox::faults::Verdict::default(),
        };
        if !verdict.latency.is_zero() {
            tokio::time::sleep(verdict.latency).await;
        }
        let handled = || (self.handle)(&message, bytes);
        match verdict.end {
            None | Some(Effect::Latency(_)) => handled().map_or(End::Silence, End::Answer),
            Some(Effect::Error(status)) => {
                let mut answer = reply(&message);
                answer.metadata.response_code = injected(status);
                answer.to_vec().map_or(End::Silence, End::Answer)
            }
            Some(Effect::Silence) => End::Silence,
            Some(Effect::Reset) => End::Cut,
            Some(Effect::Lost) => {
                drop(handled());
                End::Cut
            }
        }
    }

    /// What a fault's `path` is a part of: `QUERY CNAME agent.insightpulseai.net.`, `SECONDARY QUERY A …`, `UPDATE …`.
    fn path(&self, message: &Message) -> String {
        let about = match message.metadata.op_code {
            OpCode::Update => message.authorities.first().map(|record| record.name.to_string()),
            _ => message
                .queries
                .first()
                .map(|query| format!("{} {}", query.query_type(), query.name())),
        };
        format!("{}{} {}", self.word, message.metadata.op_code, about.unwrap_or_default())
    }
}

/// An injected error as a response code, by the status that HTTP would have for it.
fn injected(status: u16) -> ResponseCode {
    match status {
        403 => ResponseCode::Refused,
        401 => ResponseCode::NotAuth,
        501 => ResponseCode::NotImp,
        _ => ResponseCode::ServFail,
    }
}

/// The beginning of an answer to a message.
pub(super) fn reply(message: &Message) -> Message {
    let mut answer =
        Message::new(message.metadata.id, MessageType::Response, message.metadata.op_code);
    answer.metadata.recursion_desired = message.metadata.recursion_desired;
    answer.add_queries(message.queries.iter().cloned());
    if let Some(edns) = &message.edns {
        answer.set_edns(edns.clone());
    }
    answer
}

async fn converse(mut stream: TcpStream, server: Server) {
    loop {
        let end = match next(&mut stream).await {
            Ok(bytes) => server.exchange(&bytes).await,
            // The client has gone, as it may.
            Err(_) => return,
        };
        let delivered = match end {
            End::Answer(answer) => deliver(&mut stream, &answer).await,
            End::Silence => {
                // Held open: nobody is told that nothing comes.
                tokio::time::sleep(Duration::from_secs(3600)).await;
                return;
            }
            End::Cut => {
                if let Err(error) = stream.set_zero_linger() {
                    tracing::debug!(%error, "failed to cut a connection");
                }
                return;
            }
        };
        if let Err(error) = delivered {
            tracing::debug!(%error, "a connection to a name server ended early");
            return;
        }
    }
}

async fn next(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn deliver(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), answer].concat()).await
}
