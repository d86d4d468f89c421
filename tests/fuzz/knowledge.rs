//! Answers of a service for embeddings, and files of labelled queries.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use rollback::action::{Connections, ResolveContext};
use rollback::adapters;
use rollback::secret::Secrets;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::corpus::{of_the_tree, texts};
use super::target::Target;
use crate::support::install_tls;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Whatever a service answers is vectors or an error that can be shown.
pub(super) struct EmbeddingsAnswers {
    runtime: Runtime,
    body: Arc<Mutex<Vec<u8>>>,
    address: SocketAddr,
}

impl Default for EmbeddingsAnswers {
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
                // The only JSON that is sent here ends so.
                while !request.ends_with(b"}") {
                    match stream.read(&mut chunk) {
                        Ok(length @ 1..) => request.extend_from_slice(&chunk[..length]),
                        _ => break,
                    }
                }
                let body = told.lock().expect("no thread has panicked").clone();
                // What looks like a refusal is sent as one.
                let status =
                    if body.windows(7).any(|seven| seven == b"\"error\"") { 400 } else { 200 };
                let head = format!(
                    "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // A client that has read enough may leave.
                drop(stream.write_all(&[head.as_bytes(), &body].concat()));
            }
        });
        Self { runtime: runtime(), body, address }
    }
}

impl Target for EmbeddingsAnswers {
    fn name(&self) -> &'static str {
        "embeddings"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        texts(&[
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,-1e-3,1]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}"#,
            r#"{"data":[{"index":0,"embedding":[1]}],"model":"another"}"#,
            r#"{"data":[{"index":1,"embedding":[1]},{"index":0,"embedding":[]}]}"#,
            r#"{"error":{"message":"no \u001b[31m","type":"t","param":null,"code":"invalid_api_key"}}"#,
            r#"{"error":{"message":"no","code":7}}"#,
        ])
    }

    fn take(&mut self, input: &[u8]) -> bool {
        input.clone_into(&mut self.body.lock().expect("no thread has panicked"));
        let service = json!({"url": format!("http://{}/v1", self.address), "model": "m"});
        let settings = [("knowledge".to_owned(), json!({ "embeddings": service }))].into();
        let connections = Connections::new("fuzz", settings, Arc::new(Secrets::default()));
        let registry = adapters::registry();
        let mut blocks = registry.connections().filter(|block| block.key == "knowledge");
        let reach = blocks.next().and_then(|block| block.reach).expect("it can be reached");
        match self.runtime.block_on(reach(&connections)) {
            Ok(told) => {
                assert!(told.starts_with("embeddings of m with "), "{told}");
                true
            }
            Err(error) => {
                let longest = error.causes.iter().chain([&error.message]).map(String::len).max();
                assert!(longest.is_some_and(|longest| longest < 4096), "{error:?}");
                false
            }
        }
    }
}

/// A file of queries is queries or an error that names the file.
pub(super) struct LabelledQueries {
    runtime: Runtime,
    folder: TempDir,
}

impl Default for LabelledQueries {
    fn default() -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        Self { runtime: runtime(), folder }
    }
}

impl Target for LabelledQueries {
    fn name(&self) -> &'static str {
        "labelled queries"
    }

    fn examples(&self) -> Vec<Vec<u8>> {
        let mut examples = of_the_tree(&["runbooks/orchestrator"], "json");
        examples.extend(texts(&[
            r#"[{"query":"q","agent":"a","expect":["x"]}]"#,
            r#"[{"query":"","agent":"a","expect":[]}]"#,
            &format!(r#"[{{"{}":1}}]"#, "query".repeat(1_000)),
            "[]",
            "{}",
        ]));
        examples
    }

    fn take(&mut self, input: &[u8]) -> bool {
        let path = self.folder.path().join("queries.json");
        std::fs::write(&path, input).expect("it is ours");
        let registry = Arc::new(adapters::registry());
        let connections = Connections::new("fuzz", HashMap::new(), Arc::default());
        let cx = ResolveContext { connections: Arc::new(connections), registry: registry.clone() };
        let verb = registry.verb("knowledge.expect").expect("a verb of this program");
        let args = json!({"table": "t", "queries": path});
        match self.runtime.block_on(verb.expand(args, &cx)) {
            Ok(items) => {
                assert_eq!(items.len(), 1);
                true
            }
            Err(error) => {
                assert!(
                    error.message.contains("queries.json") && error.message.len() < 4096,
                    "{error:?}"
                );
                false
            }
        }
    }
}
