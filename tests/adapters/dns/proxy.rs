//! Something between the adapter and a primary: passes everything on over TCP, and interferes with an update.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to the next update.
pub(super) enum Interference {
    /// Something is done first, and then it is passed on.
    First(Box<dyn FnOnce() + Send>),
    /// It is passed on, and its answer is not.
    LoseAnswer,
    /// It is not passed on, and the connection ends.
    LoseUpdate,
    /// It is passed on, and something is done before its answer is.
    Then(Box<dyn FnOnce() + Send>),
    /// It is passed on, and its answer is another.
    Answer(Box<dyn FnOnce(Vec<u8>) -> Vec<u8> + Send>),
}

/// The proxy. It listens over TCP alone, which a client has to find out.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    next: Arc<Mutex<Option<Interference>>>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    pub(super) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let next: Arc<Mutex<Option<Interference>>> = Arc::default();
        let interference = next.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let interference = interference.clone();
                tokio::spawn(async move {
                    // A client that goes away is what these tests are about.
                    drop(pass(stream, to, &interference).await);
                });
            }
        });
        Self { address, next, serving }
    }

    /// Interferes with the next update.
    pub(super) fn interfere(&self, interference: Interference) {
        *self.next.lock().expect("nobody panicked") = Some(interference);
    }

    /// What ends the service: connections that are open go on.
    pub(super) fn end(&self) -> impl FnOnce() + Send + use<> {
        let serving = self.serving.abort_handle();
        move || serving.abort()
    }

    /// Whether the update that was waited for has come.
    pub(super) fn has_interfered(&self) -> bool {
        self.next.lock().expect("nobody panicked").is_none()
    }
}

async fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await
}

async fn pass(
    mut client: TcpStream,
    to: SocketAddr,
    interference: &Mutex<Option<Interference>>,
) -> io::Result<()> {
    loop {
        let bytes = frame(&mut client).await?;
        let message = Message::from_vec(&bytes).map_err(io::Error::other)?;
        let mut after = None;
        if message.metadata.op_code == OpCode::Update {
            let taken = interference.lock().expect("nobody panicked").take();
            match taken {
                Some(Interference::First(act)) => {
                    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?;
                }
                Some(Interference::LoseUpdate) => return Ok(()),
                later => after = later,
            }
        }
        let mut server = TcpStream::connect(to).await?;
        send(&mut server, &bytes).await?;
        let mut answer = frame(&mut server).await?;
        match after {
            Some(Interference::LoseAnswer) => return Ok(()),
            Some(Interference::Then(act)) => {
                tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?;
            }
            Some(Interference::Answer(other)) => answer = other(answer),
            _ => {}
        }
        send(&mut client, &answer).await?;
    }
}
