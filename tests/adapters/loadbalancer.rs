//! The load balancer's verbs against nginx, with traffic through it.
//!
//! [`Balancer`] is an nginx with two services behind it; every test drives the verbs through the registry, as the engine does,
//! and judges by what users of the load balancer get.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rollback::action::{
    Action, ActionError, Answer, Connections, ErrorKind, Evidence, Item, Probe, Readiness,
    Registry, ResolveContext, Saved, StepContext, Verdict, Work,
};
use rollback::sandbox::faults::Faults;
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::nginx;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::nginx::Nginx;
use crate::support::{HANG, free_port};

/// Runs tests against one kind of server.
macro_rules! against {
    ($server:ident: $($name:ident),+ $(,)?) => {
        mod $server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Balancer::$server().await).await;
            })+
        }
    };
}

/// What holds for nginx and for its double.
macro_rules! against_both {
    ($($name:ident),+ $(,)?) => {
        against!(real: $($name),+, a_rendered_file_is_live_and_taken_back);
        against!(double: $($name),+);
    };
}

against_both!(
    traffic_moves_without_a_failed_request,
    a_side_that_is_live_is_already_done,
    undo_brings_the_hand_written_file_back,
    undo_brings_a_former_switch_back,
    undo_is_refused_when_somebody_else_wrote_the_file,
    a_file_that_changed_since_it_was_read_is_not_replaced,
    an_unknown_side_or_upstream_is_told_with_those_that_exist,
    a_broken_file_elsewhere_changes_nothing,
    a_port_that_cannot_be_bound_is_found_although_nginx_exits_with_0,
    a_run_that_was_killed_before_the_reload_is_continued,
    a_command_that_hangs_ends_at_the_deadline,
    a_command_that_cannot_reload_leaves_the_file_as_it_was,
    a_rendered_file_can_bring_its_own_proof,
    looking_changes_nothing,
    weights_divide_the_traffic,
    a_side_without_a_share_gets_nothing,
    shares_that_are_live_are_already_done_and_undone_one_by_one,
    shares_are_not_put_over_what_somebody_else_wrote,
    a_weight_of_zero_is_refused,
    a_sample_sees_how_the_traffic_is_divided,
);

/// Doubles live in this process and reload when it gets SIGHUP, all of them: so there is one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What serves; closed when dropped.
enum Server {
    Real { _nginx: Nginx },
    Double { _nginx: nginx::Server, _alone: tokio::sync::MutexGuard<'static, ()> },
}

/// An nginx in front of a blue and a green service, at first hand-written for green.
struct Balancer {
    _server: Server,
    folder: TempDir,
    address: SocketAddr,
    proof: SocketAddr,
    blue: SocketAddr,
    green: SocketAddr,
    command: Vec<String>,
    error_log: PathBuf,
    /// The double has no workers.
    pid_file: Option<PathBuf>,
}

impl Balancer {
    async fn real() -> Self {
        let (folder, blue, green) = scene().await;
        let nginx = Nginx::start(|port| site(folder.path(), port));
        let command = nginx.command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let command = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let prefix = nginx.site().ancestors().nth(2).expect("the site is below it").to_owned();
        Self {
            address: ([127, 0, 0, 1], nginx.port()).into(),
            proof: ([127, 0, 0, 1], free_port()).into(),
            _server: Server::Real { _nginx: nginx },
            folder,
            blue,
            green,
            command,
            error_log: prefix.join("error.log"),
            pid_file: Some(prefix.join("nginx.pid")),
        }
    }

