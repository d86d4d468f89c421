//! What happened outside of the program, by the servers' own records: the engine's event stream, nginx's error log, and the
//! answers that a client got all the while.
//!
//! The stream is read from before the first run on: asked afterwards, an engine remembers its last 256 events only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::stage::Stage;
use crate::support::docker::{docker, docker_host};
use crate::support::wait_until;

/// How often each kind of event happened to a container: `start`, `die`, `destroy`, ….
pub(super) type Events = BTreeMap<String, BTreeMap<String, u64>>;

/// The records of one staging, from now on.
pub(super) struct Ledger {
    stream: Child,
    events: PathBuf,
    error_log: PathBuf,
    image: String,
    marks: u32,
    /// How far the records were read when the round began.
    from: (usize, usize),
}

impl Ledger {
    pub(super) fn open(stage: &Stage) -> Self {
        let events = stage.root().with_file_name("events.jsonl");
        let file = File::create(&events).expect("the world is writable");
        let mut command = Command::new("docker");
        command.args(["--host", &docker_host(), "events", "--format", "{{json .}}"]);
        command.args(["--filter", &format!("label=rollback-staging={}", stage.name)]);
        for filter in ["create", "start", "die", "destroy", "rename", "tag"] {
            command.args(["--filter", &format!("event={filter}")]);
        }
        let stream = command.stdin(Stdio::null()).stdout(file).spawn().expect("docker is there");
        let image = format!("{}-legacy/agent", stage.name);
        let error_log = stage.root().join("var/log/nginx/error.log");
        let mut ledger = Self { stream, events, error_log, image, marks: 0, from: (0, 0) };
        ledger.begin();
        ledger
    }

    /// What happened before does not count.
    pub(super) fn begin(&mut self) {
        self.catch_up();
        self.from = (self.text().len(), self.log().len());
    }

    /// What happened to each container since the round began.
    pub(super) fn events(&mut self) -> Events {
        self.catch_up();
        let mut events = Events::new();
        for line in self.text()[self.from.0..].lines() {
            let event: Value = serde_json::from_str(line).expect("an event is JSON");
            if event["Type"] == "container" {
                let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
                *events.entry(word("id")).or_default().entry(word("Action")).or_default() += 1;
            }
        }
        events
    }

    /// How often nginx read its configuration anew since the round began.
    pub(super) fn reloads(&self) -> usize {
        self.log()[self.from.1..].lines().filter(|line| line.ends_with(": reconfiguring")).count()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.events).expect("the stream has a file")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.error_log).expect("nginx has an error log")
    }

    /// The stream keeps the order: once it tells of a new mark, it has told of everything before. A mark that came before the
    /// stream was open is lost, so another one is tried.
    fn catch_up(&mut self) {
        let mut tries = 0;
        let mut mark = String::new();
        wait_until("the engine's events", || {
            if tries % 50 == 0 {
                self.marks += 1;
                mark = format!("{}:mark-{}", self.image, self.marks);
                docker(["tag", &format!("{}:1.0.0", self.image), &mark]);
                docker(["image", "rm", &mark]);
            }
            tries += 1;
            self.text().lines().any(|line| line.contains(&format!("\"{mark}\"")))
        });
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let ended = self.stream.kill().and_then(|()| self.stream.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "failed to end the stream: {ended:?}");
    }
}

/// A client that asks for `/health` about fifty times a second.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Served>,
}

/// What the client saw.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// Each version that answered, with the time since the start, whenever it was another one than before.
    pub(super) versions: Vec<(Duration, String)>,
}

impl Served {
    /// When blue answered first.
    pub(super) fn on_blue(&self) -> Option<Duration> {
        self.versions.iter().find(|(_, version)| version == "1.0.0").map(|(after, _)| *after)
    }
}

impl Traffic {
    #[expect(clippy::disallowed_methods, reason = "a figure is real time")]
    pub(super) fn start(stage: &Stage) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), stage.balancer());
        let stopped = Arc::clone(&stop);
        let client = std::thread::spawn(move || {
            let (started, mut served) = (Instant::now(), Served::default());
            while !stopped.load(Ordering::Relaxed) {
                served.requests += 1;
                // A reload closes connections that were not answered yet; every client asks again then.
                match version(&address, "/health").or_else(|_| version(&address, "/health")) {
                    Ok(version) => {
                        if served.versions.last().is_none_or(|(_, last)| *last != version) {
                            served.versions.push((started.elapsed(), version));
                        }
                    }
                    Err(_) => served.failed += 1,
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            served
        });
        Self { stop, client }
    }

    pub(super) fn end(self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        self.client.join().expect("the client does not panic")
    }
}

/// The version that answers at a path.
pub(super) fn version(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: staging\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    let _length = stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).map_err(std::io::Error::other)?;
    body["version"].as_str().map(str::to_owned).ok_or_else(|| std::io::Error::other(answer.clone()))
}
