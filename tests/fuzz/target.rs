//! What is given broken input, and what must hold whatever it is given.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rollback::action::{Connections, Registry, ResolveContext, Saved, StepContext, Work};
use rollback::journal;
use rollback::report::text;
use rollback::runbook::node::{Node, NodeValue, Span};
use rollback::runbook::template::{self, Scope};
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::redis::Redis;
use rollback::value::{LONGEST, Lasting};
use rollback::{adapters, runbook, secret::Secrets};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::corpus::{of_the_tree, texts};
use crate::support::{HANG, install_tls};

/// Something that reads text from elsewhere.
pub(super) trait Target {
    /// Its name, for figures.
    fn name(&self) -> &'static str;

    /// Good and bad examples of what it reads.
    fn examples(&self) -> Vec<Vec<u8>>;

    /// Takes an input, and says whether it was accepted. Panics when something does not hold.
    fn take(&mut self, input: &[u8]) -> bool;
}

/// A runbook is a runbook or a list of problems that can be shown.
pub(super) struct Runbook(Registry);

impl Default for Runbook {
    fn default() -> Self {
        Self(adapters::registry())
    }
}

impl Target for Runbook {
    fn name(&self) -> &'static str {
        "runbook"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        let broken = of_the_tree(&["tests/fixtures/broken"], "yaml");
        let good = of_the_tree(&["tests/fixtures/good", "runbooks", "examples"], "yaml");
        // As often from what gets far as from what does not.
        let all = broken.len() * 2;
        broken.into_iter().chain(good.iter().cloned().cycle()).take(all).collect()
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let text = String::from_utf8_lossy(input);
        match runbook::load_text("book.yaml", &text, &self.0) {
            Ok(loaded) => {
                assert!(!loaded.warnings.has_errors());
                true
            }
            Err(problems) => {
                assert!(problems.has_errors(), "refused without a reason");
                assert!(!problems.render(false).chars().any(|c| c.is_control() && c != '\n'));
                false
            }
        }
    }
}

/// A template has a value or an error, and never reaches what it is not given.
pub(super) struct Template;

impl Target for Template {
    fn name(&self) -> &'static str {
        "template"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        texts(&[
            "{{ inputs.agents }}",
            "web-{{ inputs.stage }}-{{ item.name }}",
            "{{ inputs.agents | length > 3 and not inputs.stage == 'canary' }}",
            "{{ inputs.agents | map(attribute='name') | join(', ') }}",
            "{{ 'a' ~ 1 + 2 * (3 - 4) / 5 % 6 }}",
            "{{ range(10000000) | list }}",
            "{{ [1,2,3][::-1][0] }}{{ {'a': 1}.a }}",
            "{{ ('x' * 1000) * 1000 }}",
        ])
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let text = String::from_utf8_lossy(input).into_owned();
        let node = Node { value: NodeValue::Text(text), span: Span { start: 0, end: 0 } };
        let scope = Scope::new()
            .with_input("agents", json!([{"name": "a"}, {"name": "b"}]))
            .with_input("stage", json!("canary"))
            .with_item(json!({"name": "c"}), 0);
        let value = template::evaluate(&node, &scope);
        // Each of them has an answer, whatever it is.
        drop((
            template::condition(&node, &scope),
            template::uses(&node),
            template::condition_uses(&node),
        ));
        value.is_ok()
    }
}

/// A duration is within its bounds or refused, and what is shown of it reads back.
pub(super) struct Duration;

impl Target for Duration {
    fn name(&self) -> &'static str {
        "duration"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        texts(&["250ms", "30s", "5m", "1h", "1d", "1m 30s", "3650d", "0s", "-1s", "1.5h", "90"])
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let Ok(Lasting(time)) = String::from_utf8_lossy(input).parse::<Lasting>() else {
            return false;
        };
        assert!(!time.is_zero() && time <= LONGEST, "{time:?}");
        assert!(!rollback::value::brief(time).is_empty());
        true
    }
}

/// A domain name and a record's data have one spelling or are refused, and the spelling reads back as itself.
pub(super) struct Records {
    registry: Registry,
    resolve: ResolveContext,
    runtime: Runtime,
}

