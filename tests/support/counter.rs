//! A server that counts the requests it gets before it answers them: the oracle for what must not be sent twice.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a request counts as, from its method and path, and its body.
pub(crate) type Key = fn(&str, &str) -> String;

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// The server, until the test's end.
pub(crate) struct Counter {
    url: String,
    counts: Counts,
}

impl Counter {
    pub(crate) fn start(key: Key) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let counts = Counts::default();
        let counted = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || count(stream, key, &counted));
            }
        });
        Self { url, counts }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How often each request came.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().expect("nobody panicked").clone()
    }

    /// Forgets them.
    pub(crate) fn clear(&self) {
        self.counts.lock().expect("nobody panicked").clear();
    }
}

fn count(mut stream: TcpStream, key: Key, counts: &Counts) {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    let (head, body) = loop {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= announced(head)
        {
            break (head.to_owned(), body.to_owned());
        }
    };
    let line: Vec<_> = head.split_whitespace().take(2).collect();
    let key = key(&line.join(" "), &body);
    *counts.lock().expect("nobody panicked").entry(key).or_default() += 1;
    // The client may have been killed in the meantime.
    let _gone =
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
}

/// The length of the body that a request's head announces.
fn announced(head: &str) -> usize {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, length)| length.trim().parse().ok())
        .unwrap_or(0)
}
