//! Faults of name servers, over every adapter that is given a host name.
//!
//! The C library asks the servers in `/etc/resolv.conf`, and no variable says otherwise. So the attempts are made by this test program
//! once more, in a mount namespace of its own whose `resolv.conf` names a [`NameServer`] of the test.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::server::{Act, Server};
use super::subject::{Subject, Told};
use super::{AMPLE, SHORT};
use crate::support::{HANG, as_root};

/// Where the name server of a test program listens: two that run at once need two addresses, since the port is always 53.
fn server_of(program: u32) -> Ipv4Addr {
    let [_, high, middle, low] = program.to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low)
}

/// What a name server does when it is asked for a name that begins so.
const FAULTS: [&str; 5] = ["nxdomain", "servfail", "silent", "cut", "longer"];

/// A name server that answers by the first label of a name (RFC 1035 section 4).
struct NameServer {
    asked: Arc<Mutex<HashMap<String, usize>>>,
    over_tcp: Arc<AtomicUsize>,
}

impl NameServer {
    async fn start(at: Ipv4Addr) -> Self {
        let server = Self { asked: Arc::default(), over_tcp: Arc::default() };
        let udp = UdpSocket::bind((at, 53)).await.expect("port 53 is for root, who runs this");
        let tcp = TcpListener::bind((at, 53)).await.expect("port 53 is for root");
        let asked = server.asked.clone();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut query).await {
                let name = label(&query[..length]);
                *asked.lock().expect("nobody panicked").entry(name.clone()).or_default() += 1;
                if let Some(answer) = answer(&query[..length], &name, false) {
                    // Who asked may have lost its patience.
                    let _sent = udp.send_to(&answer, from).await;
                }
            }
        });
        let over_tcp = server.over_tcp.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                over_tcp.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut query = vec![0; usize::from(length)];
                        stream.read_exact(&mut query).await?;
                        let name = label(&query);
                        // `cut` is cut off here, too: the long answer never comes.
                        let Some(answer) = answer(&query, &name, true) else { break };
                        stream.write_u16(u16::try_from(answer.len()).expect("short")).await?;
                        stream.write_all(&answer).await?;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        server
    }
}

/// The first label of the name that is asked for.
fn label(query: &[u8]) -> String {
    let length = usize::from(query.get(12).copied().unwrap_or(0));
    String::from_utf8_lossy(query.get(13..13 + length).unwrap_or_default()).to_lowercase()
}

/// The whole question of a query.
fn question(query: &[u8]) -> &[u8] {
    let mut end = 12;
    while let Some(length @ 1..) = query.get(end).copied() {
        end += 1 + usize::from(length);
    }
    query.get(12..end + 5).unwrap_or_default()
}

