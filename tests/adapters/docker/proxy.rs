//! Between the adapter and the engine: lets so many requests pass and then none, or answers nothing at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A proxy that dies after a number of requests. The client opens a connection for each.
pub(super) struct Proxy {
    pub(super) host: String,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Forwards to `engine`, `limit` requests in all.
    pub(super) async fn start(engine: &str, limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let host = format!("tcp://{}", listener.local_addr().expect("it is bound"));
        let (engine, passed) = (engine.to_owned(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if passed.fetch_add(1, Ordering::SeqCst) < limit {
                    open.spawn(forward(client, engine.clone()));
                }
            }
        });
        Self { host, _tasks: tasks }
    }
}

/// An end of a connection is no error here: the adapter is what is tested.
async fn forward(mut client: TcpStream, engine: String) {
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
    heard: mpsc::UnboundedReceiver<()>,
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
                if client.read(&mut bytes).await.unwrap_or(0) == 0 {
                    continue;
                }
                if request < answered {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    client.write_all(head.as_bytes()).await.expect("the client reads");
                    client.write_all(body.as_bytes()).await.expect("the client reads");
                } else {
                    sender.send(()).expect("the test listens");
                    silent.push(client);
                }
            }
        });
        Self { host, heard, _tasks: tasks }
    }

    /// Waits until a request has come that gets no answer.
    pub(super) async fn heard(&mut self) {
        self.heard.recv().await.expect("a request comes");
    }
}
