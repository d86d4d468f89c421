//! One question and one answer, over UDP and TCP (RFC 1035 section 4.2, RFC 7766).
//!
//! The sockets are this program's own, because the line between "nothing was sent" and "something was, and no answer came" is what an
//! update depends on; `hickory-proto` makes and reads the messages.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The largest answer over UDP, in bytes: what passes everywhere in one piece (the DNS flag day of 2020).
const LARGEST_DATAGRAM: u16 = 1232;
/// How long an answer over UDP is waited for before the question is asked once more, and then over TCP.
const PATIENCE: [Duration; 2] = [Duration::from_millis(700), Duration::from_millis(1300)];
/// The longest wait for a connection over TCP.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No connection: nothing was sent.
    Unreachable(String),
    /// It was sent, or may have been, and no answer came.
    NoAnswer(String),
    /// Time was up before anything was sent.
    Late,
    /// The run was told to stop, perhaps after it was sent.
    Cancelled {
        /// Whether it may have been sent.
        sent: bool,
    },
    /// The answer cannot be read.
    Garbled(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::NoAnswer(why) => f.write_str(why),
            Self::Late => f.write_str("no answer in time"),
            Self::Cancelled { .. } => f.write_str("the run was told to stop"),
            Self::Garbled(why) => write!(f, "the answer cannot be read: {why}"),
        }
    }
}

/// What ends a wait.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    pub(super) until: Instant,
    pub(super) cancelled: CancellationToken,
}

/// Asks a server. `recursion` asks it to find out what it does not know.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    recursion: bool,
    patience: &Patience,
) -> Result<Message, Trouble> {
    let mut question = Message::query();
    question.metadata.recursion_desired = recursion;
    question.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(LARGEST_DATAGRAM).set_version(0);
    question.set_edns(edns);
    let bytes = question.to_vec().map_err(|error| Trouble::Garbled(error.to_string()))?;
    for wait in PATIENCE {
        let until = patience.until.min(Instant::now() + wait);
        let asked = over_udp(server, &question, &bytes);
        match bounded(patience, until, asked).await {
            Some(Ok(answer)) if !answer.metadata.truncation => return Ok(answer),
            // Too long for UDP, or nobody there: TCP tells.
            Some(_) => break,
            None if patience.cancelled.is_cancelled() => {
                return Err(Trouble::Cancelled { sent: true });
            }
            None if Instant::now() >= patience.until => return Err(Trouble::Late),
            None => {}
        }
    }
    let bytes = over_tcp(server, &bytes, patience).await?;
    let answer = read(&bytes)?;
    if is_answer(&question, &answer) {
        return Ok(answer);
    }
    Err(Trouble::Garbled("it answers another question".to_owned()))
}

/// Runs a read-only exchange to its end, or until time is up or the run is told to stop.
async fn bounded<T>(
    patience: &Patience,
    until: Instant,
    exchange: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        result = exchange => Some(result),
        () = patience.cancelled.cancelled() => None,
        () = tokio::time::sleep_until(until) => None,
    }
}

async fn over_udp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let own = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // A port of its own for every question, which together with the id is what a forged answer has to guess.
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is noise, or forged: the answer may still come.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && is_answer(question, &answer)
        {
            return Ok(answer);
        }
    }
}

/// Whether a message answers this question.
fn is_answer(question: &Message, answer: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == OpCode::Query
        && answer.queries == question.queries
}

/// Sends a message over TCP and reads the bytes of one answer.
pub(super) async fn over_tcp(
    server: SocketAddr,
    message: &[u8],
    patience: &Patience,
) -> Result<Vec<u8>, Trouble> {
    let until = patience.until.min(Instant::now() + CONNECT_WITHIN);
    let connecting = timeout_at(until, TcpStream::connect(server));
    let mut stream = tokio::select! {
        biased;
        connected = connecting => match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Trouble::Unreachable(error.to_string())),
            Err(_) if Instant::now() >= patience.until => return Err(Trouble::Late),
            Err(_) => return Err(Trouble::Unreachable("no connection in time".to_owned())),
        },
        () = patience.cancelled.cancelled() => return Err(Trouble::Cancelled { sent: false }),
    };
    let exchange = async {
        let length = u16::try_from(message.len())
            .map_err(|_| io::Error::other("the message is longer than 65535 bytes"))?;
        // One write: a server may take a length without a message for an empty one.
        let framed = [&length.to_be_bytes(), message].concat();
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    tokio::select! {
        biased;
        answer = exchange => answer.map_err(|error| Trouble::NoAnswer(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the connection ended before an answer".to_owned(),
            _ => error.to_string(),
        })),
        () = patience.cancelled.cancelled() => Err(Trouble::Cancelled { sent: true }),
        () = tokio::time::sleep_until(patience.until) => {
            Err(Trouble::NoAnswer("no answer in time".to_owned()))
        }
    }
}

/// Reads a message.
pub(super) fn read(bytes: &[u8]) -> Result<Message, Trouble> {
    Message::from_vec(bytes).map_err(|error| Trouble::Garbled(error.to_string()))
}
