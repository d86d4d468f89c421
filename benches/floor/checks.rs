//! 1,000 health checks that take 20 ms each on the server, with 32 of them under way at any time.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::peer;
use super::place::{Place, finish};
use super::series::{Series, in_turns, timed};
use super::table::{Bound, Line, Row};

const CHECKS: usize = 1_000;
const AT_ONCE: usize = 32;
const SERVER: Duration = Duration::from_millis(20);
const ROUNDS: usize = 5;

pub(crate) fn measure(place: &Place) -> Vec<Row> {
    let port = serve();
    let told = runbook(place, "checks", port, &format!("        parallel: {AT_ONCE}\n"));
    let found = runbook(place, "checks-found", port, "");
    let at_once = AT_ONCE.to_string();
    let all = format!("http://127.0.0.1:{port}/[1-{CHECKS}]");
    let mut others: Vec<(&str, Option<Command>)> = vec![
        (
            "curl -Z",
            peer::find("curl").map(|curl| {
                let mut command = place.bare(curl);
                command.args(["-fsSZ", "--parallel-max", &at_once, "-o", "/dev/null", &all]);
                command
            }),
        ),
        ("oha", peer::find("oha").map(|oha| load(place, &oha, port, &["--no-tui"]))),
        ("hey", peer::find("hey").map(|hey| load(place, &hey, port, &[]))),
    ];
    // The floor is whichever of the two is here that keeps its connections and does nothing else.
    others.sort_by_key(|(name, command)| (command.is_none(), *name != "oha"));

    let mut ours = || place.run(&told);
    let mut free = || place.run(&found);
    let mut commands: Vec<&mut Command> =
        others.iter_mut().filter_map(|(_, command)| command.as_mut()).collect();
    let mut calls: Vec<_> =
        commands.iter_mut().map(|command| || timed(|| finish(command))).collect();
    let mut sides: Vec<&mut dyn FnMut() -> Duration> = vec![&mut ours, &mut free];
    sides.extend(calls.iter_mut().map(|call| call as &mut dyn FnMut() -> Duration));
    let mut measured = in_turns(ROUNDS, &mut sides).into_iter().map(Series::seconds);

    let ours = Line::perhaps(format!("rollback run, parallel: {AT_ONCE}"), measured.next());
    let free = Line::perhaps("rollback run, finding its own limit", measured.next());
    let mut lines: Vec<Line> = others
        .into_iter()
        .map(|(name, command)| Line::perhaps(name, command.and_then(|_| measured.next())))
        .collect();
    lines.insert(1, free);
    vec![Row {
        title: format!("checks: {CHECKS} of 20 ms, {AT_ONCE} at once, s"),
        ours,
        others: lines,
        bound: Some(Bound::Times { goal: 1.1, gate: 2.5 }),
    }]
}

fn load(place: &Place, program: &std::path::Path, port: u16, more: &[&str]) -> Command {
    let mut command = place.bare(program);
    let (checks, at_once) = (CHECKS.to_string(), AT_ONCE.to_string());
    command
        .args(["-n", &checks, "-c", &at_once])
        .args(more)
        .arg(format!("http://127.0.0.1:{port}/"));
    command
}

fn runbook(place: &Place, name: &str, port: u16, policy: &str) -> std::path::PathBuf {
    let mut elements = String::new();
    for number in 1..=CHECKS {
        write!(elements, "{number}, ").expect("a text can be extended");
    }
    place.runbook(
        name,
        &format!(
            "      - id: ask\n        for_each: [{}]\n{policy}        http.expect: {{url: \"http://127.0.0.1:{port}/{{{{ item }}}}\"}}\n",
            elements.trim_end_matches(", ")
        ),
    )
}

/// A server that answers each request after 20 ms, on as many connections as it is asked over. Returns its port.
fn serve() -> u16 {
    let listener =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    listener.set_nonblocking(true).expect("a socket can be set");
    let _detached = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be started").block_on(async move {
            let listener =
                TcpListener::from_std(listener).expect("the socket is one of this runtime");
            while let Ok((stream, _)) = listener.accept().await {
                let _detached = tokio::spawn(answer(stream));
            }
        });
    });
    port
}

async fn answer(mut stream: TcpStream) {
    let mut request = [0; 4096];
    while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
        tokio::time::sleep(SERVER).await;
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}
