//! Changing records.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::TXT;
use rollback::action::{ErrorKind, Repeat, Reversal, Verdict};
use serde_json::json;

use super::oracle;
use super::proxy::{Interference, Proxy};
use super::rig::{FOLLOWS, LAGS, Notes, Rig};

pub(super) async fn an_alias_is_moved_and_brought_back_with_its_ttl(rig: Rig) {
    let name = rig.name("agent", FOLLOWS);
    rig.set_everywhere((&name, "CNAME"), &["new.example."], 300);
    let port = rig.port();
    // As people write names: in any case, with a dot at the end or without.
    let action = port
        .point(json!({"name": name.to_uppercase(), "type": "CNAME", "to": "Old.Example.", "ttl": "30s"}))
        .await;
    let described = action.describe();
    assert!(described.apply.contains("CNAME old.example (ttl 30s)"), "{described:?}");
    assert_eq!((action.repeat(), action.reversal()), (Repeat::AfterInspect, Reversal::Automatic));

    for unknown in [false, true] {
        let saved = port.needed(action.as_ref()).await;
        assert_eq!(saved.found(), Some("now CNAME new.example (ttl 5m)"));
        assert_eq!(saved.spreads().map(|time| time.as_secs()), Some(300));
        let (saved, applied) = port.carry_out(action.as_ref()).await;
        assert_eq!(rig.records(&name, "CNAME"), ["30 old.example."]);
        assert_eq!(oracle::records(rig.secondary, &name, "CNAME"), ["30 old.example."]);
        let evidence = port.already_done(action.as_ref()).await;
        assert!(evidence.summary.contains("on all 2 authoritative servers"), "{evidence:?}");
        port.undo(action.as_ref(), &saved, (!unknown).then_some(&applied)).await;
        assert_eq!(rig.records(&name, "CNAME"), ["300 new.example."]);
    }
}

pub(super) async fn a_record_that_was_not_there_goes_again(rig: Rig) {
    let port = rig.port();
    for (kind, to, there) in [
        ("CNAME", "old.example", "60 old.example."),
        ("A", "192.0.2.7", "60 192.0.2.7"),
        ("AAAA", "2001:DB8::7", "60 2001:db8::7"),
        ("TXT", "v=spf1 -all", "60 \"v=spf1 -all\""),
    ] {
        let name = rig.name(&kind.to_lowercase(), FOLLOWS);
        let action = port.point(json!({"name": name, "type": kind, "to": to})).await;
        let (saved, applied) = port.carry_out(action.as_ref()).await;
        assert_eq!(saved.found(), Some(format!("now no {kind}").as_str()));
        // That something is not there is kept, too, for as long as the zone says.
        assert_eq!(saved.spreads().map(|time| time.as_secs()), Some(5), "{kind}");
        let records = rig.records(&name, kind);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].replace('"', ""), there.replace('"', ""));
        port.undo(action.as_ref(), &saved, Some(&applied)).await;
        assert!(rig.records(&name, kind).is_empty());
    }
}

pub(super) async fn sets_of_addresses_and_texts_are_sets(rig: Rig) {
    let port = rig.port();
    let name = rig.name("set", FOLLOWS);
    rig.set((&name, "A"), &["192.0.2.1", "192.0.2.2"], 120);
    rig.set((&name, "TXT"), &["first", "second"], 120);
    let to = json!(["192.0.2.3", "192.0.2.2", "192.0.2.2"]);
    let from = json!(["192.0.2.2", "192.0.2.1"]);
    let action =
        port.point(json!({"name": name, "type": "A", "to": to, "from": from, "ttl": "30s"})).await;
    let (saved, _) = port.carry_out(action.as_ref()).await;
    assert_eq!(rig.records(&name, "A"), ["30 192.0.2.2", "30 192.0.2.3"]);
    // Other types of the name stay as they are.
    assert_eq!(rig.records(&name, "TXT").len(), 2);
    let texts = port.point(json!({"name": name, "type": "TXT", "to": ["third", "first"]})).await;
    let (former, _) = port.carry_out(texts.as_ref()).await;
    assert_eq!(rig.records(&name, "TXT").len(), 2);
    port.undo(texts.as_ref(), &former, None).await;
    port.undo(action.as_ref(), &saved, None).await;
    assert_eq!(rig.records(&name, "A"), ["120 192.0.2.1", "120 192.0.2.2"]);
    let texts = rig.records(&name, "TXT").concat();
    assert!(
        texts.contains("120") && texts.contains("first") && texts.contains("second"),
        "{texts}"
    );
}

