//! A server that speaks properly until it is asked the question that matters, and counts what it is sent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What a server does instead of answering.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Nothing, with the connection held open.
    Silence,
    /// These bytes, then a reset.
    Reset(Vec<u8>),
    /// These bytes, one a second.
    Drip(Vec<u8>),
    /// These bytes, then the end of the server's half.
    Say(Vec<u8>),
    /// These bytes, then as many as [`super::fault::FLOOD`].
    Flood(Vec<u8>),
}

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Http,
    /// HTTP, which is faulty from the request on that has this method.
    HttpFrom(&'static str),
    /// Redis, which is faulty from this command on.
    Redis(&'static str),
    Postgres,
    /// SMTP, which is faulty from the request on that has this.
    Smtp(&'static str),
    /// DNS over TCP, which is faulty from the message with this operation on.
    Dns(&'static str),
}

/// An app of DigitalOcean that a rollback has pinned.
const PINNED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{\"app\":{\"spec\":{},\"pinned_deployment\":{\"id\":\"0123\"}}}       ";

impl Wire {
    /// An answer that the adapter is content with.
    pub(super) fn good_answer(self) -> Vec<u8> {
        let mut answer = self.head_of(64);
        answer.resize(answer.len() + 64, b'x');
        answer
    }

    /// How long the part of a good answer is that says what follows.
    pub(super) fn head(self) -> usize {
        self.head_of(64).len()
    }

    /// The beginning of a good answer with a body of this length.
    pub(super) fn head_of(self, body: usize) -> Vec<u8> {
        match self {
            Self::Http | Self::HttpFrom(_) => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\nConnection: close\r\n\r\n")
                    .into_bytes()
            }
            Self::Redis(_) => format!("${body}\r\n").into_bytes(),
            // An error message of the server (protocol 3.0), which is the longest that may come here.
            Self::Postgres => {
                let length = u32::try_from(body + 4).expect("a message's length");
                [b"E".as_slice(), &length.to_be_bytes()].concat()
            }
            Self::Smtp(_) => b"250 ".to_vec(),
            Self::Dns(_) => u16::try_from(body).expect("a message's length").to_be_bytes().to_vec(),
        }
    }

    /// The length of the first whole request, and its text.
    fn request(self, input: &[u8]) -> Option<(usize, String)> {
        let length = match self {
            Self::Http | Self::HttpFrom(_) => whole_http(input)?,
            Self::Redis(_) => whole_command(input)?,
            Self::Postgres => {
                let stated = input.get(..4)?.try_into().expect("four bytes");
                let length = u32::from_be_bytes(stated) as usize;
                (input.len() >= length).then_some(length)?
            }
            Self::Smtp(_) => whole_smtp(input)?,
            Self::Dns(_) => {
                let stated = input.get(..2)?.try_into().expect("two bytes");
                let length = 2 + usize::from(u16::from_be_bytes(stated));
                (input.len() >= length).then_some(length)?
            }
        };
        Some((length, String::from_utf8_lossy(&input[..length]).into_owned()))
    }

    /// What is said to whoever connects, before anything is asked.
    fn greeting(self) -> &'static str {
        match self {
            Self::Smtp(_) => "220 a server\r\n",
            _ => "",
        }
    }

    /// What a message that does not matter is answered: that nothing is there.
    fn honest_message(self, message: &[u8]) -> Option<Vec<u8>> {
        let Self::Dns(faulty) = self else { return None };
        let asked = Message::from_vec(message.get(2..)?).expect("a message");
        if asked.metadata.op_code.to_string() == faulty {
            return None;
        }
        let mut answer = asked.clone().into_response();
        answer.metadata.authoritative = true;
        let name = |text| Name::from_ascii(text).expect("a name");
        let soa = SOA::new(name("ns."), name("person."), 1, 60, 60, 60, 5);
        answer.add_authority(Record::from_rdata(name("example."), 60, RData::SOA(soa)));
        let bytes = answer.to_vec().expect("a message");
        let length = u16::try_from(bytes.len()).expect("a short message");
        Some([&length.to_be_bytes(), bytes.as_slice()].concat())
    }

    /// What a request that does not matter is answered.
    fn honest(self, request: &str) -> Option<&'static str> {
        let (Self::Redis(faulty) | Self::Smtp(faulty) | Self::HttpFrom(faulty)) = self else {
            return None;
        };
        if request.contains(faulty) {
            return None;
        }
        Some(match request {
            _ if matches!(self, Self::HttpFrom(_)) => PINNED,
            "DATA\r\n" => "354 go on\r\n",
            _ if self == Self::Smtp(faulty) => "250 fine\r\n",
            _ if request.contains("server") => {
                "$45\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\r\n"
            }
            _ if request.contains("replication") => "$13\r\nrole:master\r\n\r\n",
            _ if request.contains("SCAN") => "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nf:1\r\n",
            _ => "+OK\r\n",
        })
    }
}

fn whole_http(input: &[u8]) -> Option<usize> {
    let end = input.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&input[..end]).to_lowercase();
    let body = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let length = end + body.unwrap_or(0);
    (input.len() >= length).then_some(length)
}

