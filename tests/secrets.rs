//! Secrets never leave: canaries in every form through every way out, in success and failure, with the log at its loudest.
//!
//! Here those of the configuration, over everything that speaks HTTP, files and scripts; [`targets`] has those that the servers hold.

mod targets;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::desk::Desk;
use crate::support::output::CommandOutput;
use crate::support::world::finish;

/// The three kinds of reference, each with characters that every encoding changes.
const CANARIES: [&str; 3] = ["cAn4ry-\"one/ä+&x", "cAn4ry-two\\y=%z", "cAn4ry thr<ee>#3"];

/// A canary as it may turn up.
fn forms(canary: &str) -> Vec<String> {
    let json = serde_json::Value::from(canary).to_string();
    let mut forms = vec![
        canary.to_owned(),
        json[1..json.len() - 1].to_owned(),
        serde_json::Value::from(json.as_str()).to_string().trim_matches('"').to_owned(),
        utf8_percent_encode(canary, NON_ALPHANUMERIC).to_string(),
        url::form_urlencoded::byte_serialize(canary.as_bytes()).collect(),
        BASE64_STANDARD_NO_PAD.encode(canary),
        BASE64_URL_SAFE_NO_PAD.encode(canary),
        // Enough of a canary to be one, however the rest is written.
        canary.chars().take(10).collect(),
    ];
    forms.sort();
    forms.dedup();
    forms
}

/// A server that remembers what it is sent, and sends it back.
struct Echo {
    address: String,
    heard: Arc<Mutex<String>>,
}

impl Echo {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let heard = Arc::new(Mutex::new(String::new()));
        let memory = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let memory = memory.clone();
                // A client that goes away in the middle is none of the test's business.
                std::thread::spawn(move || answer(stream, status, &memory).ok());
            }
        });
        Self { address, heard }
    }
}

fn answer(stream: TcpStream, status: u16, memory: &Mutex<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut heard = String::new();
    let mut length = 0;
    loop {
        let start = heard.len();
        if reader.read_line(&mut heard)? == 0 || heard[start..].trim().is_empty() {
            break;
        }
        let line = heard[start..].to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    heard.push_str(&String::from_utf8_lossy(&body));
    memory.lock().expect("no thread has panicked").push_str(&heard);
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status} Said\r\nx-echo: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{heard}",
        utf8_percent_encode(&heard, NON_ALPHANUMERIC),
        heard.len()
    )
}

/// A runbook that uses the secrets wherever one can be used, and the environment that has them.
fn desk(server: &str, exit: u8) -> Desk {
    let desk = Desk::new("");
    let home = desk.world.path("home");
    desk.world.write("home/environments/secret.txt", &format!("{}\n", CANARIES[1]));
    std::fs::set_permissions(
        home.join("environments/secret.txt"),
        PermissionsExt::from_mode(0o600),
    )
    .expect("it is ours");
    desk.world.write("home/secret.cmd", &format!("printf '%s' '{}'\n", CANARIES[2]));
    desk.world.write("home/target.txt", "before\n");
    desk.world.write(
        "home/environments/local.yaml",
        &format!(
            "version: 1\nname: local\nlock_dir: {}\nconnections:\n  files: {{root: {home}}}\n  slack: {{webhook: {{file: hook.txt}}}}\n  knowledge: {{embeddings: {{url: \"http://{server}/v1\", key: {{command: [sh, {home}/secret.cmd]}}, model: m}}, search: {{sql: {{}}}}}}\nvalues:\n  dir: {home}\n  server: \"http://{server}\"\n  one: {{variable: CANARY_ONE}}\n  two: {{file: secret.txt}}\n  three: {{command: [sh, {home}/secret.cmd]}}\n",
            desk.world.path("locks").display(),
            home = home.display(),
        ),
    );
    let hook = desk.world.write(
        "home/environments/hook.txt",
        &format!("http://{server}/hook/{}\n", utf8_percent_encode(CANARIES[1], NON_ALPHANUMERIC)),
    );
    std::fs::set_permissions(hook, PermissionsExt::from_mode(0o600)).expect("it is ours");
    desk.runbook(&format!(
        r#"version: 1
name: book
title: A book
scenario: partial
subject: book
phases:
  - id: work
    title: Work
    steps:
      - id: tell
        optional: true
        notify.slack: {{text: Hello}}
      - id: call
        on_failure: continue
        retry: {{attempts: 2, delay: 10ms}}
        http.call:
          method: POST
          url: "{{{{ environment.server }}}}/call"
          headers: {{Authorization: "Bearer {{{{ environment.three }}}}", X-Basic: "Basic {{{{ environment.three }}}}"}}
          undo: {{method: DELETE, url: "{{{{ environment.server }}}}/call"}}
          json: {{token: "{{{{ environment.one }}}}", nested: ["{{{{ environment.two }}}}"]}}
      - id: unconcerned
        script.run: {{argv: [sleep, "0.3"], undo: ["true"]}}
      - id: ask
        on_failure: continue
        timeout: 2s
        http.expect:
          url: "{{{{ environment.server }}}}/ask"
          headers: {{Authorization: "Bearer {{{{ environment.three }}}}"}}
          json: {{never: there}}
      - id: quality
        optional: true
        timeout: 2s
        knowledge.expect: {{table: rows, queries: [{{query: how?, agent: a, expect: [a guide]}}]}}
      - id: write
        file.write: {{path: /target.txt, content: "token={{{{ environment.one }}}}\n"}}
      - id: script
        script.shell:
          run: |
            printf '%s\n' "$ONE" "$TWO" "$THREE"
            printf '%s\n' "$ONE" >&2
            printf '%s' "$THREE" | base64 >&2
            cat
            sleep 0.3
            exit {exit}
          env: {{ONE: "{{{{ environment.one }}}}", TWO: "{{{{ environment.two }}}}", THREE: "{{{{ environment.three }}}}"}}
          undo: ["true"]
          stdin: "{{{{ environment.two }}}}"
"#
    ));
    desk
}