pub(super) async fn a_text_comes_back_cut_as_it_was(rig: Rig) {
    let name = rig.name("text", FOLLOWS);
    let cut = RData::TXT(TXT::from_bytes(vec![b"v=DKIM1; ", b"p=a\\b\"c\xff"]));
    oracle::set(rig.primary, &rig.key, FOLLOWS, (&name, "TXT"), std::slice::from_ref(&cut), 60);
    let port = rig.port();
    let long = "k".repeat(400);
    let action = port.point(json!({"name": name, "type": "TXT", "to": long})).await;
    let (saved, _) = port.carry_out(action.as_ref()).await;
    let answer = oracle::ask(rig.primary, &name, "TXT", false);
    let RData::TXT(text) = &answer.answers[0].data else { panic!("a text") };
    assert_eq!(text.txt_data.concat(), long.as_bytes());
    port.undo(action.as_ref(), &saved, None).await;
    assert_eq!(oracle::ask(rig.primary, &name, "TXT", false).answers[0].data, cut);
}

pub(super) async fn a_set_that_is_too_long_for_a_datagram_is_read_whole(rig: Rig) {
    let name = rig.name("long", FOLLOWS);
    let texts = ["a", "b", "c"].map(|letter| letter.repeat(700));
    let port = rig.port();
    let action = port.point(json!({"name": name, "type": "TXT", "to": texts})).await;
    let (saved, _) = port.carry_out(action.as_ref()).await;
    let answer = oracle::ask(rig.primary, &name, "TXT", false);
    assert!(answer.metadata.truncation, "over UDP there is not all of it");
    port.already_done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, None).await;
    assert!(rig.records(&name, "TXT").is_empty());
}

/// A server answers for the name, and has no record there that could be compared.
pub(super) async fn a_name_under_a_wildcard_gets_a_record_of_its_own(rig: Rig) {
    let below = rig.name("wild", FOLLOWS);
    let (wildcard, name) = (format!("*.{below}"), format!("agent.{below}"));
    rig.set_everywhere((&wildcard, "CNAME"), &["new.example."], 30);
    assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
    let port = rig.port();
    let args = json!({"name": name, "type": "CNAME", "to": "old.example", "from": "new.example"});
    let action = port.point(args).await;
    let saved = port.needed(action.as_ref()).await;
    let notes = Arc::<Notes>::default();
    let applied = action.apply(&port.cx_noting(&notes), &saved).await.expect("it is added");
    port.proved(action.as_ref(), &applied).await;
    assert_eq!(rig.records(&name, "CNAME"), ["60 old.example."]);
    assert_eq!(rig.records(&format!("other.{below}"), "CNAME"), ["30 new.example."]);
    for attempt in ["undo", "undo again"] {
        action.undo(&port.cx_noting(&notes), &saved, Some(&applied)).await.expect(attempt);
        assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
    }
    // It is the wildcard's again.
    rig.set((&wildcard, "CNAME"), &["newer.example."], 30);
    assert_eq!(rig.records(&name, "CNAME"), ["30 newer.example."]);
}

pub(super) async fn a_way_back_tells_which_servers_lag(rig: Rig) {
    let (name, _guard) = rig.lagging("back").await;
    let port = rig.port();
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let saved = port.needed(action.as_ref()).await;
    let applied = action.apply(&port.cx(), &saved).await.expect("the primary has it");
    rig.catch_up();
    port.proved(action.as_ref(), &applied).await;
    rig.hold_back();
    let notes = Arc::<Notes>::default();
    let cx = port.cx_for(Duration::from_secs(4)).recording(notes.clone(), Vec::new());
    action.undo(&cx, &saved, Some(&applied)).await.expect("the primary has it back");
    assert!(rig.records(&name, "CNAME").is_empty());
    let told = json!(notes.taken()).to_string();
    assert!(told.contains(&format!("{} has CNAME old.example", rig.secondary)), "{told}");
    assert!(!told.contains(&rig.primary.to_string()), "{told}");

    rig.catch_up();
    let notes = Arc::<Notes>::default();
    action.undo(&port.cx_noting(&notes), &saved, Some(&applied)).await.expect("it is back");
    assert!(oracle::records(rig.secondary, &name, "CNAME").is_empty());
    assert!(notes.taken().is_empty(), "{:?}", notes.taken());
}

