//! What the server does with a command, in the words of Redis 7.0.

use super::info;
use super::keyspace::{DATABASES, Keyspace};
use super::resp::{Command, Protocol, Reply};

/// The commands that are known; one with other arguments than those below is told so.
const KNOWN: [&str; 18] = [
    "PING", "ECHO", "GET", "SET", "EXISTS", "DEL", "UNLINK", "TYPE", "DBSIZE", "KEYS", "SCAN",
    "SELECT", "HELLO", "AUTH", "CLIENT", "ROLE", "CLUSTER", "ASKING",
];
const SYNTAX: &str = "ERR syntax error";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
                           default user. Are you sure your configuration is correct?";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
/// How many keys a scan looks at unless it says `COUNT`.
const SCANNED: usize = 10;

/// What a connection has been told.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) protocol: Protocol,
    database: usize,
}

impl Default for Session {
    fn default() -> Self {
        Self { protocol: Protocol::Two, database: 0 }
    }
}

/// A command's name in capitals.
pub(super) fn name(command: &Command) -> String {
    command.first().map(|name| text(name).to_uppercase()).unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Does what a command says. `removed` is told every key that goes.
pub(super) fn execute(
    session: &mut Session,
    keys: &mut Keyspace,
    command: &Command,
    removed: impl FnMut(&[u8]),
) -> Reply {
    let name = name(command);
    let arguments = command.get(1..).unwrap_or_default();
    match (name.as_str(), arguments) {
        ("PING", []) => Reply::Status("PONG"),
        ("PING" | "ECHO", [message]) => Reply::Bulk(message.clone()),
        ("SELECT", [database]) => select(session, database),
        ("HELLO", _) => hello(session, arguments),
        ("AUTH", [_]) => Reply::error(NO_PASSWORD),
        // The user `default` has no password, so that every password is right.
        ("AUTH", [user, _]) if user == b"default" => Reply::Status("OK"),
        ("AUTH", [_, _]) => Reply::error(WRONG_PASSWORD),
        ("CLIENT", [which, ..]) => client(which, arguments),
        ("INFO", sections) => {
            let sections: Vec<String> = sections.iter().map(|name| text(name)).collect();
            info::info(keys, &sections)
        }
        ("ROLE", []) => {
            Reply::Array(vec![Reply::text("master"), Reply::Integer(0), Reply::Array(Vec::new())])
        }
        ("CLUSTER", [_, ..]) | ("ASKING", []) => Reply::error(NO_CLUSTER),
        _ => on_keys(session.database, keys, &name, arguments, removed)
            .unwrap_or_else(|| refuse(&name, command)),
    }
}

/// The commands that work with keys; `None` for any other.
fn on_keys(
    database: usize,
    keys: &mut Keyspace,
    name: &str,
    arguments: &[Vec<u8>],
    mut removed: impl FnMut(&[u8]),
) -> Option<Reply> {
    Some(match (name, arguments) {
        ("GET", [key]) => {
            keys.get(database, key).map_or(Reply::Null, |value| Reply::Bulk(value.clone()))
        }
        ("SET", [key, value]) => {
            keys.set(database, key, value.clone());
            Reply::Status("OK")
        }
        ("SET", [_, _, ..]) => Reply::error(SYNTAX),
        ("EXISTS", [_, ..]) => {
            let there = arguments.iter().filter(|key| keys.get(database, key).is_some());
            integer(there.count())
        }
        ("DEL" | "UNLINK", [_, ..]) => {
            let mut number = 0;
            for key in arguments {
                if keys.remove(database, key) {
                    removed(key);
                    number += 1;
                }
            }
            integer(number)
        }
        ("TYPE", [key]) => Reply::Status(keys.get(database, key).map_or("none", |_| "string")),
        ("DBSIZE", []) => integer(keys.len(database)),
        ("KEYS", [pattern]) => Reply::Array(
            keys.keys(database, pattern).map(|key| Reply::Bulk(key.to_vec())).collect(),
        ),
        ("SCAN", [cursor, options @ ..]) => scan(database, keys, cursor, options),
        _ => return None,
    })
}

fn integer(number: usize) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn select(session: &mut Session, database: &[u8]) -> Reply {
    match number::<i64>(database).map(usize::try_from) {
        None => Reply::error(NOT_A_NUMBER),
        Some(Ok(database)) if database < DATABASES => {
            session.database = database;
            Reply::Status("OK")
        }
        Some(_) => Reply::error("ERR DB index is out of range"),
    }
}

fn hello(session: &mut Session, arguments: &[Vec<u8>]) -> Reply {
    let wanted = match arguments.first() {
        None => session.protocol,
        Some(version) => match number(version) {
            Some(2) => Protocol::Two,
            Some(3) => Protocol::Three,
            _ => return Reply::error("NOPROTO unsupported protocol version"),
        },
    };
    session.protocol = wanted;
    info::hello(wanted)
}

fn client(which: &[u8], arguments: &[Vec<u8>]) -> Reply {
    match (text(which).to_uppercase().as_str(), arguments) {
        ("ID", [_]) => Reply::Integer(1),
        ("SETNAME", [_, _]) => Reply::Status("OK"),
        // `SETINFO` came with 7.2; clients do without.
        _ => Reply::error(format!("ERR unknown subcommand '{}'. Try CLIENT HELP.", text(which))),
    }
}

fn scan(database: usize, keys: &Keyspace, cursor: &[u8], options: &[Vec<u8>]) -> Reply {
    let Some(cursor) = number(cursor) else { return Reply::error("ERR invalid cursor") };
    let (mut pattern, mut count) = (None, SCANNED);
    for option in options.chunks(2) {
        let [name, value] = option else { return Reply::error(SYNTAX) };
        match text(name).to_uppercase().as_str() {
            "MATCH" => pattern = Some(value.as_slice()),
            "COUNT" => match number(value) {
                Some(0) => return Reply::error(SYNTAX),
                Some(number) => count = number,
                None => return Reply::error(NOT_A_NUMBER),
            },
            _ => return Reply::error(SYNTAX),
        }
    }
    let (next, found) = keys.scan(database, cursor, pattern, count);
    Reply::Array(vec![
        Reply::text(next.to_string()),
        Reply::Array(found.into_iter().map(Reply::Bulk).collect()),
    ])
}

/// What cannot be done, because of its arguments or at all.
fn refuse(name: &str, command: &Command) -> Reply {
    if KNOWN.contains(&name) {
        let name = name.to_lowercase();
        return Reply::error(format!("ERR wrong number of arguments for '{name}' command"));
    }
    let mut words = command.iter().map(|word| text(word).chars().take(128).collect::<String>());
    let name = words.next().unwrap_or_default();
    let arguments = words.take(20).fold(String::new(), |all, word| all + "'" + &word + "' ");
    Reply::error(format!("ERR unknown command '{name}', with args beginning with: {arguments}"))
}