fn answer(query: &[u8], name: &str, whole: bool) -> Option<Vec<u8>> {
    let question = question(query);
    // An AAAA question has no answer, an A question that of loopback.
    let address = question.ends_with(&[0, 1, 0, 1]);
    let (flags, answers): (u16, u16) = match name {
        "nxdomain" => (0x8183, 0),
        "servfail" => (0x8182, 0),
        "longer" if whole => (0x8180, u16::from(address)),
        "longer" | "cut" if !whole => (0x8380, 0),
        _ => return None,
    };
    let mut answer = query.get(..2)?.to_vec();
    for number in [flags, 1, answers, 0, 0] {
        answer.extend(number.to_be_bytes());
    }
    answer.extend(question);
    if answers > 0 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

/// The attempts, in a namespace whose resolver is that of the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a part that is played in a mount namespace of its own"]
#[expect(clippy::print_stdout, reason = "the test that plays this part listens")]
async fn attempts_in_a_namespace() {
    let resolver = std::fs::read_to_string("/etc/resolv.conf").expect("there is a resolver");
    let named = resolver.trim().strip_prefix("nameserver ").and_then(|at| at.parse().ok());
    let at: Ipv4Addr = named.expect("this is the namespace of the test");
    assert!(at.is_loopback(), "this is the namespace of the test");
    crate::support::install_tls();
    let names = NameServer::start(at).await;
    let (mut wrong, mut tried) = (Vec::new(), 0);
    let subjects = Subject::OVER_HTTP.into_iter().chain(Subject::OTHERS);
    // They ask for the same name in the same way as their neighbours; a proof's address is no name.
    for subject in subjects.filter(|s| {
        !matches!(s, Subject::Proof | Subject::RedisUnlink | Subject::SmtpText | Subject::DnsUpdate)
    }) {
        let mut attempts = tokio::task::JoinSet::new();
        let speaks_tls = matches!(
            subject,
            Subject::KubernetesLook
                | Subject::KubernetesScale
                | Subject::DigitalOceanLook
                | Subject::DigitalOceanCommit
        );
        for fault in FAULTS {
            // A name that is found leads to a server in the open, and these speak TLS to a name.
            if speaks_tls && fault == "longer" {
                continue;
            }
            tried += 1;
            attempts.spawn(attempt(subject, fault));
        }
        wrong.extend(attempts.join_all().await.into_iter().flatten());
    }
    let asked = names.asked.lock().expect("nobody panicked").clone();
    for fault in FAULTS {
        if asked.get(fault).copied().unwrap_or(0) == 0 {
            wrong.push(format!("nobody asked for {fault}: {asked:?}"));
        }
    }
    assert!(names.over_tcp.load(Ordering::SeqCst) > 0, "what was cut is asked for again over TCP");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} faults of name servers: {tried} combinations; violations 0", FAULTS.len());
}

async fn attempt(subject: Subject, fault: &'static str) -> Option<String> {
    let server = Server::start_at(
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        subject.wire(),
        vec![Act::Say(subject.wire().good_answer())],
    );
    let address = format!("{fault}.fault.test:{}", server.address.port());
    let time = if matches!(fault, "silent" | "cut") { SHORT } else { AMPLE };
    let attempt = subject.attempt(&address, time);
    let Ok(outcome) = tokio::time::timeout(time + HANG, attempt).await else {
        return Some(format!("{subject:?} of {fault} does not end"));
    };
    let told = Told::of(&outcome);
    let reached = server.heard.requests.load(Ordering::SeqCst) > 0;
    let right = match fault {
        // The long answer comes over TCP, and leads to the server.
        "longer" => reached || subject == Subject::Postgres,
        // Nothing was sent, so nothing can have happened.
        _ if subject == Subject::Expect => told == Told::NotYet && !reached,
        _ => told == Told::Again && !reached,
    };
    (!right).then(|| format!("{subject:?} of {fault} was told as {told:?}: {outcome:?}"))
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
fn a_broken_resolver_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it is writable");
        path
    };
    let server = server_of(std::process::id());
    let resolver = write("resolv.conf", &format!("nameserver {server}\n"));
    let order = write("nsswitch.conf", "hosts: files dns\n");
    // Both mounts end with the namespace. Without the second file `files dns` is the order anyhow.
    let script = "mount --bind \"$1\" /etc/resolv.conf && { [ ! -e /etc/nsswitch.conf ] || mount --bind \"$2\" /etc/nsswitch.conf; } && shift 2 && exec \"$@\"";
    let mut namespace: Command = as_root("unshare");
    namespace.args(["--mount", "--", "sh", "-c", script, "sh"]).arg(resolver).arg(order);
    namespace.arg(std::env::current_exe().expect("the test program"));
    namespace.args([
        "faults::names::attempts_in_a_namespace",
        "--exact",
        "--ignored",
        "--nocapture",
    ]);
    let played = namespace.output().expect("there is unshare, and sudo for whoever is not root");
    let said = String::from_utf8_lossy(&played.stdout);
    let complaint = String::from_utf8_lossy(&played.stderr);
    assert!(
        played.status.success() && said.contains("1 passed"),
        "a mount namespace is made by root, or by `sudo` that does not ask:\n{said}\n{complaint}"
    );
    for figures in said.lines().filter(|line| line.contains("violations 0")) {
        println!("{figures}");
    }
}