    async fn double() -> Self {
        let alone = ALONE.lock().await;
        let (folder, blue, green) = scene().await;
        let port = free_port();
        let (file, error_log) = (folder.path().join("nginx.conf"), folder.path().join("error.log"));
        let main = format!(
            "error_log {};\npid {}/nginx.pid;\nevents {{ }}\nhttp {{\n{}\n}}\n",
            error_log.display(),
            folder.path().display(),
            site(folder.path(), port)
        );
        std::fs::write(&file, main).expect("the folder is writable");
        let ledger = Ledger::open(&folder.path().join("effects.log")).expect("it is writable");
        let start = nginx::Start {
            file: file.clone(),
            prefix: folder.path().to_owned(),
            faults: Faults::default(),
            ledger,
            speed: 1.0,
            inherited: Vec::new(),
        };
        let server = nginx::Server::start(start).await.expect("the double starts");
        let file = file.to_string_lossy().into_owned();
        let command = [env!("CARGO_BIN_EXE_rollback"), "sandbox", "nginx", "-c", &file];
        assert_speaks_nginx(&command[..3]);
        Self {
            address: ([127, 0, 0, 1], port).into(),
            proof: ([127, 0, 0, 1], free_port()).into(),
            _server: Server::Double { _nginx: server, _alone: alone },
            folder,
            blue,
            green,
            command: command.map(str::to_owned).to_vec(),
            error_log,
            pid_file: None,
        }
    }

    fn upstream_file(&self) -> PathBuf {
        self.folder.path().join("agents.conf")
    }

    fn upstream_text(&self) -> String {
        std::fs::read_to_string(self.upstream_file()).expect("the upstream's file is readable")
    }

    /// The connections of a new process.
    fn connect(&self) -> ResolveContext {
        self.connect_by(&self.command)
    }

    fn connect_by(&self, command: &[String]) -> ResolveContext {
        let settings = json!({
            "nginx": {
                "command": command,
                "error_log": self.error_log,
                "pid_file": self.pid_file,
            },
            "upstreams": {"agents": {
                "file": self.upstream_file(),
                "sides": {"blue": [self.blue.to_string()], "green": [self.green.to_string()]},
                "proof": self.proof,
            }},
        });
        let settings = HashMap::from([("loadbalancer".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
        ResolveContext {
            connections: Arc::new(connections),
            registry: Arc::new(rollback::adapters::registry()),
        }
    }

    /// An attempt of the one run that a test plays.
    fn attempt(&self, time: Duration) -> StepContext {
        let scratch = self.folder.path().join("scratch");
        std::fs::create_dir_all(&scratch).expect("the folder is writable");
        StepContext::new(Instant::now() + time, CancellationToken::new(), scratch, "run-1")
    }

    async fn action(&self, verb: &str, args: Value) -> Box<dyn Action> {
        action(&self.connect(), verb, args).await
    }

    async fn switch(&self, side: &str) -> Box<dyn Action> {
        self.action("loadbalancer.switch", json!({"upstream": "agents", "to": side})).await
    }

    /// Inspects, applies and verifies, as the engine does.
    async fn drive(&self, action: &dyn Action) -> Result<(Saved, Evidence), ActionError> {
        let cx = self.attempt(HANG);
        let Readiness::Needed { saved, .. } = action.inspect(&cx).await? else {
            panic!("it is done already")
        };
        let evidence = action.apply(&cx, &saved).await?;
        let verdict = action.verify(&cx, &evidence).await?;
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
        Ok((saved, evidence))
    }

    /// What a user gets.
    async fn answer(&self) -> String {
        ask(self.address).await.expect("the load balancer answers")
    }

    /// That the former state is complete: the file, the traffic, and no proof.
    async fn assert_untouched(&self) {
        assert_eq!(self.upstream_text(), hand_written(self.green));
        assert_eq!(self.answer().await, "green");
    }
}

/// That the program answers like nginx: anything else would let each test wait for a reload that nobody made.
fn assert_speaks_nginx(command: &[&str]) {
    let told = std::process::Command::new(command[0]).args(&command[1..]).arg("-v").output();
    let told = told.expect("the program runs");
    let version = String::from_utf8_lossy(&told.stderr);
    assert!(version.starts_with("nginx version: "), "{command:?} -v said: {version}");
}

/// The folder of a test with a hand-written upstream, and its blue and green service.
async fn scene() -> (TempDir, SocketAddr, SocketAddr) {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let (blue, green) = (service("blue").await, service("green").await);
    let upstream = folder.path().join("agents.conf");
    std::fs::write(upstream, hand_written(green)).expect("the folder is writable");
    (folder, blue, green)
}

/// What stands inside `http`: the upstream, files that a test adds, and the server that users reach.
fn site(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "include {folder}/agents.conf;\ninclude {folder}/more-*.conf;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://agents; }} }}"
    )
}

fn hand_written(server: SocketAddr) -> String {
    format!("upstream agents {{\n  server {server};  # by hand\n}}\n")
}

async fn action(cx: &ResolveContext, verb: &str, args: Value) -> Box<dyn Action> {
    match work(cx, verb, args).await {
        Ok(Work::Action(action)) => action,
        Ok(_) => panic!("{verb} made no action"),
        Err(error) => panic!("{verb}: {error:?}"),
    }
}

async fn probe(cx: &ResolveContext, verb: &str, args: Value) -> Box<dyn Probe> {
    match work(cx, verb, args).await {
        Ok(Work::Probe(probe)) => probe,
        Ok(_) => panic!("{verb} made no probe"),
        Err(error) => panic!("{verb}: {error:?}"),
    }
}

async fn work(cx: &ResolveContext, verb: &str, args: Value) -> Result<Work, ActionError> {
    let registry: &Registry = &cx.registry;
    let verb = registry.verb(verb).expect("the verb is registered");
    (verb.validate)(args.clone()).expect("the arguments are valid");
    let items = verb.expand(args, cx).await?;
    let [Item { args, .. }] = items.as_slice() else { panic!("{} items", items.len()) };
    verb.make(args, cx)
}

/// A service that answers every request with its name.
async fn service(name: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await?;
                assert!(read < request.len(), "the request is longer than expected");
                let length = name.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
                );
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    address
}

/// The body of the answer to one request on a connection of its own.
async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(std::io::Error::other(head.to_owned()))
    }
}

