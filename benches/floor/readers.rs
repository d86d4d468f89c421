//! A reader who asks for the same 1,000 rows again and again while the table is restored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::database::connect;
use super::series::now;

const QUESTION: &str = "SELECT count(*) FROM embeddings WHERE id BETWEEN 1 AND 1000";
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// What the reader has seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    reads: u32,
    empty: u32,
    slowest: Duration,
}

impl Seen {
    /// The worst of two.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            reads: self.reads + other.reads,
            empty: self.empty + other.empty,
            slowest: self.slowest.max(other.slowest),
        }
    }

    /// Fails when a read was empty or took a second: what the document's way does to its readers.
    pub(crate) fn expect_served(&self) {
        assert!(self.empty == 0 && self.slowest < Duration::from_secs(1), "our readers: {self}");
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "slowest of {} reads {} ms, {} empty",
            self.reads,
            self.slowest.as_millis(),
            self.empty
        )
    }
}

/// A reader at work.
pub(crate) struct Reader {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Reader {
    /// Begins to read.
    pub(crate) fn watch(url: &str) -> Self {
        let (url, over) = (url.to_owned(), Arc::new(AtomicBool::new(false)));
        let told = over.clone();
        Self { over, thread: std::thread::spawn(move || read(&url, &told)) }
    }

    /// Ends, and tells what was seen.
    pub(crate) fn tell(self) -> Seen {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().expect("the reader reads to the end")
    }
}

fn read(url: &str, over: &AtomicBool) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let client = connect(&runtime, url);
    let mut seen = Seen::default();
    while !over.load(Ordering::SeqCst) {
        let start = now();
        let row = runtime.block_on(client.query_one(QUESTION, &[])).expect("the server answers");
        seen.slowest = seen.slowest.max(start.elapsed());
        seen.reads += 1;
        seen.empty += u32::from(row.get::<_, i64>(0) == 0);
        std::thread::sleep(PAUSE);
    }
    seen
}