/// Watches all processes while `work` runs: no command line holds a canary, and no environment but the program's own and those that
/// the runbook gives one to.
fn watched<T>(work: impl FnOnce() -> T) -> (T, HashSet<String>) {
    let done = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let done = done.clone();
        move || {
            let wanted: Vec<String> = CANARIES.iter().flat_map(|canary| forms(canary)).collect();
            let mut found = HashSet::new();
            while !done.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
                    // A process may end between any two of these.
                    let read = |name| {
                        let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
                        String::from_utf8_lossy(&bytes).into_owned()
                    };
                    let (line, given) = (read("cmdline"), read("environ"));
                    // Between fork and exec a child still is the program.
                    let own = read("comm").trim() == "rollback";
                    let asked_for = own || given.split('\0').any(|pair| pair.starts_with("THREE="));
                    for text in [Some(line), (!asked_for).then_some(given)].into_iter().flatten() {
                        if wanted.iter().any(|form| text.contains(form.as_str())) {
                            found.insert(text.replace('\0', " "));
                        }
                    }
                }
            }
            found
        }
    });
    let result = work();
    done.store(true, Ordering::Relaxed);
    (result, watcher.join().expect("the watcher ends"))
}

#[track_caller]
fn hidden(text: &[u8], what: &str) {
    let text = String::from_utf8_lossy(text);
    for form in CANARIES.iter().flat_map(|canary| forms(canary)) {
        if let Some(at) = text.find(&form) {
            let near: String = text[at..].chars().take(80).collect();
            panic!("{what} holds {form:?}: …{near}");
        }
    }
}

/// Searches everything that a run has left in the state folder; private saved states may hold secrets, and only their owner reads them.
fn search(folder: &Path, private: bool) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("it can be listed").flatten() {
        let (path, meta) = (entry.path(), entry.metadata().expect("it is there"));
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{} is private", path.display());
        if meta.is_dir() {
            let own = entry.file_name() == "saved" || entry.file_name() == "scratch";
            files += search(&path, private || own);
        } else {
            files += 1;
            if !private {
                hidden(&std::fs::read(&path).expect("it can be read"), &path.display().to_string());
            }
        }
    }
    files
}

fn outputs(desk: &Desk, first: CommandOutput) -> Vec<CommandOutput> {
    let mut all = vec![first];
    for arguments in [
        &["plan", "book.yaml", "--env", "local"][..],
        &["plan", "book.yaml", "--env", "local", "--format", "json"],
        &["status", "latest"],
        &["report", "latest"],
        &["report", "latest", "--format", "json"],
        &["history", "--format", "json"],
        &["resume", "latest"],
    ] {
        let mut command = desk.world.program();
        command.args(arguments).env("CANARY_ONE", CANARIES[0]).env("RUST_LOG", "trace");
        all.push(finish(&mut command));
    }
    all
}

#[test]
fn canaries_stay_where_they_are_used() {
    for (status, exit, log) in [
        (200, 0, "trace"),
        (500, 3, "trace"),
        (403, 0, "bollard=trace,hyper=trace,reqwest=trace"),
        (200, 3, "[{}]=trace,rollback=trace"),
    ] {
        let server = Echo::start(status);
        let desk = desk(&server.address, exit);
        let mut command = desk.command();
        command.env("CANARY_ONE", CANARIES[0]).env("RUST_LOG", log);
        let (first, shown) = watched(|| finish(&mut command));
        assert_eq!(shown, HashSet::new(), "a command line or an environment holds a secret");
        assert!(matches!(first.code(), Some(0 | 5 | 6 | 7)), "{first}");
        let heard = server.heard.lock().expect("no thread has panicked").clone();
        assert!(heard.contains(CANARIES[2]), "the secrets were used:\n{heard}\n{first}");
        for output in outputs(&desk, first) {
            hidden(output.stdout.as_bytes(), "standard output");
            hidden(output.stderr.as_bytes(), "standard error");
            assert_ne!(output.code(), Some(20), "{output}");
        }
        assert!(search(&desk.state(), false) > 0);
    }
}