fn script(path: &Path, text: &str) -> Vec<String> {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("the folder is writable");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("the script can be made executable");
    vec![path.to_string_lossy().into_owned()]
}

async fn traffic_moves_without_a_failed_request(balancer: Balancer) {
    let stop = Arc::new(AtomicBool::new(false));
    let (address, told) = (balancer.address, stop.clone());
    let users = tokio::spawn(async move {
        let mut answers = Vec::new();
        while !told.load(Ordering::SeqCst) {
            answers.push(ask(address).await);
        }
        answers
    });
    for side in ["blue", "green", "blue"] {
        if side == "green" || balancer.answer().await == "green" {
            let action = balancer.switch(side).await;
            balancer.drive(&*action).await.expect("the switch works");
        }
        for _ in 0..20 {
            assert_eq!(balancer.answer().await, side);
        }
        let asked = probe(
            &balancer.connect(),
            "loadbalancer.expect",
            json!({"upstream": "agents", "side": side}),
        )
        .await;
        let verdict = asked.observe(&balancer.attempt(HANG)).await.expect("the proof is asked");
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
    }
    stop.store(true, Ordering::SeqCst);
    let answers = users.await.expect("the users' task ends");
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} requests failed: {failed:?}", failed.len(), answers.len());
    assert!(answers.iter().flatten().any(|answer| answer == "green"));
    assert!(answers.iter().flatten().any(|answer| answer == "blue"));
}

async fn a_side_that_is_live_is_already_done(balancer: Balancer) {
    let action = balancer.switch("blue").await;
    balancer.drive(&*action).await.expect("the switch works");
    let again = balancer.switch("blue").await.inspect(&balancer.attempt(HANG)).await;
    assert!(matches!(again, Ok(Readiness::AlreadyDone { .. })), "{again:?}");
    let other = balancer.switch("green").await.inspect(&balancer.attempt(HANG)).await;
    let Ok(Readiness::Needed { predicted, .. }) = other else { panic!("{other:?}") };
    assert_eq!(predicted[0].resource, "loadbalancer:agents");
    assert_eq!(predicted[0].state, json!({"side": "green"}));
}

async fn undo_brings_the_hand_written_file_back(balancer: Balancer) {
    let action = balancer.switch("blue").await;
    let (saved, evidence) = balancer.drive(&*action).await.expect("the switch works");
    assert!(!saved.state.to_string().contains("by hand"), "the file's text is in the public state");
    for _ in 0..2 {
        let cx = balancer.attempt(HANG);
        action.undo(&cx, &saved, Some(&evidence)).await.expect("undo works, also twice");
        balancer.assert_untouched().await;
    }
    assert!(ask(balancer.proof).await.is_err(), "the proof still answers");
}