/// A command is a line; the text of a mail ends with a dot on a line of its own, and begins with a header.
fn whole_smtp(input: &[u8]) -> Option<usize> {
    let line = input.windows(2).position(|two| two == b"\r\n")? + 2;
    if !input[..line].contains(&b':') || input.starts_with(b"MAIL") || input.starts_with(b"RCPT") {
        return Some(line);
    }
    input.windows(5).position(|five| five == b"\r\n.\r\n").map(|end| end + 5)
}

fn whole_command(input: &[u8]) -> Option<usize> {
    let mut lines = input.split_inclusive(|byte| *byte == b'\n');
    let number =
        |line: &[u8]| std::str::from_utf8(line.get(1..)?).ok()?.trim().parse::<usize>().ok();
    let first = lines.next()?;
    let mut length = first.len();
    for _ in 0..number(first)? {
        let (head, body) = (lines.next()?, lines.next()?);
        length += head.len() + body.len();
    }
    (input.len() >= length && input[length - 1] == b'\n').then_some(length)
}

/// What a server was sent, and what it sent.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// How many requests met the fault.
    pub(super) requests: AtomicUsize,
    /// How many bytes were taken from the server.
    pub(super) sent: AtomicUsize,
    /// Everything that came.
    pub(super) text: Mutex<String>,
}

/// An address of loopback that nobody else uses: a client of another test that asks a port of 127.0.0.1 which has changed hands
/// is not counted here.
pub(super) fn own_address() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(1);
    let [high, low] = GIVEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 77, high, low), 0))
}

/// A server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) heard: Arc<Heard>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    /// Begins to serve: the nth request that matters gets the nth act, or the last.
    pub(super) fn start(wire: Wire, acts: Vec<Act>) -> Self {
        Self::start_at(own_address(), wire, acts)
    }

    /// The same at this address.
    pub(super) fn start_at(address: SocketAddr, wire: Wire, acts: Vec<Act>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Small, so that what was sent is not far from what was read.
        socket.set_send_buffer_size(64 << 10).expect("the size of a buffer");
        socket.bind(address).expect("a port is free");
        let listener: TcpListener = socket.listen(64).expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        let heard = Arc::new(Heard::default());
        let log = heard.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acts, log) = (acts.clone(), log.clone());
                connections.spawn(async move {
                    // A client that goes away is what many faults are about.
                    drop(serve(stream, wire, &acts, &log).await);
                });
            }
        });
        Self { address, heard, serving }
    }
}

async fn serve(
    mut stream: TcpStream,
    wire: Wire,
    acts: &[Act],
    heard: &Heard,
) -> std::io::Result<()> {
    stream.write_all(wire.greeting().as_bytes()).await?;
    let mut input = Vec::new();
    loop {
        while let Some((length, request)) = wire.request(&input) {
            let message: Vec<u8> = input.drain(..length).collect();
            heard.text.lock().expect("no thread has panicked").push_str(&request);
            let answer = wire.honest(&request).map(|answer| answer.as_bytes().to_vec());
            if let Some(answer) = answer.or_else(|| wire.honest_message(&message)) {
                stream.write_all(&answer).await?;
                continue;
            }
            let number = heard.requests.fetch_add(1, Ordering::SeqCst);
            return act(&mut stream, &acts[number.min(acts.len() - 1)], heard).await;
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            length => input.extend_from_slice(&chunk[..length]),
        }
    }
}

async fn act(stream: &mut TcpStream, act: &Act, heard: &Heard) -> std::io::Result<()> {
    match act {
        Act::Silence => std::future::pending().await,
        Act::Reset(bytes) => {
            stream.write_all(bytes).await?;
            stream.set_zero_linger()
        }
        Act::Drip(bytes) => {
            for byte in bytes {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Act::Say(bytes) => {
            stream.write_all(bytes).await?;
            stream.shutdown().await?;
            // Until the client goes, too.
            while stream.read(&mut [0; 4096]).await? > 0 {}
            Ok(())
        }
        Act::Flood(head) => {
            stream.write_all(head).await?;
            let chunk = vec![b'x'; 64 << 10];
            while heard.sent.load(Ordering::SeqCst) < super::fault::FLOOD {
                let written = stream.write(&chunk).await?;
                heard.sent.fetch_add(written, Ordering::SeqCst);
            }
            Ok(())
        }
    }
}
