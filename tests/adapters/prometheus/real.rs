//! What only a real server has: expressions, and its own words about what is wrong with one; TLS and tokens before it.

use std::process::{Command, Stdio};

use rollback::action::ErrorKind;
use rollback::secret::Secrets;
use serde_json::json;
use tempfile::TempDir;

use super::rig::{Port, Rig, cx};
use crate::support::certificates::Certificates;
use crate::support::world::Running;
use crate::support::{free_port, server_variable, wait_until};

#[tokio::test]
async fn expressions_are_evaluated_by_the_server() {
    let rig = Rig::real();
    for (letter, value) in [("1", 1.0), ("2", 3.0)] {
        rig.write("parts", letter, &[(0, value)]).await;
    }
    let selector = rig.query("parts");
    let sum = json!({"query": format!("sum({selector})"), "equals": 4, "fresh": "4m", "fresh_by": selector});
    assert_eq!(rig.ask(sum).await, ('y', "4, equal to 4".to_owned()));
    // A filter of PromQL that leaves nothing is no data, and no condition that holds.
    let filtered = json!({"query": format!("{selector} > 5"), "at_most": 1});
    assert_eq!(rig.ask(filtered).await.0, '?');
    let nobody = json!({"query": format!("sum({selector}) / sum({selector} * 0)"), "above": 1});
    let (found, text) = rig.ask(nobody).await;
    assert_eq!(found, 'y', "a division by zero is infinite, and above 1: {text}");
}

#[tokio::test]
async fn the_server_s_words_about_a_query_reach_the_person() {
    let rig = Rig::real();
    let error = rig.port().refused(json!({"query": "sum(up", "above": 1}), &cx()).await;
    assert!(error.message.contains("unclosed left parenthesis"), "{error:?}");
    for letter in ["1", "2"] {
        rig.write("twice", letter, &[(0, 1.0)]).await;
    }
    let selector = rig.query("twice");
    let many = json!({"query": format!("{selector} * on() {selector}"), "above": 1});
    let error = rig.port().refused(many, &cx()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false), "{error:?}");
    assert!(error.message.contains("many-to-many"), "{error:?}");
    let window = json!({"query": format!("{selector}[5m]"), "above": 1});
    let error = rig.port().refused(window, &cx()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Invalid, false), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_verified_against_the_authority_that_is_named() {
    let certificates = Certificates::of("127.0.0.1");
    let folder = TempDir::new().expect("the temporary folder is writable");
    let file = |name: &str| certificates.file(name).display().to_string();
    let web = format!(
        "tls_server_config: {{cert_file: {}, key_file: {}}}\n",
        file("cert.pem"),
        file("key.pem")
    );
    std::fs::write(folder.path().join("web.yml"), web).expect("it is writable");
    std::fs::write(folder.path().join("prometheus.yml"), "").expect("it is writable");
    let port = free_port();
    let mut command = Command::new(server_variable(&["ROLLBACK_TEST_PROMETHEUS_SERVER"]));
    command
        .current_dir(folder.path())
        .args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.config.file=web.yml",
        ])
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null());
    let _running = Running::start(&mut command);
    wait_until("prometheus", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());

    let url = format!("https://127.0.0.1:{port}");
    let trusting = json!({"url": url, "ca_file": file("ca.pem")});
    let trusted = Port::with(trusting, Secrets::default());
    // It listens before it is ready, and says so.
    let told = loop {
        match trusted.reach().await {
            Ok(told) => break told,
            Err(error) => assert!(error.retryable, "{error:?}"),
        }
    };
    assert!(told.starts_with("prometheus "), "{told}");
    assert_eq!(trusted.ask("prometheus.expect", json!({"query": "1", "equals": 1})).await.0, 'y');
    let stranger = Port::with(json!({ "url": url }), Secrets::default());
    let error = stranger.reach().await.expect_err("nobody vouches for it");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, false), "{error:?}");
    assert!(error.hints[0].contains("{prometheus: {ca_file: …}}"), "{error:?}");
    let missing = json!({"url": url, "ca_file": folder.path().join("none.pem")});
    let missing = Port::with(missing, Secrets::default()).reach().await.expect_err("no file");
    assert_eq!(missing.kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_token_reaches_the_wire_and_nothing_else() {
    use axum::http::{HeaderMap, StatusCode, header};

    const TOKEN: &str = "cAn4ry-token";
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let memory = heard.clone();
    // It refuses, and repeats what it was sent.
    let guard = axum::Router::new().fallback(move |headers: HeaderMap| async move {
        let sent = headers
            .get(header::AUTHORIZATION)
            .map(|value| value.to_str().expect("text").to_owned());
        memory.lock().expect("nobody panicked").push(sent.clone());
        (StatusCode::UNAUTHORIZED, format!("no {}", sent.unwrap_or_default()))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, guard).await });
    let mut secrets = Secrets::default();
    let marker = secrets.insert("token", TOKEN.into());
    let port = Port::with(json!({"url": url, "token": marker}), secrets);
    let error = port.refused(json!({"query": "up", "above": 1}), &cx()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Denied, false), "{error:?}");
    assert!(!format!("{error:?}").contains("cAn4ry"), "{error:?}");
    let heard = heard.lock().expect("nobody panicked").clone();
    assert_eq!(heard, [Some(format!("Bearer {TOKEN}"))]);
}
