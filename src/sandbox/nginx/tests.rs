use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::command::{Outcome, command};
use super::server::{Server, Start};
use crate::sandbox::client::ask;
use crate::sandbox::faults::Faults;
use crate::sandbox::ledger::Ledger;

/// A folder with a configuration, and addresses of its own.
struct Rig {
    dir: tempfile::TempDir,
    front: TcpListener,
    ledger: Ledger,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        let ledger = Ledger::open(&dir.path().join("effects.log")).unwrap();
        Self { front: TcpListener::bind("127.0.0.1:0").await.unwrap(), dir, ledger }
    }

    fn main(&self) -> PathBuf {
        self.dir.path().join("nginx.conf")
    }

    fn address(&self) -> String {
        self.front.local_addr().unwrap().to_string()
    }

    /// Writes a main file around what `http` holds.
    fn write(&self, http: &str) {
        let text = format!(
            "worker_processes 1;\nerror_log error.log notice;\npid nginx.pid;\n\
             events {{ worker_connections 16; }}\nhttp {{\n    include conf.d/*.conf;\n{http}\n}}\n"
        );
        fs::write(self.main(), text).unwrap();
    }

    fn test(&self) -> Outcome {
        call(&self.main(), &["-t"])
    }

    /// Starts; the listener is inherited, so that nobody else gets its port.
    async fn start(self) -> (Server, tempfile::TempDir, Ledger) {
        let server = Server::start(Start {
            file: self.main(),
            prefix: self.dir.path().to_owned(),
            faults: Faults::default(),
            ledger: self.ledger.clone(),
            speed: 100.0,
            inherited: vec![self.front],
        })
        .await
        .unwrap();
        (server, self.dir, self.ledger)
    }
}

fn call(main: &Path, arguments: &[&str]) -> Outcome {
    let prefix = main.parent().unwrap().to_string_lossy().into_owned();
    let mut all = vec!["-p".to_owned(), prefix, "-c".to_owned(), main.to_string_lossy().into()];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    command(&all)
}

/// A service that answers every request with `text`.
async fn service(text: &'static str) -> (String, crate::sandbox::wire::Door) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().fallback(async move || text);
    let front = crate::sandbox::wire::Front {
        faults: None,
        handler: crate::sandbox::wire::routed(router),
        refuse: crate::sandbox::wire::plain_refusal,
    };
    (address, crate::sandbox::wire::open_tcp(listener, front))
}

async fn get(address: &str, path: &str) -> (u16, String) {
    let (status, text) = ask(Method::GET, address, path, String::new()).await.unwrap();
    (status.as_u16(), text)
}