pub(super) async fn a_ttl_alone_is_a_change(rig: Rig) {
    let name = rig.name("ttl", FOLLOWS);
    rig.set((&name, "CNAME"), &["same.example."], 1800);
    let port = rig.port();
    let lower = json!({"name": name, "type": "CNAME", "to": "same.example", "ttl": "30s"});
    let action = port.point(lower).await;
    let (saved, applied) = port.carry_out(action.as_ref()).await;
    assert_eq!(rig.records(&name, "CNAME"), ["30 same.example."]);
    port.undo(action.as_ref(), &saved, Some(&applied)).await;
    assert_eq!(rig.records(&name, "CNAME"), ["1800 same.example."]);
}

pub(super) async fn what_somebody_else_changed_is_left_alone(rig: Rig) {
    let name = rig.name("theirs", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let port = rig.port();
    let args = json!({"name": name, "type": "CNAME", "to": "old.example"});
    let action = port.point(args.clone()).await;
    let saved = port.needed(action.as_ref()).await;
    rig.set((&name, "CNAME"), &["theirs.example."], 30);
    let error = action.apply(&port.cx(), &saved).await.expect_err("it has changed");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false), "{error:?}");
    assert!(error.message.contains("there was CNAME new.example"), "{error}");
    assert!(error.message.contains("now there is CNAME theirs.example"), "{error}");
    assert_eq!(rig.records(&name, "CNAME"), ["30 theirs.example."]);

    // `from` says what may be changed at all.
    let mut from = args;
    from["from"] = json!("new.example.");
    let error = port.refused(port.point(from.clone()).await.as_ref()).await;
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(
        error.message.contains("`from` says new.example, and there is CNAME theirs.example"),
        "{error}"
    );
    from["from"] = json!("Theirs.Example");
    port.carry_out(port.point(from.clone()).await.as_ref()).await;
    // What is there already needs no former state.
    port.already_done(port.point(from).await.as_ref()).await;
}

/// The change comes between the last look and the update: only the server can notice.
pub(super) async fn the_server_itself_compares(rig: Rig) {
    for (first, there, meanwhile) in [
        ("changed", &["new.example."][..], &["theirs.example."][..]),
        ("removed", &["new.example."], &[]),
        ("added", &[], &["theirs.example."]),
    ] {
        let name = rig.name(first, FOLLOWS);
        rig.set((&name, "CNAME"), there, 30);
        let proxy = Proxy::start(rig.primary).await;
        let port = rig.port_at(proxy.address);
        let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
        let saved = port.needed(action.as_ref()).await;
        let (primary, key, changed) = (rig.primary, rig.key.clone(), name.clone());
        let data = oracle::data("CNAME", meanwhile);
        proxy.interfere(Interference::First(Box::new(move || {
            oracle::set(primary, &key, FOLLOWS, (&changed, "CNAME"), &data, 30);
        })));
        let error = action.apply(&port.cx(), &saved).await.expect_err("the server compares");
        assert!(proxy.has_interfered());
        assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false), "{error:?}");
        assert!(error.message.contains("the records are others by now"), "{error}");
        let left: Vec<String> = meanwhile.iter().map(|data| format!("30 {data}")).collect();
        assert_eq!(rig.records(&name, "CNAME"), left, "{first}");
    }
}

