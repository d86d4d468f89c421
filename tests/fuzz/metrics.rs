//! Broken decision tables, and broken answers of Prometheus.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use rollback::action::{Answer, Connections, Registry, ResolveContext, StepContext, Work};
use rollback::environment::FoundRunbook;
use rollback::secret::Secrets;
use rollback::{adapters, trigger};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::corpus::texts;
use super::target::Target;
use crate::support::{HANG, install_tls};

/// A decision table is a table or a list of problems that can be shown.
pub(super) struct Decisions(Registry);

impl Default for Decisions {
    fn default() -> Self {
        Self(adapters::registry())
    }
}

impl Target for Decisions {
    fn name(&self) -> &'static str {
        "decisions"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/ollama/decisions.yaml");
        let small = "version: 1\nname: t\nroles: {lead: the lead}\ntriggers:\n  - {id: a, title: A, severity: high, condition: {prometheus.expect: \
                     {query: \"{{ environment.q }}\", above: 1e3, below: -.inf}}, action: pause-and-evaluate, runbook: b, within: 1m, approval: lead}\n";
        let mut examples = texts(&[small]);
        examples.push(std::fs::read(path).expect("the shipped table"));
        examples
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let text = String::from_utf8_lossy(input);
        let known = ["ollama-emergency", "b"].map(|name| FoundRunbook {
            path: "b.yaml".into(),
            name: name.into(),
            title: None,
            scenario: None,
        });
        match trigger::load_text("table.yaml", &text, &self.0, &known) {
            Ok(loaded) => {
                assert!(!loaded.warnings.has_errors() && !loaded.table.triggers.is_empty());
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

/// A server that answers every query with the same bytes.
pub(super) struct PrometheusAnswers {
    runtime: Runtime,
    body: Arc<Mutex<Vec<u8>>>,
    address: SocketAddr,
}

impl Default for PrometheusAnswers {
    fn default() -> Self {
        install_tls();
        let body = Arc::new(Mutex::new(Vec::<u8>::new()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let told = body.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut chunk = [0; 1024];
                // The query is the end of every form that is sent here.
                while !request.ends_with(b"query=up")
                    && !request.windows(5).any(|five| five == b"step=")
                {
                    match stream.read(&mut chunk) {
                        Ok(length @ 1..) => request.extend_from_slice(&chunk[..length]),
                        _ => break,
                    }
                }
                let body = told.lock().expect("no thread has panicked").clone();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // A client that has read enough may leave.
                drop(stream.write_all(&[head.as_bytes(), &body].concat()));
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { runtime: runtime.expect("a runtime"), body, address }
    }
}

impl Target for PrometheusAnswers {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        texts(&[
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","a":"\u001b[31m"},"value":[1795739722.059,"1"]}]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[-1e300,"NaN"]},{"metric":{"a":"1"},"value":[0,"+Inf"]}]},"warnings":["w"]}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"42"]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"2"]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            r#"{"status":"error","errorType":"bad_data","error":"no"}"#,
        ])
    }

    fn take(&mut self, input: &[u8]) -> bool {
        input.clone_into(&mut self.body.lock().expect("no thread has panicked"));
        let settings = json!({"url": format!("http://{}", self.address)});
        let settings = [("prometheus".to_owned(), settings)].into();
        let connections = Connections::new("fuzz", settings, Arc::new(Secrets::default()));
        let registry = adapters::registry();
        let verb = *registry.verb("prometheus.expect").expect("a verb of this program");
        let cx =
            ResolveContext { connections: Arc::new(connections), registry: Arc::new(registry) };
        let Ok(Work::Probe(probe)) = verb.make(&json!({"query": "up", "above": 1}).into(), &cx)
        else {
            panic!("prometheus.expect is a probe")
        };
        let answer = self.runtime.block_on(async {
            let deadline = Instant::now() + HANG;
            let step =
                StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "run");
            probe.answer(&step).await
        });
        match answer {
            Ok(Answer::Yes { evidence }) => assert!(evidence.summary.len() < 4096, "{evidence:?}"),
            Ok(Answer::No { observed: text } | Answer::NoData { reason: text }) => {
                assert!(text.len() < 4096, "{text}");
            }
            Err(error) => {
                let longest = error.causes.iter().chain([&error.message]).map(String::len).max();
                assert!(longest.is_some_and(|longest| longest < 4096), "{error:?}");
                return false;
            }
        }
        true
    }
}