#[tokio::test]
async fn a_good_configuration_passes_in_nginxs_words() {
    let rig = Rig::new().await;
    rig.write(
        "# comment\nupstream \"a\" { server 127.0.0.1:9 weight=2; server 127.0.0.1:8 backup; }\n\
         server { listen 127.0.0.1:9; server_name _; default_type text/html;\n\
         location = /x { return 204; }\nlocation / { proxy_pass http://a; proxy_set_header Host $host; } }",
    );
    let main = rig.main().display().to_string();
    let text = format!(
        "nginx: the configuration file {main} syntax is ok\n\
         nginx: configuration file {main} test is successful\n"
    );
    assert_eq!(rig.test(), Outcome { stderr: text, code: 0 });
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_file_and_line() {
    let rig = Rig::new().await;
    for (http, complaint) in [
        ("foo bar;", "unknown directive \"foo\" in FILE:7"),
        (
            "server { listen 127.0.0.1:9; location / { proxy_pass http://gone; } }",
            "host not found in upstream \"gone\" in FILE:7",
        ),
        ("upstream a {\n\n}", "no servers are inside upstream in FILE:9"),
        ("upstream a { server b:80; }", "host not found in upstream \"b:80\" in FILE:7"),
        ("listen 80;", "\"listen\" directive is not allowed here in FILE:7"),
        ("server { listen; }", "invalid number of arguments in \"listen\" directive in FILE:7"),
        ("server { location / { return x; } }", "invalid return code \"x\" in FILE:7"),
        ("server { listen 127.0.0.1:9 }", "unexpected \"}\" in FILE:7"),
        (
            "server { listen 127.0.0.1:9 { } }",
            "directive \"listen\" is not terminated by \";\" in FILE:7",
        ),
        ("server;", "directive \"server\" has no opening \"{\" in FILE:7"),
        ("server { ", "unexpected end of file, expecting \"}\" in FILE:9"),
        ("}\n}", "unexpected \"}\" in FILE:8"),
        ("server { listen 127.0.0.1:9 ssl; }", "invalid parameter \"ssl\" in FILE:7"),
        ("server { location ~ ^/x { return 200; } }", "invalid location modifier \"~\" in FILE:7"),
    ] {
        rig.write(http);
        let outcome = rig.test();
        let main = rig.main().display().to_string();
        let expected = format!(
            "nginx: [emerg] {}\nnginx: configuration file {main} test failed\n",
            complaint.replace("FILE", &main)
        );
        assert_eq!(outcome, Outcome { stderr: expected, code: 1 }, "{http}");
    }
}

#[tokio::test]
async fn places_in_included_files_are_named() {
    let rig = Rig::new().await;
    let included = rig.dir.path().join("conf.d/b.conf");
    fs::write(&included, "\n\nnonsense;\n").unwrap();
    rig.write("");
    let expected = format!("unknown directive \"nonsense\" in {}:3", included.display());
    assert!(rig.test().stderr.contains(&expected), "{}", rig.test().stderr);
}

#[test]
fn without_files_or_sense_the_command_line_refuses() {
    let missing = call(Path::new("/nonexistent/nginx.conf"), &["-t"]);
    assert!(missing.stderr.starts_with(
        "nginx: [emerg] open() \"/nonexistent/nginx.conf\" failed (2: No such file or directory)"
    ));
    assert_eq!(missing.code, 1);
    let odd = command(&["-x".to_owned()]);
    assert_eq!(odd, Outcome { stderr: "nginx: invalid option: \"-x\"\n".to_owned(), code: 1 });
    assert!(command(&["-v".to_owned()]).stderr.starts_with("nginx version: nginx/"));
}

#[tokio::test]
async fn a_reload_needs_a_process_id_that_is_one() {
    let rig = Rig::new().await;
    rig.write("");
    let pid = rig.dir.path().join("nginx.pid");
    let outcome = call(&rig.main(), &["-s", "reload"]);
    let text = format!(
        "nginx: [error] open() \"{}\" failed (2: No such file or directory)\n",
        pid.display()
    );
    assert_eq!(outcome, Outcome { stderr: text, code: 1 });
    fs::write(&pid, "x\n").unwrap();
    assert!(call(&rig.main(), &["-s", "reload"]).stderr.contains("invalid PID number \"x\""));
    // Beyond the kernel's highest process id.
    fs::write(&pid, "1999999999\n").unwrap();
    let outcome = call(&rig.main(), &["-s", "reload"]);
    let text = "nginx: [alert] kill(1999999999, 1) failed (3: No such process)\n".to_owned();
    assert_eq!(outcome, Outcome { stderr: text, code: 1 });
}

#[tokio::test]
async fn requests_go_round_and_past_those_that_do_not_answer() {
    let rig = Rig::new().await;
    let ((one, _one), (two, _two)) = (service("one").await, service("two").await);
    let address = rig.address();
    rig.write(&format!(
        "upstream a {{ server {one}; server {two} weight=2; server 127.0.0.1:1; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://a; }}\n\
         location = /own {{ add_header X-Own yes; return 200 \"own\"; }} }}"
    ));
    let (_server, _dir, _ledger) = rig.start().await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(get(&address, "/").await.1);
    }
    let count = |name: &str| answers.iter().filter(|text| *text == name).count();
    assert!(count("one") >= 2 && count("two") >= 4, "{answers:?}");
    assert_eq!(count("one") + count("two"), 8, "{answers:?}");
    assert_eq!(get(&address, "/own").await, (200, "own".to_owned()));
    assert_eq!(get(&address, "/own/more").await.0, 200);
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_a_bad_gateway() {
    let rig = Rig::new().await;
    let address = rig.address();
    rig.write(&format!(
        "upstream a {{ server 127.0.0.1:1; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://a; }} }}"
    ));
    let (_server, _dir, _ledger) = rig.start().await;
    let (status, page) = get(&address, "/").await;
    assert_eq!(status, 502);
    assert!(page.contains("<h1>502 Bad Gateway</h1>"), "{page}");
}

fn returning(address: &str, text: &str) -> String {
    format!("server {{ listen {address}; location / {{ return 200 \"{text}\"; }} }}")
}

#[tokio::test]
async fn sighup_reloads_and_open_connections_are_closed_in_peace() {
    let rig = Rig::new().await;
    let (address, main) = (rig.address(), rig.main());
    rig.write(&returning(&address, "old"));
    let text = fs::read_to_string(&main).unwrap();
    let (_server, dir, ledger) = rig.start().await;
    let mut kept = TcpStream::connect(&address).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    fs::write(&main, text.replace("old", "new")).unwrap();
    assert_eq!(call(&main, &["-s", "reload"]).code, 0);
    let live = async {
        while get(&address, "/").await.1 != "new" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), live).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), kept.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.ends_with(b"old"));
    assert_eq!(ledger.effects().get("loadbalancer reload"), Some(&1));
    let pid = fs::read_to_string(dir.path().join("nginx.pid")).unwrap();
    assert_eq!(pid.trim(), std::process::id().to_string());
}

