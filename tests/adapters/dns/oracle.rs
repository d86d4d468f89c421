//! Questions, updates and notifications of the tests' own, over plain sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};

use crate::support::HANG;

/// A TSIG key.
#[derive(Debug, Clone)]
pub(super) struct SharedKey {
    pub(super) name: String,
    pub(super) secret: String,
}

impl SharedKey {
    fn signer(&self) -> TSigner {
        let secret = BASE64_STANDARD.decode(&self.secret).expect("base64");
        TSigner::new(secret, TsigAlgorithm::HmacSha256, name(&self.name), 300).expect("a key")
    }
}

/// A name, absolute.
pub(super) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

/// Sends a message and reads an answer, over UDP.
pub(super) fn over_udp(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time");
    let mut buffer = vec![0; 65_535];
    for _ in 0..10 {
        socket.send_to(&message.to_vec().expect("a message"), server).expect("it is sent");
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            return Message::from_vec(&buffer[..length]).expect("a message");
        }
    }
    panic!("{server} does not answer");
}

/// Sends bytes and reads an answer, over TCP.
pub(super) fn over_tcp(server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.set_read_timeout(Some(HANG)).expect("a time");
    let length = u16::try_from(bytes.len()).expect("a short message");
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).expect("it reads");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("it answers");
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).expect("it answers");
    answer
}

fn question(about: &str, kind: &str, recursion: bool) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = recursion;
    message.add_query(Query::query(name(about), RecordType::from_str(kind).expect("a type")));
    message
}

/// The whole answer to a question.
pub(super) fn ask(server: SocketAddr, about: &str, kind: &str, recursion: bool) -> Message {
    over_udp(server, &question(about, kind, recursion))
}

/// The records of a name and type, `TTL DATA`, in order.
pub(super) fn records(server: SocketAddr, about: &str, kind: &str) -> Vec<String> {
    told(&ask(server, about, kind, false), about, kind)
}

/// The same of a resolver's memory.
pub(super) fn remembered(resolver: SocketAddr, about: &str, kind: &str) -> Vec<String> {
    told(&ask(resolver, about, kind, true), about, kind)
}

fn told(answer: &Message, about: &str, kind: &str) -> Vec<String> {
    let kind = RecordType::from_str(kind).expect("a type");
    let own = answer.answers.iter().filter(|r| r.record_type() == kind && r.name == name(about));
    let mut lines: Vec<String> = own.map(|r| format!("{} {}", r.ttl, r.data)).collect();
    lines.sort();
    lines
}

/// The serial of a zone.
pub(super) fn serial(server: SocketAddr, zone: &str) -> u32 {
    let answer = ask(server, zone, "SOA", false);
    match answer.answers.first().map(|record| &record.data) {
        Some(RData::SOA(soa)) => soa.serial,
        other => panic!("{server} has no start of authority for {zone}: {other:?}"),
    }
}

/// An update that is not signed yet: replaces all records of a name and type by these, each `TTL DATA`.
pub(super) fn replacing(zone: &str, about: &str, kind: &str, data: &[RData], ttl: u32) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name(zone), RecordType::SOA));
    let mut gone = Record::update0(name(about), 0, RecordType::from_str(kind).expect("a type"));
    gone.dns_class = DNSClass::ANY;
    message.add_authority(gone);
    for data in data {
        message.add_authority(Record::from_rdata(name(about), ttl, data.clone()));
    }
    message
}

/// Signs a message as if it were this long ago, sends it, and gives the answer.
pub(super) fn signed(
    server: SocketAddr,
    mut message: Message,
    key: &SharedKey,
    ago: u64,
) -> Message {
    let now = u64::try_from(rollback::clock::now().as_second()).expect("after 1970");
    drop(message.finalize(&key.signer(), now - ago).expect("it can be signed"));
    let answer = over_tcp(server, &message.to_vec().expect("a message"));
    Message::from_vec(&answer).expect("a message")
}

/// Replaces all records of a name and type.
pub(super) fn set(
    server: SocketAddr,
    key: &SharedKey,
    zone: &str,
    (about, kind): (&str, &str),
    data: &[RData],
    ttl: u32,
) {
    let answer = signed(server, replacing(zone, about, kind, data, ttl), key, 0);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{about} {kind}");
}

/// Data from its text.
pub(super) fn data(kind: &str, texts: &[&str]) -> Vec<RData> {
    let kind = RecordType::from_str(kind).expect("a type");
    texts.iter().map(|text| RData::try_from_str(kind, text).expect("data")).collect()
}

/// Tells a secondary that its zone has changed (RFC 1996).
pub(super) fn notify(server: SocketAddr, zone: &str) {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Notify);
    message.metadata.authoritative = true;
    message.add_query(Query::query(name(zone), RecordType::SOA));
    let answer = over_udp(server, &message);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
}