async fn undo_brings_a_former_switch_back(balancer: Balancer) {
    let first = balancer.switch("blue").await;
    balancer.drive(&*first).await.expect("the switch works");
    let text = balancer.upstream_text();
    let second = balancer.switch("green").await;
    let (saved, _) = balancer.drive(&*second).await.expect("the switch works");
    for _ in 0..2 {
        second.undo(&balancer.attempt(HANG), &saved, None).await.expect("undo works, also twice");
        assert_eq!(balancer.upstream_text(), text);
        assert_eq!(balancer.answer().await, "blue");
    }
}

async fn undo_is_refused_when_somebody_else_wrote_the_file(balancer: Balancer) {
    let action = balancer.switch("blue").await;
    let (saved, _) = balancer.drive(&*action).await.expect("the switch works");
    let theirs = format!("{}# mine now\n", balancer.upstream_text());
    std::fs::write(balancer.upstream_file(), &theirs).expect("the folder is writable");
    let error = action.undo(&balancer.attempt(HANG), &saved, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(balancer.upstream_text(), theirs);
}

async fn a_file_that_changed_since_it_was_read_is_not_replaced(balancer: Balancer) {
    let action = balancer.switch("blue").await;
    let cx = balancer.attempt(HANG);
    let Ok(Readiness::Needed { saved, .. }) = action.inspect(&cx).await else {
        panic!("the switch is needed")
    };
    let theirs = format!("{}# mine now\n", balancer.upstream_text());
    std::fs::write(balancer.upstream_file(), &theirs).expect("the folder is writable");
    let error = action.apply(&cx, &saved).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(balancer.upstream_text(), theirs);
}

async fn an_unknown_side_or_upstream_is_told_with_those_that_exist(balancer: Balancer) {
    let cx = balancer.connect();
    for (upstream, side, hint) in
        [("agents", "red", "`blue`, `green`"), ("agent", "blue", "`agents`")]
    {
        let args = json!({"upstream": upstream, "to": side});
        let Err(error) = work(&cx, "loadbalancer.switch", args).await else {
            panic!("{upstream} {side} was accepted")
        };
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.hints[0].contains(hint), "{error:?}");
    }
    balancer.assert_untouched().await;
}

async fn a_broken_file_elsewhere_changes_nothing(balancer: Balancer) {
    let broken = balancer.folder.path().join("more-broken.conf");
    std::fs::write(&broken, "no_such_directive on;\n").expect("the folder is writable");
    let action = balancer.switch("blue").await;
    let error = balancer.drive(&*action).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false), "{error:?}");
    assert!(error.message.contains("unknown directive \"no_such_directive\""), "{error:?}");
    assert!(error.message.contains("more-broken.conf"), "{error:?}");
    balancer.assert_untouched().await;
    std::fs::remove_file(&broken).expect("the folder is writable");
    balancer.drive(&*action).await.expect("it works when the file is mended");
}

async fn a_port_that_cannot_be_bound_is_found_although_nginx_exits_with_0(balancer: Balancer) {
    let taken = TcpListener::bind(balancer.proof).expect("the proof address is free");
    let action = balancer.switch("blue").await;
    let error = balancer.drive(&*action).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false), "{error:?}");
    let reason = format!("bind() to {} failed (98: Address already in use)", balancer.proof);
    assert!(error.message.contains(&reason), "{error:?}");
    balancer.assert_untouched().await;
    drop(taken);
    balancer.drive(&*action).await.expect("it works when the port is free");
    assert_eq!(balancer.answer().await, "blue");
}

