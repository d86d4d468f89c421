//! Between the adapter and the engine: lets so many requests pass and then none, tells of a failure that was none, or answers
//! nothing at all.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A proxy whose client opens a connection for each request.
pub(super) struct Proxy {
    pub(super) host: String,
    _tasks: JoinSet<()>,
}

/// What becomes of a request.
enum Fate {
    Forwarded,
    /// It succeeds, and is answered as if it had failed. Its own answer has no body.
    Belied,
    Lost,
}

impl Proxy {
    /// Forwards to `engine`, `limit` requests in all, and dies.
    pub(super) async fn start(engine: &str, limit: usize) -> Self {
        let fate = move |number| if number <= limit { Fate::Forwarded } else { Fate::Lost };
        Self::to(engine, fate).await
    }

    /// Forwards to `engine`, and lies about request `number`.
    pub(super) async fn lying(engine: &str, number: usize) -> Self {
        let fate = move |other| if other == number { Fate::Belied } else { Fate::Forwarded };
        Self::to(engine, fate).await
    }

    /// Requests count from 1.
    async fn to(engine: &str, fate: impl Fn(usize) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let host = format!("tcp://{}", listener.local_addr().expect("it is bound"));
        let engine = engine.to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            for number in 1.. {
                let Ok((client, _)) = listener.accept().await else { break };
                match fate(number) {
                    Fate::Forwarded => drop(open.spawn(forward(client, engine.clone()))),
                    Fate::Belied => drop(open.spawn(lie(client, engine.clone()))),
                    Fate::Lost => {}
                }
            }
        });
        Self { host, _tasks: tasks }
    }
}

async fn lie(mut client: TcpStream, engine: String) {
    let mut request = [0; 4096];
    let length = client.read(&mut request).await.expect("a request comes");
    let (mut here, there) = tokio::io::duplex(4096);
    let forwarded = tokio::spawn(forward(there, engine));
    here.write_all(&request[..length]).await.expect("the engine reads");
    let mut answer = [0; 4096];
    let length = here.read(&mut answer).await.expect("the engine answers");
    assert!(answer[..length].starts_with(b"HTTP/1.1 204"), "the engine did it");
    forwarded.abort();
    let body = r#"{"message":"the exit event was lost"}"#;
    let told = format!(
        "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(told.as_bytes()).await.expect("the client reads");
}

/// An end of a connection is no error here: the adapter is what is tested.
async fn forward(mut client: impl AsyncRead + AsyncWrite + Unpin, engine: String) {
    let ended = if let Some(path) = engine.strip_prefix("unix://") {
        let mut engine = UnixStream::connect(path).await.expect("the engine listens");
        copy_bidirectional(&mut client, &mut engine).await
    } else {
        let address = engine.trim_start_matches("tcp://");
        let mut engine = TcpStream::connect(address).await.expect("the engine listens");
        copy_bidirectional(&mut client, &mut engine).await
    };
    drop(ended);
}

/// A server that reads requests and never answers.
pub(super) struct Silence {
    pub(super) host: String,
    heard: mpsc::UnboundedReceiver<String>,
    _tasks: JoinSet<()>,
}

impl Silence {
    /// Answers `answered` requests with `answer` first.
    pub(super) async fn after(answer: &str, answered: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let host = format!("tcp://{}", listener.local_addr().expect("it is bound"));
        let (sender, heard) = mpsc::unbounded_channel();
        let body = answer.to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut silent = Vec::new();
            for request in 0.. {
                let Ok((mut client, _)) = listener.accept().await else { break };
                let mut bytes = [0; 4096];
                let length = client.read(&mut bytes).await.unwrap_or(0);
                if length == 0 {
                    continue;
                }
                if request < answered {
                    let start = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    client.write_all(start.as_bytes()).await.expect("the client reads");
                    client.write_all(body.as_bytes()).await.expect("the client reads");
                } else {
                    sender.send(first_line(&bytes[..length])).expect("the test listens");
                    silent.push(client);
                }
            }
        });
        Self { host, heard, _tasks: tasks }
    }

    /// Waits until a request has come that gets no answer: its first line.
    pub(super) async fn heard(&mut self) -> String {
        self.heard.recv().await.expect("a request comes")
    }
}

fn first_line(request: &[u8]) -> String {
    String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned()
}
