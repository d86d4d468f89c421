//! The masters of a cluster, from `CLUSTER SLOTS` (<https://redis.io/docs/latest/commands/cluster-slots/>).
//!
//! It names each master the way clients are meant to reach it, which matters where certificates carry host names. A master
//! that owns no slot yet is not in it: what a resharding has brought there is found when the slot is handed over.

use redis::Value;

/// How many slots a whole cluster serves.
const SLOTS: i64 = 16384;

/// Host and port of every master that owns slots; an empty host means the one that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Masters(pub(super) Vec<(String, u16)>);

/// Why an answer is not that of a whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// Not the shape that the command has.
    #[error("read the answer of CLUSTER SLOTS")]
    Unreadable,
    /// Some slots are nobody's.
    #[error("find every slot of the cluster served: {0} of {SLOTS} are")]
    Incomplete(i64),
}

impl Masters {
    /// Reads the answer.
    pub(super) fn read(answer: &Value) -> Result<Self, Broken> {
        let Value::Array(ranges) = answer else { return Err(Broken::Unreadable) };
        let mut masters = Vec::new();
        let mut served = 0;
        for range in ranges {
            let (slots, master) = read_range(range).ok_or(Broken::Unreadable)?;
            served += slots;
            if !masters.contains(&master) {
                masters.push(master);
            }
        }
        if served == SLOTS { Ok(Self(masters)) } else { Err(Broken::Incomplete(served)) }
    }
}

/// How many slots a range has, and who its master is.
fn read_range(range: &Value) -> Option<(i64, (String, u16))> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => {
            String::from_utf8(host.clone()).ok().filter(|host| host != "?")?
        }
        Value::Nil => String::new(),
        _ => return None,
    };
    Some((last - first + 1, (host, u16::try_from(*port).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let node =
            |host: &str, port| Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            node(host, port),
            node("replica", port + 1),
        ])
    }

    #[test]
    fn masters_are_named_once_and_replicas_not_at_all() {
        let answer = Value::Array(vec![
            range(0, 99, "a", 7001),
            range(100, 8191, "b", 7002),
            range(8192, 16383, "a", 7001),
        ]);
        let masters = Masters::read(&answer).unwrap();
        assert_eq!(masters.0, [("a".to_owned(), 7001), ("b".to_owned(), 7002)]);
    }

    #[test]
    fn a_cluster_with_a_hole_and_nonsense_are_told_apart() {
        let hole = Value::Array(vec![range(0, 8191, "a", 7001)]);
        assert_eq!(Masters::read(&hole), Err(Broken::Incomplete(8192)));
        assert_eq!(Masters::read(&Value::Array(Vec::new())), Err(Broken::Incomplete(0)));
        for nonsense in [Value::Nil, Value::Array(vec![Value::Nil]), Value::Int(3)] {
            assert_eq!(Masters::read(&nonsense), Err(Broken::Unreadable));
        }
        let unknown = Value::Array(vec![range(0, 16383, "?", 7001)]);
        assert_eq!(Masters::read(&unknown), Err(Broken::Unreadable));
    }
}
