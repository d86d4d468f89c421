//! A real server behind TLS: verified, or refused with words that help. That nothing is sent to a server that is not trusted, no
//! password either, is counted in `faults::certificate`.

use rollback::action::ErrorKind;
use rollback::secret::Secrets;
use serde_json::{Value, json};

use super::rig::{Port, connect, rows};
use crate::support::certificates::{Certificates, Flaw};
use crate::support::install_tls;
use crate::support::postgres::Postgres;

const PASSWORD: &str = "cAn4ry-over-tls";

/// The role `app` with its password, as an environment with these settings has it.
fn port(server: &Postgres, more: &Value) -> Port {
    let mut secrets = Secrets::default();
    let password = secrets.insert("password", PASSWORD.into());
    let mut settings = json!({
        "host": "localhost", "port": server.port(), "database": "postgres", "user": "app", "password": password,
    });
    settings.as_object_mut().expect("a block").extend(more.as_object().expect("a block").clone());
    Port::with_secrets(settings, secrets)
}

#[tokio::test]
async fn only_a_server_whose_certificate_is_right_is_talked_to() {
    install_tls();
    // The role's password would cross the wire as it is: only TLS and its verification protect it.
    let access = "hostssl all app 127.0.0.1/32 password\nhost all postgres 127.0.0.1/32 trust\n";
    let sound = Certificates::of("localhost");
    let server = Postgres::behind_tls(&sound, access);
    let admin = connect(&server.url()).await;
    let role = format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE postgres TO app;
        CREATE TABLE agents (id int PRIMARY KEY, note text); ALTER TABLE agents OWNER TO app; INSERT INTO agents VALUES (1)");
    admin.batch_execute(&role).await.expect("a role");

    let trusted = port(&server, &json!({"sslmode": "require", "ca": sound.file("ca.pem")}));
    let answer = trusted.reach().await.expect("it is verified");
    assert!(answer.contains(&format!("at localhost:{}/postgres", server.port())), "{answer}");
    let change = json!({
        "statements": [{"sql": "UPDATE agents SET note = (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid())"}],
        "changes": ["agents"],
    });
    let action = trusted.action("postgres.run", change).await;
    let (saved, evidence) = trusted.apply(action.as_ref()).await;
    assert_eq!(rows(&admin, "SELECT note FROM agents").await, ["TLSv1.3"]);
    trusted.undo(action.as_ref(), &saved, Some(&evidence)).await;

    let open = port(&server, &json!({"sslmode": "disable"})).reach().await;
    let open = open.expect_err("the server wants TLS");
    assert_eq!((open.kind, open.retryable), (ErrorKind::Denied, false), "{open:?}");

    for flaw in Flaw::ALL {
        let flawed = Certificates::with("localhost", Some(flaw));
        server.certify(&flawed);
        let port = port(&server, &json!({"sslmode": "require", "ca": flawed.file("ca.pem")}));
        let error = port.reach().await.expect_err("it must not be trusted");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, false), "{error:?}");
        let told = format!("{error:?}");
        assert!(told.contains("certificate") && !error.hints.is_empty(), "{flaw:?}: {told}");
        assert!(!told.contains(PASSWORD), "{told}");
    }
    server.certify(&sound);
    trusted.reach().await.expect("it is verified again");
}