async fn a_run_that_was_killed_before_the_reload_is_continued(balancer: Balancer) {
    // Tests the configuration, and stays in the reload until it is killed.
    let nginx = balancer.command.join(" ");
    let stuck = script(
        &balancer.folder.path().join("stuck"),
        &format!("case \"$*\" in *reload*) sleep 1000;; *) exec {nginx} \"$@\";; esac"),
    );
    let args = json!({"upstream": "agents", "to": "blue"});
    let killed = action(&balancer.connect_by(&stuck), "loadbalancer.switch", args).await;
    let cx = balancer.attempt(Duration::from_secs(2));
    let Ok(Readiness::Needed { saved, .. }) = killed.inspect(&cx).await else {
        panic!("the switch is needed")
    };
    let error = killed.apply(&cx, &saved).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error:?}");
    assert_ne!(balancer.upstream_text(), hand_written(balancer.green), "the file is not new");
    assert_eq!(balancer.answer().await, "green");

    let resumed = balancer.switch("blue").await;
    let (saved, _) = balancer.drive(&*resumed).await.expect("the switch is continued");
    assert_eq!(balancer.answer().await, "blue");
    resumed.undo(&balancer.attempt(HANG), &saved, None).await.expect("undo works");
    balancer.assert_untouched().await;
}

async fn a_command_that_hangs_ends_at_the_deadline(balancer: Balancer) {
    let hangs =
        script(&balancer.folder.path().join("hangs"), "trap '' TERM INT; sleep 1000 & wait");
    let args = json!({"upstream": "agents", "to": "blue"});
    let action = action(&balancer.connect_by(&hangs), "loadbalancer.switch", args).await;
    let cx = balancer.attempt(Duration::from_millis(300));
    let Ok(Readiness::Needed { saved, .. }) = action.inspect(&cx).await else {
        panic!("the switch is needed")
    };
    let applied = tokio::time::timeout(HANG, action.apply(&cx, &saved)).await.expect("it ends");
    assert_eq!(applied.unwrap_err().kind, ErrorKind::TimedOut);
    balancer.assert_untouched().await;
}

async fn a_command_that_cannot_reload_leaves_the_file_as_it_was(balancer: Balancer) {
    // Its child keeps the pipes open, which is not waited for.
    let fails = script(
        &balancer.folder.path().join("fails"),
        "case \"$*\" in *reload*) sleep 5 & echo 'nginx: [error] invalid PID number' >&2; exit 1;; esac",
    );
    let args = json!({"upstream": "agents", "to": "blue"});
    let action = action(&balancer.connect_by(&fails), "loadbalancer.switch", args).await;
    let error = balancer.drive(&*action).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed, "{error:?}");
    assert!(error.message.contains("invalid PID number"), "{error:?}");
    balancer.assert_untouched().await;
}

async fn a_rendered_file_is_live_and_taken_back(balancer: Balancer) {
    render(&balancer, json!({})).await;
}

async fn a_rendered_file_can_bring_its_own_proof(balancer: Balancer) {
    let proof = balancer.proof;
    render(&balancer, json!({"proof": proof})).await;
}

async fn render(balancer: &Balancer, mut args: Value) {
    let template = balancer.folder.path().join("agents.tpl");
    let source =
        "upstream agents {\n{% for server in servers %}\n  server {{ server }};\n{% endfor %}\n}\n";
    std::fs::write(&template, source).expect("the folder is writable");
    args["template"] = json!(template);
    args["to"] = json!(balancer.upstream_file());
    args["values"] = json!({"servers": [balancer.blue]});
    let action = balancer.action("loadbalancer.render", args).await;
    let (saved, evidence) = balancer.drive(&*action).await.expect("rendering works");
    let text = balancer.upstream_text();
    assert!(
        text.starts_with(&format!("upstream agents {{\n  server {};\n}}\n", balancer.blue)),
        "{text}"
    );
    for _ in 0..10 {
        assert_eq!(balancer.answer().await, "blue");
    }
    let undone = action.undo(&balancer.attempt(HANG), &saved, Some(&evidence)).await;
    undone.expect("undo works");
    balancer.assert_untouched().await;
    // Again, and whatever nginx has to be told for it, the state stays.
    action.undo(&balancer.attempt(HANG), &saved, None).await.expect("undo works twice");
    balancer.assert_untouched().await;
}

