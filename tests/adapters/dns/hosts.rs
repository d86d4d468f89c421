//! Web services by name, as the authoritative servers have them now and as no cache does.

use std::collections::HashMap;
use std::sync::Arc;

use axum::routing::get;
use rollback::action::{Connections, ResolveContext, StepContext, Verdict, Work};
use rollback::adapters;
use rollback::secret::Secrets;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rig::{FOLLOWS, Rig};
use crate::support::{HANG, install_tls};

/// Two services at the same port of two addresses, and a name that moves from one to the other.
pub(super) async fn a_moved_name_leads_to_the_other_service_at_once(rig: Rig) {
    install_tls();
    let mut port = 0;
    for (address, says) in [("127.0.0.1", "new"), ("127.0.0.2", "old")] {
        let listener = TcpListener::bind((address, port)).await.expect("the port is free");
        port = listener.local_addr().expect("it is bound").port();
        let router = axum::Router::new().route("/health", get(move || async move { says }));
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    let (name, end) = (rig.name("web", FOLLOWS), rig.name("web-old", FOLLOWS));
    rig.set((&name, "A"), &["127.0.0.1"], 3600);
    rig.set((&end, "A"), &["127.0.0.2"], 3600);
    // A proxy that nobody could reach is not asked for what is found this way.
    let settings = json!({"nameservers": [rig.primary.to_string()], "proxy": "http://127.0.0.1:1"});
    let settings = HashMap::from([("http".to_owned(), settings)]);
    let resolve = ResolveContext {
        connections: Arc::new(Connections::new("test", settings, Arc::new(Secrets::default()))),
        registry: Arc::new(adapters::registry()),
    };
    let ask = async |host: &str, says: &str| {
        let verb = resolve.registry.verb("http.expect").expect("the verb exists");
        let args = json!({"url": format!("http://{host}:{port}/health"), "body": {"equals": says}});
        let items = verb.expand(args, &resolve).await.expect("the step is sound");
        let Ok(Work::Probe(probe)) = verb.make(&items[0].args, &resolve) else { panic!("a probe") };
        let (deadline, cancel) = (Instant::now() + HANG, CancellationToken::new());
        let cx = StepContext::new(deadline, cancel, std::env::temp_dir(), "run-1");
        match probe.observe(&cx).await.expect("it can be asked") {
            Verdict::Holds { .. } => Ok(()),
            Verdict::NotYet { observed } => Err(observed),
        }
    };
    assert_eq!(ask(&name, "new").await, Ok(()));
    rig.set((&name, "A"), &[], 0);
    rig.set((&name, "CNAME"), &[&format!("{end}.")], 3600);
    assert_eq!(ask(&name, "old").await, Ok(()), "at once, and through an alias");
    // Addresses and this machine's own name are not asked for.
    assert_eq!(ask("localhost", "new").await, Ok(()));
    assert_eq!(ask("127.0.0.2", "old").await, Ok(()));
    let missing = ask(&rig.name("nobody", FOLLOWS), "old").await.expect_err("no such name");
    assert!(missing.contains("there is no such name"), "{missing}");
}
