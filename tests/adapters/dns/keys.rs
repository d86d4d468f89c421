//! Keys that the server does not accept.

use rollback::action::ErrorKind;
use serde_json::json;

use super::oracle::SharedKey;
use super::rig::{FOLLOWS, Rig};

pub(super) async fn a_wrong_key_is_one_clear_message(rig: Rig) {
    let name = rig.name("key", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let canary = "Y0FuNHJ5LW9mLXRoZS1rZXktY0FuNHJ5LW9mLXRoZS0=".to_owned();
    for (key, code, hint) in [
        (SharedKey { secret: canary.clone(), ..rig.key.clone() }, "BADSIG", "`secret`"),
        (SharedKey { name: "nobody".to_owned(), secret: canary.clone() }, "BADKEY", "`name`"),
    ] {
        let port = rig.port_with(rig.primary, &key);
        let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
        // To look needs no key.
        let saved = port.needed(action.as_ref()).await;
        let error = action.apply(&port.cx(), &saved).await.expect_err("the key is wrong");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Denied, false), "{error:?}");
        let (server, named) = (rig.primary.to_string(), format!("rejects the key `{}`", key.name));
        for part in [code, server.as_str(), named.as_str()] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
        assert!(error.hints.concat().contains(hint), "{error:?}");
        let told = format!("{error:?} {saved:?} {:?}", action.describe());
        assert!(!told.contains(&canary) && !told.contains("cAn4ry"), "{told}");
        assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
    }
}

pub(super) async fn a_server_that_takes_no_updates_says_so(rig: Rig) {
    let name = rig.name("refused", FOLLOWS);
    let port = rig.port_at(rig.secondary);
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let saved = port.needed(action.as_ref()).await;
    let error = action.apply(&port.cx(), &saved).await.expect_err("a secondary takes none");
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    assert!(error.message.contains("refuses updates"), "{error}");
    let reached = rig.port().reach().await.expect("they answer");
    assert!(reached.contains("2 name servers and 1 resolver answer"), "{reached}");
}