async fn looking_changes_nothing(balancer: Balancer) {
    let cx = balancer.connect();
    let mut blocks = cx.registry.connections().filter(|block| block.key == "loadbalancer");
    let reach = blocks.next().and_then(|block| block.reach).expect("it can be reached");
    let told = reach(&cx.connections).await.expect("it is there");
    assert!(told.contains("agents is not proved"), "{told}");
    let before = std::fs::metadata(balancer.upstream_file()).and_then(|found| found.modified());
    let action = balancer.switch("blue").await;
    let found = action.inspect(&balancer.attempt(HANG)).await;
    assert!(matches!(found, Ok(Readiness::Needed { .. })), "{found:?}");
    let asked =
        probe(&cx, "loadbalancer.expect", json!({"upstream": "agents", "side": "blue"})).await;
    let verdict = asked.observe(&balancer.attempt(HANG)).await.expect("the proof is asked");
    assert!(matches!(verdict, Verdict::NotYet { .. }), "{verdict:?}");
    // Nobody who could tell answers yet.
    let answer = asked.answer(&balancer.attempt(HANG)).await.expect("the proof is asked");
    assert!(matches!(&answer, Answer::NoData { reason } if reason.contains("does not answer")));
    let after = std::fs::metadata(balancer.upstream_file()).and_then(|found| found.modified());
    assert_eq!(before.expect("it exists"), after.expect("it exists"));
    balancer.assert_untouched().await;

    balancer.drive(&*action).await.expect("the switch works");
    let told = reach(&cx.connections).await.expect("it is there");
    assert!(told.contains("agents is on blue"), "{told}");
    let answer = asked.answer(&balancer.attempt(HANG)).await.expect("the proof is asked");
    assert!(matches!(answer, Answer::Yes { .. }), "{answer:?}");
    let green =
        probe(&cx, "loadbalancer.expect", json!({"upstream": "agents", "side": "green"})).await;
    let answer = green.answer(&balancer.attempt(HANG)).await.expect("the proof is asked");
    assert!(matches!(&answer, Answer::No { observed } if observed.contains("agents blue")));
}

impl Balancer {
    async fn weight(&self, blue: u32, green: u32) -> Box<dyn Action> {
        let weights = json!({"blue": blue, "green": green});
        self.action("loadbalancer.weight", json!({"upstream": "agents", "weights": weights})).await
    }

    /// How many of so many users get blue; nobody gets anything but blue or green.
    async fn blue_of(&self, users: u32) -> u32 {
        let mut blue = 0;
        for _ in 0..users {
            match self.answer().await.as_str() {
                "blue" => blue += 1,
                "green" => {}
                other => panic!("{other:?} answered"),
            }
        }
        blue
    }

    /// How a probe answers.
    async fn asked(&self, verb: &str, args: Value) -> Answer {
        let probe = probe(&self.connect(), verb, args).await;
        probe.answer(&self.attempt(HANG)).await.expect("it can be asked")
    }

    async fn shares(&self, blue: u32, green: u32) -> Answer {
        let weights = json!({"blue": blue, "green": green});
        self.asked("loadbalancer.expect", json!({"upstream": "agents", "weights": weights})).await
    }
}

async fn weights_divide_the_traffic(balancer: Balancer) {
    for (blue, green, of_forty) in [(50, 50, 20), (25, 75, 10), (75, 25, 30)] {
        let action = balancer.weight(blue, green).await;
        balancer.drive(&*action).await.expect("the shares can be written");
        // One worker divides every round exactly.
        assert_eq!(balancer.blue_of(40).await, of_forty, "{blue} to {green}");
        let answer = balancer.shares(blue, green).await;
        assert!(matches!(answer, Answer::Yes { .. }), "{answer:?}");
        let answer = balancer.shares(blue, green + 1).await;
        assert!(
            matches!(&answer, Answer::No { observed } if observed.contains("agents blue=")),
            "{answer:?}"
        );
    }
    let args = json!({"upstream": "agents", "side": "blue"});
    assert!(matches!(balancer.asked("loadbalancer.expect", args).await, Answer::No { .. }));
}

