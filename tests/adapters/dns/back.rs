//! A change of records, taken back by a later run.

use rollback::action::{Action as _, Past, Present, Readiness, TakeBack};
use serde_json::json;

use super::rig::{FOLLOWS, Rig};
use crate::support::back::reverted;

pub(super) async fn a_server_that_lags_or_is_down_holds_no_revert_up(rig: Rig) {
    let (name, _guard) = rig.lagging("back").await;
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let port = rig.port();
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let saved = port.needed(action.as_ref()).await;
    // The secondary stays behind from here to the end.
    let applied = action.apply(&port.cx(), &saved).await.expect("the primary has it");
    let seen = reverted(action, (saved, Some(applied)), || port.cx()).await;
    assert_eq!(seen, (Present::AsLeft, Present::AsBefore));
    assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
}

pub(super) async fn what_somebody_has_put_back_by_hand_is_as_before(rig: Rig) {
    let name = rig.name("hand", FOLLOWS);
    rig.set_everywhere((&name, "A"), &["192.0.2.1"], 60);
    let port = rig.port();
    let action = port.point(json!({"name": name, "type": "A", "to": "192.0.2.2"})).await;
    let (saved, applied) = port.carry_out(action.as_ref()).await;
    let (run, place) = (port.cx().run().to_owned(), port.cx().place().to_owned());
    let past = Past { run, place, saved, applied: Some(applied), notes: Vec::new() };
    let back = TakeBack::new(action, past);

    // The serial number has grown twice meanwhile.
    rig.set((&name, "A"), &["192.0.2.1"], 60);
    assert_eq!(back.look(&port.cx()).await.expect("it can be looked at"), Present::AsBefore);
    // So whoever does not know what became of an undo learns it by looking.
    let found = back.inspect(&port.cx().after_attempts(1)).await.expect("it can be looked at");
    assert!(matches!(found, Readiness::AlreadyDone { .. }), "{found:?}");
    // Another value there is a change that nobody may overwrite.
    rig.set((&name, "A"), &["192.0.2.3"], 60);
    assert_eq!(back.look(&port.cx()).await.expect("it can be looked at"), Present::Other);
}