#[tokio::test]
async fn a_connection_that_has_not_asked_yet_is_still_answered_after_a_reload() {
    let rig = Rig::new().await;
    let (address, main) = (rig.address(), rig.main());
    rig.write(&returning(&address, "old"));
    let text = fs::read_to_string(&main).unwrap();
    let (server, _dir, _ledger) = rig.start().await;
    let mut early = TcpStream::connect(&address).await.unwrap();
    // Connections are accepted in their order: once this one is answered, the early one was accepted.
    assert_eq!(get(&address, "/").await.1, "old");

    fs::write(&main, text.replace("old", "new")).unwrap();
    server.reload().await;
    assert_eq!(get(&address, "/").await.1, "new");
    early.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(20), early.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("old"), "{answer}");
}

#[tokio::test]
async fn a_broken_reload_keeps_the_old_configuration() {
    let rig = Rig::new().await;
    let (address, main) = (rig.address(), rig.main());
    rig.write(&returning(&address, "old"));
    let log = rig.dir.path().join("error.log");
    let (server, _dir, ledger) = rig.start().await;
    fs::write(&main, "events { } http { foo; }").unwrap();
    let outcome = call(&main, &["-s", "reload"]);
    assert_eq!(outcome.code, 1);
    server.reload().await;
    assert_eq!(get(&address, "/").await.1, "old");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("[emerg]") && log.contains("unknown directive \"foo\""), "{log}");
    assert!(ledger.effects().is_empty());
}

#[tokio::test]
async fn an_address_in_use_passes_the_test_and_is_only_in_the_log() {
    let rig = Rig::new().await;
    let (address, main) = (rig.address(), rig.main());
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = (taken.local_addr().unwrap().to_string(), taken);
    rig.write(&returning(&address, "old"));
    let text = fs::read_to_string(&main).unwrap();
    let (server, dir, _ledger) = rig.start().await;
    let more = returning(&taken.0, "more");
    let changed = text.replace("old", "new").replace("\n}\n", &format!("\n{more}\n}}\n"));
    fs::write(&main, changed).unwrap();
    assert_eq!(call(&main, &["-t"]).code, 0);
    assert_eq!(call(&main, &["-s", "reload"]).code, 0);
    server.reload().await;
    assert_eq!(get(&address, "/").await.1, "old");
    let log = fs::read_to_string(dir.path().join("error.log")).unwrap();
    let expected = format!(
        "[emerg] {0}#{0}: bind() to {1} failed (98: Address already in use)",
        std::process::id(),
        taken.0
    );
    assert!(log.contains(&expected) && log.contains("still could not bind()"), "{log}");
    drop(taken.1);
    server.reload().await;
    assert_eq!(get(&address, "/").await.1, "new");
    assert_eq!(get(&taken.0, "/").await.1, "more");
}
