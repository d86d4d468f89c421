//! A server that counts what it is sent and answers as it is told, faults included.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How one request is answered.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// These bytes, then the end.
    Raw(String),
    /// Nothing, with the connection held open.
    Silence,
    /// A reset in answer to the request.
    Reset,
    /// The beginning of an answer, then the end.
    HalfBody,
    /// An answer of one byte a second.
    Drip,
    /// A hundred megabytes.
    Flood,
}

/// A well-formed answer.
pub(super) fn reply(status: u16, headers: &str, body: &str) -> Reply {
    Reply::Raw(format!(
        "HTTP/1.1 {status} Text\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    ))
}

/// A running server; requests are answered in the order of the replies, of which the last repeats.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        let _serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _answering = tokio::spawn(answer(stream, replies.clone(), log.clone()));
            }
        });
        Self { address, requests }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was sent so far, one text per request.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn answer(mut stream: TcpStream, replies: Vec<Reply>, log: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request);
        log.len() - 1
    };
    // A client that has gone away is what some tests are about.
    let _gone = act(&mut stream, &replies[number.min(replies.len() - 1)]).await;
}

async fn act(stream: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    match reply {
        Reply::Raw(text) => stream.write_all(text.as_bytes()).await,
        Reply::Silence => std::future::pending().await,
        Reply::Reset => stream.set_zero_linger(),
        Reply::HalfBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf").await
        }
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Reply::Flood => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n").await?;
            let chunk = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                stream.write_all(&chunk).await?;
            }
            Ok(())
        }
    }
}

/// Reads head and body, or nothing when the client left before that.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return Some(whole);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(length @ 1..) => text.extend_from_slice(&chunk[..length]),
            _ => return None,
        }
    }
}
