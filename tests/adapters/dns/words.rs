//! What the double answers, in the words of BIND: codes, authority, signatures.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;

use super::oracle::{self, SharedKey};
use super::rig::{FOLLOWS, Rig};

fn error(answer: &Message) -> Option<TsigError> {
    answer.signature().and_then(|tsig| tsig.data.error)
}

pub(super) async fn answers_are_those_of_a_real_server(rig: Rig) {
    let (primary, secondary) = (rig.primary, rig.secondary);
    let (name, alias) = (rig.name("words", FOLLOWS), rig.name("alias", FOLLOWS));
    rig.set((&name, "A"), &["192.0.2.1"], 30);
    rig.set((&alias, "CNAME"), &[&format!("{name}.")], 30);
    let code = |answer: &Message| answer.metadata.response_code;

    // An alias is followed within the zone, nothing is said of what is elsewhere, and both kinds of nothing come with the SOA.
    let followed = oracle::ask(primary, &alias, "A", false);
    assert_eq!((followed.answers.len(), followed.metadata.authoritative), (2, true));
    let nodata = oracle::ask(primary, &name, "TXT", false);
    assert_eq!(
        (code(&nodata), nodata.answers.len(), nodata.authorities.len()),
        (ResponseCode::NoError, 0, 1)
    );
    assert_eq!(nodata.authorities[0].ttl, 5);
    let nothing = oracle::ask(primary, &rig.name("nothing", FOLLOWS), "A", false);
    assert_eq!((code(&nothing), nothing.authorities.len()), (ResponseCode::NXDomain, 1));
    assert_eq!(code(&oracle::ask(primary, "example.org", "A", false)), ResponseCode::Refused);
    let heard = oracle::ask(rig.resolver, &alias, "A", true);
    assert_eq!((heard.answers.len(), heard.metadata.authoritative), (2, false));
    assert!(heard.metadata.recursion_available);

    // Updates: without a key, with a wrong one, too late, for another zone, outside of the zone, at a secondary.
    let update = || oracle::replacing(FOLLOWS, &name, "A", &oracle::data("A", &["192.0.2.2"]), 30);
    let unsigned = oracle::over_tcp(primary, &update().to_vec().expect("a message"));
    assert_eq!(code(&Message::from_vec(&unsigned).expect("a message")), ResponseCode::Refused);
    let wrong = SharedKey {
        secret: "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd28=".into(),
        ..rig.key.clone()
    };
    let answer = oracle::signed(primary, update(), &wrong, 0);
    assert_eq!((code(&answer), error(&answer)), (ResponseCode::NotAuth, Some(TsigError::BadSig)));
    let unknown = SharedKey { name: "nobody".into(), ..rig.key.clone() };
    let answer = oracle::signed(primary, update(), &unknown, 0);
    assert_eq!((code(&answer), error(&answer)), (ResponseCode::NotAuth, Some(TsigError::BadKey)));
    let answer = oracle::signed(primary, update(), &rig.key, 3600);
    assert_eq!((code(&answer), error(&answer)), (ResponseCode::NotAuth, Some(TsigError::BadTime)));
    let other = &answer.signature().expect("it is signed").data.other;
    assert_eq!(other.len(), 6, "the server's own time");
    let elsewhere = oracle::replacing("example.org", "a.example.org", "A", &[], 30);
    assert_eq!(code(&oracle::signed(primary, elsewhere, &rig.key, 0)), ResponseCode::NotAuth);
    let outside =
        oracle::replacing(FOLLOWS, "a.example.org", "A", &oracle::data("A", &["192.0.2.2"]), 30);
    assert_eq!(code(&oracle::signed(primary, outside, &rig.key, 0)), ResponseCode::NotZone);
    let answer = oracle::over_tcp(secondary, &update().to_vec().expect("a message"));
    assert_eq!(code(&Message::from_vec(&answer).expect("a message")), ResponseCode::Refused);
    let answer = oracle::signed(secondary, update(), &rig.key, 0);
    assert_eq!((code(&answer), error(&answer)), (ResponseCode::Refused, None));
    assert!(answer.signature().is_some(), "it knows the key");
    assert_eq!(rig.records(&name, "A"), ["30 192.0.2.1"]);

    // A wildcard answers for what is not there, and for nothing else (RFC 4592).
    let (wildcard, covered) = (format!("*.{alias}"), format!("a.b.{alias}"));
    rig.set((&wildcard, "A"), &["192.0.2.9"], 30);
    rig.set((&format!("there.{alias}"), "TXT"), &["x"], 30);
    assert_eq!(rig.records(&covered, "A"), ["30 192.0.2.9"]);
    assert!(oracle::ask(primary, &covered, "TXT", false).answers.is_empty());
    assert!(rig.records(&format!("there.{alias}"), "A").is_empty());

    // A change moves the serial by one, and the same once more does not.
    let before = oracle::serial(primary, FOLLOWS);
    rig.set((&rig.name("serial", FOLLOWS), "A"), &["192.0.2.3"], 30);
    assert!(oracle::serial(primary, FOLLOWS) > before);
    let gone = oracle::replacing(FOLLOWS, FOLLOWS, "SOA", &[], 30);
    assert_eq!(code(&oracle::signed(primary, gone, &rig.key, 0)), ResponseCode::NoError);
    assert!(oracle::serial(primary, FOLLOWS) > before, "the top keeps its SOA");
}