impl Default for Records {
    fn default() -> Self {
        let connections =
            Connections::new("fuzz", std::collections::HashMap::new(), Arc::default());
        let (connections, registry) = (Arc::new(connections), adapters::registry());
        let resolve = ResolveContext { connections, registry: Arc::new(registry.clone()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { registry, resolve, runtime }
    }
}

impl Target for Records {
    fn name(&self) -> &'static str {
        "records"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        let long = "A".repeat(5_000);
        texts(&[
            &format!("{long} a.example.net 192.0.2.1"),
            "CNAME agent.example.net old.example.net",
            "CNAME *.Example.NET. xn--bcher-kva.example.",
            "A a.example.net 192.0.2.1",
            "AAAA a.example.net 2001:db8::1",
            "TXT _dmarc.example.net v=DMARC1; p=none \\ \"quoted\"",
            "A a..example.net 192.0.2.1.1",
        ])
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let text = String::from_utf8_lossy(input);
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (kind, name, to) = (word(), word(), word());
        let verb = self.registry.verb("dns.point").expect("the verb exists");
        let spelt = |name: &str, to: &serde_json::Value| {
            let args = json!({"name": name, "type": kind, "to": to});
            if let Err(why) = (verb.validate)(args.clone()) {
                assert!(why.len() < 2000, "{why}");
                return None;
            }
            let items = self.runtime.block_on(verb.expand(args, &self.resolve));
            Some(items.expect("what is valid is expanded").remove(0).args.value())
        };
        let Some(first) = spelt(&name, &json!(to)) else { return false };
        let name = first["name"].as_str().expect("a name");
        assert!(!name.ends_with('.') && name.is_ascii() && name.len() <= 253, "{name}");
        if kind != "TXT" {
            let again = spelt(name, &first["to"]["values"]).expect("it reads back");
            assert_eq!(again, first);
        }
        true
    }
}

/// A journal is read as far as it verifies, or refused; salvage finds no more than there is.
pub(super) struct Journal {
    path: PathBuf,
    _folder: TempDir,
}

impl Default for Journal {
    fn default() -> Self {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, "").expect("it is writable");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("it is ours");
        Self { path, _folder: folder }
    }
}

impl Target for Journal {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        of_the_tree(&["tests/fixtures/journals"], "jsonl")
    }

    fn take(&mut self, input: &[u8]) -> bool {
        std::fs::write(&self.path, input).expect("it is writable");
        let salvaged = journal::salvage(&self.path);
        match journal::read(&self.path) {
            Ok(history) => {
                assert!(history.good_bytes <= input.len() as u64);
                let again = &input[..usize::try_from(history.good_bytes).expect("a length")];
                std::fs::write(&self.path, again).expect("it is writable");
                let whole = journal::read(&self.path).expect("the good part is good");
                assert_eq!(whole.records, history.records);
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                drop(salvaged);
                false
            }
        }
    }
}

/// Whatever it is: no byte of it drives a terminal.
pub(super) struct TerminalText;

impl Target for TerminalText {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        texts(&[
            "a plain line",
            "\u{1b}[31mred\u{1b}[0m \u{1b}]8;;http://evil\u{1b}\\link",
            "\u{1b}]52;c;ZXZpbA==\u{7}",
            "\u{202e}txt.exe \u{200b} \u{feff} \u{9b}2J \u{85}",
            "token \u{E000}api\u{E001}! <b>*x*|y",
            "one\r\ntwo\n\tthree ünïcödé 🦀",
        ])
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let dirty = String::from_utf8_lossy(input);
        let harmless = |text: &str, lines: bool| {
            !text.chars().any(|c| (c.is_control() && !(lines && c == '\n')) || c == '\u{202e}')
        };
        assert!(harmless(&text::sanitize(&dirty), false), "sanitize");
        assert!(harmless(&text::markdown(&dirty), false), "markdown");
        assert!(harmless(&text::defuse(&dirty), true), "defuse");
        let value = json!({ "text": dirty });
        let escaped = text::escape_json(&value.to_string()).into_owned();
        assert!(harmless(&escaped, false), "escape_json");
        let back: serde_json::Value = serde_json::from_str(&escaped).expect("it is still JSON");
        assert_eq!(back, value);
        true
    }
}