async fn a_side_without_a_share_gets_nothing(balancer: Balancer) {
    let action = balancer.weight(0, 100).await;
    balancer.drive(&*action).await.expect("the shares can be written");
    assert!(balancer.upstream_text().contains(&format!("server {} down;", balancer.blue)));
    assert_eq!(balancer.blue_of(20).await, 0);
    // As if the side had not been named.
    let args = json!({"upstream": "agents", "weights": {"green": 100}});
    let same = balancer.action("loadbalancer.weight", args).await;
    let found = same.inspect(&balancer.attempt(HANG)).await;
    assert!(matches!(found, Ok(Readiness::AlreadyDone { .. })), "{found:?}");
    let switch = balancer.switch("blue").await;
    balancer.drive(&*switch).await.expect("a switch follows on shares");
    assert_eq!(balancer.blue_of(20).await, 20);
}

async fn shares_that_are_live_are_already_done_and_undone_one_by_one(balancer: Balancer) {
    let half = balancer.weight(50, 50).await;
    let (before, _) = balancer.drive(&*half).await.expect("the shares can be written");
    let again = balancer.weight(50, 50).await.inspect(&balancer.attempt(HANG)).await;
    assert!(matches!(again, Ok(Readiness::AlreadyDone { .. })), "{again:?}");
    let quarter = balancer.weight(25, 75).await;
    let (halves, evidence) = balancer.drive(&*quarter).await.expect("the shares can be written");
    assert!(evidence.summary.contains("blue 25 %, green 75 %"), "{}", evidence.summary);
    for _ in 0..2 {
        quarter.undo(&balancer.attempt(HANG), &halves, Some(&evidence)).await.expect("undo works");
        assert_eq!(balancer.blue_of(20).await, 10);
    }
    half.undo(&balancer.attempt(HANG), &before, None).await.expect("undo works");
    balancer.assert_untouched().await;
}

async fn shares_are_not_put_over_what_somebody_else_wrote(balancer: Balancer) {
    let action = balancer.weight(50, 50).await;
    let cx = balancer.attempt(HANG);
    let Ok(Readiness::Needed { saved, .. }) = action.inspect(&cx).await else {
        panic!("they are needed")
    };
    let theirs = format!("{}# mine now\n", balancer.upstream_text());
    std::fs::write(balancer.upstream_file(), &theirs).expect("the folder is writable");
    let error = action.apply(&cx, &saved).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(balancer.upstream_text(), theirs);
}

/// What nginx refuses, and so the verb never writes.
async fn a_weight_of_zero_is_refused(balancer: Balancer) {
    let zero = balancer.folder.path().join("more-zero.conf");
    let text = "upstream zero { server 127.0.0.1:1 weight=0; }\n";
    std::fs::write(&zero, text).expect("the folder is writable");
    let action = balancer.weight(50, 50).await;
    let error = balancer.drive(&*action).await.unwrap_err();
    assert!(error.message.contains("invalid parameter \"weight=0\""), "{error:?}");
    balancer.assert_untouched().await;
    // A server that is down need not carry anything, not even alone.
    std::fs::write(&zero, "upstream none { server 127.0.0.1:1 down; }\n").expect("writable");
    balancer.drive(&*action).await.expect("nginx takes it");
}

async fn a_sample_sees_how_the_traffic_is_divided(balancer: Balancer) {
    crate::support::install_tls();
    let action = balancer.weight(25, 75).await;
    balancer.drive(&*action).await.expect("the shares can be written");
    let sample = |least: f64, most: f64| {
        json!({
            "url": format!("http://{}/", balancer.address), "requests": 80,
            "share": {"body": {"equals": "blue"}, "at_least": least, "at_most": most},
        })
    };
    let answer = balancer.asked("http.sample", sample(0.2, 0.3)).await;
    let Answer::Yes { evidence } = answer else { panic!("{answer:?}") };
    assert_eq!(evidence.facts["answers"], 80);
    assert_eq!(evidence.facts["hits"], 20, "{}", evidence.summary);
    let answer = balancer.asked("http.sample", sample(0.45, 0.55)).await;
    assert!(
        matches!(&answer, Answer::No { observed } if observed.contains("20 of 80")),
        "{answer:?}"
    );
    let nobody = json!({
        "url": format!("http://127.0.0.1:{}/", free_port()), "requests": 10,
        "share": {"body": {"equals": "blue"}, "at_most": 0.0},
    });
    let answer = balancer.asked("http.sample", nobody).await;
    assert!(matches!(answer, Answer::NoData { .. }), "{answer:?}");
}
