//! Updates that nobody answered.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use rollback::action::{ErrorKind, Evidence, Readiness, Verdict};
use serde_json::json;

use super::oracle;
use super::proxy::{Interference, Proxy};
use super::rig::{FOLLOWS, Hung, Port, Rig};
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

pub(super) async fn an_answer_that_the_key_has_not_signed_proves_nothing(rig: Rig) {
    let forged: [fn(Vec<u8>) -> Vec<u8>; 3] = [
        // Without its signature.
        |answer| unsigned(&answer, ResponseCode::NoError),
        // With another code under the same signature.
        |mut answer| {
            answer[3] = (answer[3] & 0xf0) | 8;
            answer
        },
        |answer| unsigned(&answer, ResponseCode::Refused),
    ];
    for (index, forge) in forged.into_iter().enumerate() {
        let Doubt { port, name, proxy } = doubt(&rig, &format!("forged-{index}")).await;
        let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
        let saved = port.needed(action.as_ref()).await;
        proxy.interfere(Interference::Answer(Box::new(forge)));
        let error = action.apply(&port.cx(), &saved).await.expect_err("anybody may say so");
        assert_eq!(error.kind, ErrorKind::Unknown, "{error:?}");
        assert!(error.message.contains("not signed by the key"), "{error}");
        assert_eq!(rig.records(&name, "CNAME"), ["60 old.example."], "it was done");
        port.already_done(action.as_ref()).await;
    }
}

/// An answer with this code and without a signature.
fn unsigned(answer: &[u8], code: ResponseCode) -> Vec<u8> {
    let signed = Message::from_vec(answer).expect("a message");
    let mut answer = Message::new(signed.metadata.id, MessageType::Response, OpCode::Update);
    answer.metadata.response_code = code;
    answer.to_vec().expect("a message")
}

pub(super) async fn what_is_there_in_the_end_decides_and_not_the_answer(rig: Rig) {
    let Doubt { port, name, proxy } = doubt(&rig, "other").await;
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let saved = port.needed(action.as_ref()).await;
    // The update is done, and what is read back is another: somebody's, or with a TTL that the server prefers.
    for (data, ttl) in [("old.example.", 90), ("theirs.example.", 60)] {
        let (primary, key, changed) = (rig.primary, rig.key.clone(), name.clone());
        let data = oracle::data("CNAME", &[data]);
        proxy.interfere(Interference::Then(Box::new(move || {
            oracle::set(primary, &key, FOLLOWS, (&changed, "CNAME"), &data, ttl);
        })));
        let error = action.apply(&port.cx(), &saved).await.expect_err("it is another");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
        assert!(error.message.contains("answered that it was done, and there is"), "{error}");
    }
    let error = action.apply(&port.cx(), &saved).await.expect_err("theirs is left alone");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");

    // On the way back nobody tells any more what is there.
    rig.set((&name, "CNAME"), &["old.example."], 60);
    proxy.interfere(Interference::Then(Box::new(proxy.end())));
    let error = action.undo(&port.cx(), &saved, None).await.expect_err("nobody answers");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
    assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."], "it was done");
}

pub(super) async fn a_name_server_that_hangs_leaves_time_for_the_change(rig: Rig) {
    let name = rig.name("hung", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let hung = Hung::start();
    let port = rig.port_asking(&[&hung.address], &[]);
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let cx = port.cx_for(Duration::from_secs(6));
    let saved = match action.inspect(&cx).await.expect("the primary tells") {
        Readiness::Needed { saved, .. } => saved,
        Readiness::AlreadyDone { evidence } => panic!("{evidence:?}"),
    };
    assert!(cx.remaining() > Duration::from_secs(3), "{:?} are left", cx.remaining());
    action.apply(&cx, &saved).await.expect("it is sent");
    assert_eq!(rig.records(&name, "CNAME"), ["60 old.example."]);
    let verdict = action.verify(&port.cx_for(Duration::from_secs(3)), &Evidence::default()).await;
    let Verdict::NotYet { observed } = verdict.expect("it can be verified") else {
        panic!("one server does not tell");
    };
    assert!(observed.contains(&format!("{} does not tell", hung.address)), "{observed}");
}

pub(super) async fn servers_are_reached_past_those_that_are_silent(rig: Rig) {
    let hung = Hung::start();
    let resolver = rig.resolver.to_string();
    let nobody = "ns1.nowhere.invalid";
    let port = rig.port_asking(&[nobody], &[&hung.address, nobody, &resolver]);
    let reached = port.reach().await.expect("one of each answers");
    assert!(reached.contains("1 of 2 name servers and 1 of 3 resolvers answer"), "{reached}");
    let error = rig.port_asking(&[], &[&hung.address]).reach().await.expect_err("it is silent");
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains(&format!("reach a resolver: {}", hung.address)), "{error}");
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
