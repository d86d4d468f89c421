//! Updates that nobody answered.

use std::time::Duration;

use rollback::action::{ErrorKind, Evidence};
use serde_json::json;

use super::oracle;
use super::proxy::{Interference, Proxy};
use super::rig::{FOLLOWS, Port, Rig};
use crate::support::free_port;

struct Doubt {
    port: Port,
    name: String,
    proxy: Proxy,
}

async fn doubt(rig: &Rig, first: &str) -> Doubt {
    let name = rig.name(first, FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let proxy = Proxy::start(rig.primary).await;
    Doubt { port: rig.port_at(proxy.address), name, proxy }
}

pub(super) async fn a_lost_answer_is_looked_for_before_anything_is_sent_again(rig: Rig) {
    let Doubt { port, name, proxy } = doubt(&rig, "lost").await;
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let saved = port.needed(action.as_ref()).await;
    proxy.interfere(Interference::LoseAnswer);
    let error = action.apply(&port.cx(), &saved).await.expect_err("nobody answered");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
    assert_eq!(rig.records(&name, "CNAME"), ["60 old.example."]);
    // The look finds it, and an attempt that comes anyway sends nothing.
    port.already_done(action.as_ref()).await;
    let again = action.apply(&port.cx(), &saved).await.expect("it is there");
    assert_eq!(again.facts["sent"], json!(false));
    port.proved(action.as_ref(), &Evidence::default()).await;

    // The same on the way back.
    proxy.interfere(Interference::LoseAnswer);
    let error = action.undo(&port.cx(), &saved, None).await.expect_err("nobody answered");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
    assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
    port.undo(action.as_ref(), &saved, None).await;
    assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
}

pub(super) async fn an_update_that_never_came_is_sent_again(rig: Rig) {
    let Doubt { port, name, proxy } = doubt(&rig, "never").await;
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let saved = port.needed(action.as_ref()).await;
    proxy.interfere(Interference::LoseUpdate);
    let error = action.apply(&port.cx(), &saved).await.expect_err("nobody answered");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
    assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
    let again = port.needed(action.as_ref()).await;
    assert_eq!(again.state["former"], saved.state["former"], "what was there is not forgotten");
    port.carry_out(action.as_ref()).await;
    assert_eq!(oracle::records(rig.secondary, &name, "CNAME"), ["60 old.example."]);
}

pub(super) async fn a_server_that_is_gone_was_sent_nothing(rig: Rig) {
    let name = rig.name("gone", FOLLOWS);
    let nowhere = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let port = rig.port_at(nowhere);
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let error = port.refused(action.as_ref()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, true), "{error:?}");
    let cx = port.cx_for(Duration::from_secs(5));
    cx.cancelled().cancel();
    let error = action.inspect(&cx).await.map(drop).expect_err("it was told to stop");
    assert!(matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Unreachable), "{error:?}");
}
