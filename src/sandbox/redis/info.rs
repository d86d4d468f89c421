//! What the server says about itself.

use super::keyspace::Keyspace;
use super::resp::{Protocol, Reply};

/// The version that it behaves as.
const VERSION: &str = "7.0.15";

/// The answer of `INFO` for these sections; all of them without any.
pub(super) fn info(keys: &Keyspace, sections: &[String]) -> Reply {
    let wanted = |name: &str| {
        sections.is_empty()
            || sections.iter().any(|section| {
                section.eq_ignore_ascii_case(name)
                    || ["all", "default", "everything"].contains(&section.as_str())
            })
    };
    let mut parts = Vec::new();
    if wanted("server") {
        parts.push(format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nprocess_id:{}\r\n",
            std::process::id()
        ));
    }
    if wanted("replication") {
        parts.push("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n".to_owned());
    }
    if wanted("cluster") {
        parts.push("# Cluster\r\ncluster_enabled:0\r\n".to_owned());
    }
    if wanted("keyspace") {
        let mut text = "# Keyspace\r\n".to_owned();
        for database in (0..super::keyspace::DATABASES).filter(|database| keys.len(*database) > 0) {
            text += &format!("db{database}:keys={},expires=0,avg_ttl=0\r\n", keys.len(database));
        }
        parts.push(text);
    }
    Reply::text(parts.join("\r\n"))
}

/// The answer of `HELLO`.
pub(super) fn hello(protocol: Protocol) -> Reply {
    let version = if protocol == Protocol::Two { 2 } else { 3 };
    Reply::Map(vec![
        (Reply::text("server"), Reply::text("redis")),
        (Reply::text("version"), Reply::text(VERSION)),
        (Reply::text("proto"), Reply::Integer(version)),
        (Reply::text("id"), Reply::Integer(1)),
        (Reply::text("mode"), Reply::text("standalone")),
        (Reply::text("role"), Reply::text("master")),
        (Reply::text("modules"), Reply::Array(Vec::new())),
    ])
}
