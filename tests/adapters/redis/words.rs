//! The double answers in the words of the real server.

use redis::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::Rig;
use crate::support::HANG;

/// Commands whose answers are the same on every server; `KEY` is a key of the test.
const COMMANDS: [&str; 30] = [
    "PING",
    "PING hello",
    "ECHO hello",
    "SET KEY one",
    "GET KEY",
    "EXISTS KEY KEY KEY2",
    "TYPE KEY",
    "TYPE KEY2",
    "KEYS KEY*",
    "DEL KEY KEY2",
    "UNLINK KEY",
    "GET KEY",
    "GET",
    "get a b",
    "SET KEY one two",
    "NOSUCH a b",
    "nosuch",
    "SCAN x",
    "SCAN 0 MATCH",
    "SCAN 0 COUNT x",
    "SCAN 0 COUNT 0",
    "SELECT x",
    "SELECT 99",
    "SELECT 1",
    "ROLE",
    "CLUSTER SLOTS",
    "ASKING",
    "AUTH anything",
    "AUTH nobody anything",
    "HELLO 9",
];

#[tokio::test]
async fn the_double_speaks_as_the_real_server() {
    let (real, double) = (Rig::real().await, Rig::double().await);
    for command in COMMANDS {
        let line = command.replace("KEY", &real.key("words"));
        let (wanted, found) = (say(&real, &line).await, say(&double, &line).await);
        assert_eq!(found, wanted, "{command}");
    }
}

#[tokio::test]
async fn both_versions_of_the_protocol_are_spoken() {
    for rig in [Rig::real().await, Rig::double().await] {
        for (version, kind) in [("2", b'*'), ("3", b'%')] {
            let answer = say(&rig, &format!("HELLO {version}")).await;
            assert_eq!(answer.as_bytes()[0], kind, "{answer}");
            assert!(answer.contains("redis") && answer.contains("7.0."), "{answer}");
        }
        let client = redis::Client::open(format!("{}?protocol=resp3", rig.urls[0])).expect("sound");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
        let none: Value = redis::cmd("GET")
            .arg(rig.key("none"))
            .query_async(&mut connection)
            .await
            .expect("it answers");
        assert_eq!(none, Value::Nil);
    }
}

#[tokio::test]
async fn nonsense_ends_the_connection_with_the_same_words() {
    let (real, double) = (Rig::real().await, Rig::double().await);
    for wire in ["*1\r\n+x\r\n", "*x\r\n", "*1\r\n$x\r\n"] {
        let (wanted, found) =
            (exchange(&real, wire, None).await, exchange(&double, wire, None).await);
        assert_eq!(found, wanted, "{wire:?}");
        assert!(wanted.starts_with("-ERR Protocol error"), "{wanted}");
    }
}

/// What a server answers to one line, to the byte.
async fn say(rig: &Rig, line: &str) -> String {
    // A second command, so that the end of the first answer can be seen.
    exchange(rig, &format!("{line}\r\nECHO end-of-answer\r\n"), Some("$13\r\nend-of-answer\r\n"))
        .await
}

/// Reads up to `end`, or to the end of the connection.
async fn exchange(rig: &Rig, wire: &str, end: Option<&str>) -> String {
    let address = rig.urls[0].trim_start_matches("redis://");
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(wire.as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    let reading = async {
        while !end.is_some_and(|end| answer.ends_with(end.as_bytes())) {
            if stream.read_buf(&mut answer).await.expect("the server answers") == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(HANG, reading).await.expect("the server answers in time");
    String::from_utf8(answer).expect("these answers are text")
}
