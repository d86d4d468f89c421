//! Deleting by pattern.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback::action::{ActionError, ErrorKind, Recorder, Repeat, Reversal, Saved};
use serde_json::{Value, json};

use super::rig::{Rig, already_done, carry_out, cx, needed};

/// Keeps the notes of an attempt.
#[derive(Default)]
struct Notes(Mutex<Vec<Value>>);

impl Notes {
    fn sum(&self, key: &str) -> usize {
        let notes = self.0.lock().expect("nobody panicked");
        let numbers = notes.iter().filter_map(|note| note[key].as_u64());
        usize::try_from(numbers.sum::<u64>()).expect("a small number")
    }
}

#[async_trait]
impl Recorder for Notes {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        self.jot(note);
        Ok(())
    }

    fn jot(&self, note: Value) {
        self.0.lock().expect("nobody panicked").push(note);
    }
}

/// More than one answer of SCAN holds.
const MANY: usize = 2500;

pub(super) async fn every_key_of_the_pattern_goes_and_no_other(rig: Rig) {
    rig.fill("v2", MANY).await;
    rig.fill("v20", 20).await;
    rig.fill("v", 20).await;
    let action = rig.port().delete(json!({"pattern": rig.key("v2:*")})).await;

    let saved = needed(action.as_ref()).await;
    assert_eq!(saved.found(), Some("2500 keys"));
    let applied = carry_out(action.as_ref()).await;
    assert_eq!(applied.facts["unlinked"], MANY);
    assert!(applied.facts["passes"].as_u64() >= Some(2), "{applied:?}");
    assert_eq!(rig.left("v2", MANY).await, 0);
    assert_eq!((rig.left("v20", 20).await, rig.left("v", 20).await), (20, 20));

    let evidence = already_done(action.as_ref()).await;
    assert!(evidence.summary.contains("no key matches"), "{evidence:?}");
    // As after a crash whose outcome is unknown: once more does no harm.
    let again = action.apply(&cx(), &saved).await.expect("twice is once");
    assert_eq!((&again.facts["unlinked"], &again.facts["passes"]), (&json!(0), &json!(1)));
}

pub(super) async fn a_pattern_that_is_too_wide_touches_nothing(rig: Rig) {
    rig.fill("wide", 60).await;
    let port = rig.port();
    let pattern = rig.key("wide:*");
    let action = port.delete(json!({"pattern": pattern, "at_most": 59})).await;
    let error = action.inspect(&cx()).await.expect_err("60 are more than 59");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("at most 59 are expected, 60 match"), "{error}");
    assert_eq!(rig.left("wide", 60).await, 60);

    // Keys that came after the look: fewer than expected go, never more.
    let error = action.apply(&cx(), &Saved::default()).await.expect_err("still more");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(rig.left("wide", 60).await >= 1);

    // What earlier attempts may have removed counts, too.
    let limited = port.delete(json!({"pattern": pattern, "at_most": 100})).await;
    let notes = vec![json!({"claimed": 60}), json!({"returned": 10}), json!({"claimed": 50})];
    let resumed = cx().recording(Arc::new(Notes::default()), notes);
    let error = limited.inspect(&resumed).await.expect_err("100 may be gone already");
    assert!(error.message.contains("100 may have gone in earlier attempts"), "{error}");
    let error = limited.apply(&resumed, &Saved::default()).await.expect_err("the same");
    assert_eq!(error.kind, ErrorKind::Conflict);

    let exact = port.delete(json!({"pattern": pattern, "at_most": 60})).await;
    let notes = Arc::new(Notes::default());
    let left = rig.left("wide", 60).await;
    let noting = cx().recording(notes.clone(), Vec::new());
    exact.apply(&noting, &Saved::default()).await.expect("they may go");
    assert_eq!(rig.left("wide", 60).await, 0);
    assert_eq!(notes.sum("claimed") - notes.sum("returned"), left);
    for pattern in ["*", "?a*", "[a-z]*", ""] {
        let refused = port.refused("redis.delete", json!({"pattern": pattern}));
        assert!(refused.is_some(), "{pattern:?} is refused before anything is asked");
    }
}

pub(super) async fn wildcards_mean_what_they_mean_to_redis(rig: Rig) {
    for name in ["a*b", "axb", "a1", "a2", "a3", "ab1"] {
        let _ok: String = rig.ask(&["SET", &rig.key(name), "x"]).await;
    }
    let there = async || {
        let mut there = Vec::new();
        for name in ["a*b", "axb", "a1", "a2", "a3", "ab1"] {
            if rig.ask::<u64>(&["EXISTS", &rig.key(name)]).await == 1 {
                there.push(name);
            }
        }
        there
    };
    for (pattern, left) in [
        (r"a\*b", vec!["axb", "a1", "a2", "a3", "ab1"]),
        ("a[12]", vec!["axb", "a3", "ab1"]),
        ("a?", vec!["axb", "ab1"]),
        ("a[^x]*", vec!["axb"]),
    ] {
        let action = rig.port().delete(json!({"pattern": rig.key(pattern)})).await;
        carry_out(action.as_ref()).await;
        assert_eq!(there().await, left, "after {pattern}");
    }
}

pub(super) async fn there_is_no_way_back(rig: Rig) {
    rig.fill("gone", 1).await;
    let action = rig.port().delete(json!({"pattern": rig.key("gone:*")})).await;
    assert!(matches!(action.reversal(), Reversal::Irreversible { .. }));
    assert_eq!(action.repeat(), Repeat::Safe);
    let applied = carry_out(action.as_ref()).await;
    let undone = action.undo(&cx(), &Saved::default(), Some(&applied)).await;
    assert_eq!(undone.expect_err("nothing brings them back").kind, ErrorKind::Invalid);
}