/// A server that answers 429 with whatever `Retry-After` it is told.
pub(super) struct RetryAfter {
    runtime: Runtime,
    value: Arc<Mutex<Vec<u8>>>,
    address: SocketAddr,
}

impl Default for RetryAfter {
    fn default() -> Self {
        install_tls();
        let value = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let told = value.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut chunk = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut chunk) {
                        Ok(length @ 1..) => request.extend_from_slice(&chunk[..length]),
                        _ => break,
                    }
                }
                let value = told.lock().expect("no thread has panicked").clone();
                let head =
                    b"HTTP/1.1 429 No\r\nContent-Length: 0\r\nConnection: close\r\nRetry-After: ";
                // A client that does not understand a header may leave before its end.
                drop(stream.write_all(&[head.as_slice(), &value, b"\r\n\r\n"].concat()));
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { runtime: runtime.expect("a runtime"), value, address }
    }
}

impl Target for RetryAfter {
    fn name(&self) -> &'static str {
        "retry-after"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        texts(&[
            "1",
            "120",
            "18446744073709551615",
            "Fri, 31 Dec 2199 23:59:59 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "soon",
            "",
        ])
    }

    /// A POST never waits, so that whatever is asked for ends at once, in an error of readable length.
    fn take(&mut self, input: &[u8]) -> bool {
        input.clone_into(&mut self.value.lock().expect("no thread has panicked"));
        let registry = adapters::registry();
        let verb = *registry.verb("http.call").expect("a verb of this program");
        let connections = Connections::new("fuzz", [].into(), Arc::new(Secrets::default()));
        let cx =
            ResolveContext { connections: Arc::new(connections), registry: Arc::new(registry) };
        let item = json!({"method": "POST", "url": format!("http://{}/", self.address)}).into();
        let Ok(Work::Action(call)) = verb.make(&item, &cx) else {
            panic!("http.call is an action")
        };
        let error = self.runtime.block_on(async {
            let deadline = Instant::now() + HANG;
            let step =
                StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "run");
            call.apply(&step, &Saved::default()).await.expect_err("429 is no success")
        });
        let hints: usize = error.hints.iter().map(String::len).sum();
        assert!(error.message.len() + hints < 2048, "{error:?}");
        error.message.contains("429")
    }
}

/// The double of Redis refuses or answers, and still answers everybody else.
pub(super) struct RedisCommands {
    runtime: Runtime,
    address: SocketAddr,
    _world: Box<dyn std::any::Any>,
}

impl Default for RedisCommands {
    fn default() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let folder = TempDir::new().expect("the temporary folder is writable");
        let ledger = Ledger::open(&folder.path().join("effects.log")).expect("it is writable");
        let (address, door) = runtime.block_on(async {
            let double =
                Redis::open(&folder.path().join("redis.resp"), ledger, None).expect("it opens");
            let listener =
                tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            (listener.local_addr().expect("it is bound"), double.serve(listener))
        });
        Self { runtime, address, _world: Box::new((door, folder)) }
    }
}

impl Target for RedisCommands {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        texts(&[
            "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
            "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n",
            "*6\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$2\r\nf*\r\n$5\r\nCOUNT\r\n$3\r\n100\r\n",
            "*2\r\n$6\r\nUNLINK\r\n$1\r\na\r\n*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
            "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nEX\r\n",
            "SET a b\r\nGET a\r\n",
        ])
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let _inside = self.runtime.enter();
        let mut stream = TcpStream::connect(self.address).expect("the double listens");
        stream.set_read_timeout(Some(HANG)).expect("a time-out");
        // It may refuse the rest of what it does not understand.
        let sent =
            stream.write_all(input).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let ended = sent.and_then(|()| stream.read_to_end(&mut answer));
        let hangs = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!ended.as_ref().is_err_and(hangs), "the double does not end the connection");
        let mut other = TcpStream::connect(self.address).expect("the double listens still");
        other.set_read_timeout(Some(HANG)).expect("a time-out");
        other.write_all(b"PING\r\n").expect("it reads");
        let mut pong = [0; 7];
        other.read_exact(&mut pong).expect("it answers");
        assert_eq!(&pong, b"+PONG\r\n");
        !answer.is_empty() && !answer.starts_with(b"-")
    }
}