pub(super) async fn an_undo_takes_back_only_what_this_step_wrote(rig: Rig) {
    let name = rig.name("undo", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let port = rig.port();
    let action =
        port.point(json!({"name": name, "type": "CNAME", "to": "old.example", "ttl": "30s"})).await;
    let (saved, applied) = port.carry_out(action.as_ref()).await;
    for (there, ttl) in [("theirs.example.", 30), ("old.example.", 31)] {
        rig.set((&name, "CNAME"), &[there], ttl);
        for applied in [Some(&applied), None] {
            let error = action.undo(&port.cx(), &saved, applied).await.expect_err("not ours");
            assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
            assert!(error.message.contains("this step did not write"), "{error}");
            assert!(error.hints[0].contains("CNAME new.example (ttl 30s)"), "{error:?}");
        }
        assert_eq!(rig.records(&name, "CNAME"), [format!("{ttl} {there}")]);
    }
}

pub(super) async fn what_may_not_stand_there_is_refused_before(rig: Rig) {
    let port = rig.port();
    let name = rig.name("beside", FOLLOWS);
    rig.set((&name, "A"), &["192.0.2.1"], 30);
    rig.set((&name, "TXT"), &["here"], 30);
    let alias = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let error = port.refused(alias.as_ref()).await;
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("has A and TXT"), "{error}");
    assert!(error.message.contains("stands beside nothing else"), "{error}");
    let name = rig.name("alias", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let address = port.point(json!({"name": name, "type": "A", "to": "192.0.2.1"})).await;
    let error = port.refused(address.as_ref()).await;
    assert!(error.message.contains("has CNAME new.example"), "{error}");
    // The top of a zone has other records always.
    let top = port.point(json!({"name": FOLLOWS, "type": "CNAME", "to": "old.example"})).await;
    assert!(port.refused(top.as_ref()).await.message.contains("has NS"));
}

pub(super) async fn what_the_server_leaves_out_is_noticed_although_it_says_noerror(rig: Rig) {
    let port = rig.port();
    for (first, kind, to, other, data) in [
        ("illegal", "CNAME", "old.example", "A", "192.0.2.1"),
        ("illegal-too", "A", "192.0.2.9", "CNAME", "new.example."),
    ] {
        let name = rig.name(first, FOLLOWS);
        let action = port.point(json!({"name": name, "type": kind, "to": to})).await;
        let saved = port.needed(action.as_ref()).await;
        // It comes after the look, and an update of the same kind shows what the server says to it.
        rig.set((&name, other), &[data], 30);
        rig.set((&name, kind), &[&format!("{to}{}", if kind == "CNAME" { "." } else { "" })], 30);
        assert_eq!(rig.records(&name, kind), [""; 0], "NOERROR, and nothing stored");

        let error = action.apply(&port.cx(), &saved).await.expect_err("it was left out");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false), "{error:?}");
        assert!(error.message.contains("answered that it was done, and left it out"), "{error}");
        assert!(error.message.contains(&format!("the name has {other}")), "{error}");
        assert_eq!(rig.records(&name, other).len(), 1);
        // Nothing was changed, so nothing is to be taken back.
        port.undo(action.as_ref(), &saved, None).await;
    }
}

pub(super) async fn every_authoritative_server_must_have_it(rig: Rig) {
    let (name, _guard) = rig.lagging("lags").await;
    rig.set((&name, "CNAME"), &["new.example."], 30);
    rig.catch_up();
    crate::support::wait_until("the secondary catches up", || {
        !oracle::records(rig.secondary, &name, "CNAME").is_empty()
    });
    rig.hold_back();
    let port = rig.port();
    let action =
        port.point(json!({"name": name, "type": "CNAME", "to": "old.example", "ttl": "30s"})).await;
    let saved = port.needed(action.as_ref()).await;
    let applied = action.apply(&port.cx(), &saved).await.expect("the primary has it");
    let serials = (oracle::serial(rig.primary, LAGS), oracle::serial(rig.secondary, LAGS));
    assert!(serials.0 > serials.1, "{serials:?}");
    let Verdict::NotYet { observed } = action.verify(&port.cx(), &applied).await.expect("verified")
    else {
        panic!("one server has the former record");
    };
    for part in [
        "1 of 2 authoritative servers not yet".to_owned(),
        format!("{} has CNAME new.example (ttl 30s) at serial {}", rig.secondary, serials.1),
        format!("the newest serial is {}", serials.0),
    ] {
        assert!(observed.contains(&part), "{part}: {observed}");
    }
    // Whoever looks again finds it half there, and sends nothing.
    let again = port.needed(action.as_ref()).await;
    assert_eq!(again.found(), Some("now CNAME old.example (ttl 30s)"));
    let told = action.apply(&port.cx(), &saved).await.expect("nothing is left to do");
    assert_eq!(
        (&told.facts["sent"], oracle::serial(rig.primary, LAGS)),
        (&json!(false), serials.0)
    );
    let expected = json!({"name": name, "type": "CNAME", "value": "old.example"});
    let seen = port.observe(expected.clone()).await.expect_err("one lags");
    assert!(seen.contains(&format!("at serial {}", serials.1)), "{seen}");

    rig.catch_up();
    port.proved(action.as_ref(), &applied).await;
    port.observe(expected).await.expect("all have it");
}
