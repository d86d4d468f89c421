//! A small listening server that notes when the first request arrives.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::series::now;

/// Longer than any of the programs takes; only a program that sends nothing reaches it.
const HANG: Duration = Duration::from_secs(60);

/// Answers every request with 200 on a port of its own.
pub(crate) struct Door {
    port: u16,
    arrivals: Receiver<Instant>,
}

impl Door {
    /// Opens one.
    pub(crate) fn open() -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (told, arrivals) = channel();
        let _detached = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = told.clone();
                let _detached = std::thread::spawn(move || answer(stream, &told));
            }
        });
        Self { port, arrivals }
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The time from starting a program to its first request. What comes after it does not matter here: the program is killed.
    pub(crate) fn first_request(&self, command: &mut Command) -> Duration {
        while self.arrivals.try_recv().is_ok() {}
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = now();
        let mut child = command.spawn().expect("the command can be started");
        let arrived = self.arrivals.recv_timeout(HANG);
        let arrived = arrived.unwrap_or_else(|_| panic!("{command:?} has sent no request"));
        child.kill().and_then(|()| child.wait()).expect("a child can be ended");
        arrived.duration_since(start)
    }
}

fn answer(mut stream: TcpStream, told: &Sender<Instant>) {
    let mut request = [0; 4096];
    while stream.read(&mut request).is_ok_and(|bytes| bytes > 0) {
        // Nobody listens any more when the measurement is over.
        let _over = told.send(now());
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}
