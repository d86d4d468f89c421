//! Network faults against every adapter: each is told as what it is, ends in time, reads a bounded answer and sends nothing twice.
//!
//! [`table`] says what the engine must be told, [`fault`] what each fault does on the wire, [`server`] does it, and [`subject`]
//! makes one request of each adapter through the port. [`certificate`] has the faults of TLS, [`names`] those of DNS. `make faults` runs
//! many rounds, in which cuts and garbage differ by seed: `docs/design/campaigns.md`.

mod certificate;
mod fault;
mod names;
mod server;
mod subject;
mod table;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use rollback::action::ActionError;

use crate::support::dice::{Dice, from_environment};
use crate::support::{HANG, install_tls};
use fault::{Fault, Wait};
use server::{Act, Server};
use subject::{Subject, Told};

/// What no other server may hear.
const CREDENTIAL: &str = "Bearer canary-7f3a";
/// The time of an attempt that only the end of its time ends.
const SHORT: Duration = Duration::from_secs(4);
/// The time of every other attempt.
const AMPLE: Duration = Duration::from_secs(20);
/// What may lie between a server's counter and the client: the buffers of the kernel.
const BUFFERS: usize = 8 << 20;
/// The most of a remote text that an error carries, with the words around it, in bytes.
const MOST_TOLD: usize = 2500;
/// How many attempts are under way at once.
const AT_ONCE: usize = 48;

/// One cell of a table.
#[derive(Debug, Clone, Copy)]
struct Case {
    fault: Fault,
    subject: Subject,
    wanted: Told,
}

fn cases() -> Vec<Case> {
    let tables = [
        (table::OVER_HTTP, Subject::OVER_HTTP.as_slice()),
        (table::OTHERS, Subject::OTHERS.as_slice()),
    ];
    let mut cases = Vec::new();
    for (table, subjects) in tables {
        for (fault, line) in table {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words.len(), subjects.len(), "{fault:?} has a word for each column");
            for (subject, word) in subjects.iter().zip(words) {
                if let Some(wanted) = Told::read(word) {
                    cases.push(Case { fault: *fault, subject: *subject, wanted });
                }
            }
        }
    }
    cases
}

/// An address at which nobody listens.
fn deserted() -> String {
    let listener = TcpListener::bind(server::own_address()).expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

impl Case {
    /// Makes the attempt; everything that is wrong about it, in words.
    async fn violations(self, mut dice: Dice) -> Vec<String> {
        let Self { fault, subject, wanted } = self;
        let wire = subject.wire();
        let elsewhere = Server::start(wire, vec![Act::Say(wire.good_answer())]);
        let acts = fault.acts(wire, &format!("http://{}/", elsewhere.address), &mut dice);
        let server = (!acts.is_empty()).then(|| Server::start(wire, acts));
        let address = match (&server, fault) {
            (Some(server), _) => server.address.to_string(),
            (None, Fault::NoName) => "nowhere.invalid:1".to_owned(),
            (None, _) => deserted(),
        };
        let time = if fault.is_endless() { SHORT } else { AMPLE };
        let attempt = tokio::spawn(async move { subject.attempt(&address, time).await });
        let outcome = match tokio::time::timeout(time + HANG, attempt).await {
            Err(_) => return vec![format!("{self:?} does not end")],
            Ok(Err(panicked)) => return vec![format!("{self:?}: {panicked}")],
            Ok(Ok(outcome)) => outcome,
        };
        let mut wrong = Vec::new();
        let told = Told::of(&outcome);
        if told != wanted {
            wrong.push(format!("{self:?} was told as {told:?}: {outcome:?}"));
        }
        if let Err(error) = &outcome {
            wrong.extend(too_much(error).map(|text| format!("{self:?} told {text}")));
        }
        wrong.extend(server.and_then(|server| self.server_side(&server)));
        let heard = elsewhere.heard.text.lock().expect("no thread has panicked").clone();
        if !heard.is_empty() {
            wrong.push(format!("{self:?} went elsewhere: {heard}"));
        }
        wrong
    }

    /// What the server has counted.
    fn server_side(self, server: &Server) -> Option<String> {
        let requests = server.heard.requests.load(Ordering::SeqCst);
        let sent = server.heard.sent.load(Ordering::SeqCst);
        let told_to_wait = matches!(self.fault, Fault::TooMany(Wait::Second));
        let again = (self.wanted == Told::Done && matches!(self.fault, Fault::TooMany(_)))
            || (self.subject.is_patient() && told_to_wait);
        let most = self.subject.most_read() + BUFFERS;
        let wanted = 1 + usize::from(again);
        // The proof waits for one second of its own, which on a busy machine may be up before anything is heard; it only reads.
        let least = if self.subject == Subject::Proof { 0 } else { wanted };
        if self.fault.is_heard() && !(least..=wanted).contains(&requests) {
            let text = server.heard.text.lock().expect("no thread has panicked");
            return Some(format!("{self:?} was sent {requests} times: {text}"));
        }
        (sent > most).then(|| {
            format!("{self:?} took {sent} bytes of the server, at most {most} are in order")
        })
    }
}

/// A text of an error that is too long.
fn too_much(error: &ActionError) -> Option<String> {
    let texts = std::iter::once(&error.message).chain(&error.causes).chain(&error.hints);
    texts
        .map(String::len)
        .max()
        .filter(|longest| *longest > MOST_TOLD)
        .map(|longest| format!("a text of {longest} bytes"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
async fn every_fault_is_told_as_what_it_is() {
    install_tls();
    let rounds = from_environment("ROLLBACK_FAULT_ROUNDS", 1);
    let first = from_environment("ROLLBACK_FAULT_SEED", 0);
    let cases = cases();
    let mut told: BTreeMap<Told, usize> = BTreeMap::new();
    for seed in first..first + rounds {
        let attempts = cases.iter().zip(0_u64..).map(|(case, number)| {
            let dice = Dice::new(seed.wrapping_mul(1009).wrapping_add(number));
            case.violations(dice)
        });
        let wrong: Vec<String> =
            stream::iter(attempts).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.concat();
        assert!(
            wrong.is_empty(),
            "ROLLBACK_FAULT_SEED={seed}: {}\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        for case in &cases {
            *told.entry(case.wanted).or_default() += 1;
        }
    }
    let faults = table::OVER_HTTP.len();
    let subjects = Subject::OVER_HTTP.len() + Subject::OTHERS.len();
    let once = cases.iter().filter(|case| case.subject.is_once_only()).count();
    println!(
        "{faults} faults x {subjects} requests: {} combinations x {rounds} rounds from seed {first}; \
         told {told:?}; requests that must not be repeated {once} a round, sent twice 0; violations 0",
        cases.len(),
    );
}
