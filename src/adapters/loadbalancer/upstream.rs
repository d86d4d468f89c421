//! The file of an upstream: what may stand in it, how it is written, and the hash that proves it.

use std::net::{Ipv6Addr, SocketAddr};

use sha2::{Digest, Sha256};

use super::proof::Proof;

/// Checks a name that becomes part of the configuration.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(format!("the name `{name}` may hold letters, digits, `-` and `_` only"))
    }
}

/// Checks a server's address: a host name, an IPv4 address or an IPv6 address in brackets, with a port.
pub(super) fn check_server(server: &str) -> Result<(), String> {
    let complain = || format!("the server `{server}` is not written as host:port");
    let (host, port) = server.rsplit_once(':').ok_or_else(complain)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || port.parse::<u16>().unwrap_or(0) == 0 {
        return Err(complain());
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().map(drop).map_err(|_| complain());
    }
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let named = host.len() <= 253 && host.bytes().all(letters);
    if named && host.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(complain())
    }
}

/// The proof that a side of an upstream, with these servers, is live.
pub(super) fn proof(upstream: &str, side: &str, servers: &[String], address: SocketAddr) -> Proof {
    let mut hash = Sha256::new();
    for part in ["1", upstream, side].into_iter().chain(servers.iter().map(String::as_str)) {
        hash.update(part.as_bytes());
        hash.update(b"\n");
    }
    Proof::new(address, upstream, side, &hash)
}

/// The file's text. Its names and servers have been checked.
pub(super) fn text(upstream: &str, servers: &[String], proof: &Proof) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "# Written by rollback; the next switch replaces this file.\nupstream {upstream} {{\n"
    );
    for server in servers {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "    server {server};");
    }
    text.push_str("}\n");
    text.push_str(&proof.server_block());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port_and_nothing_that_nginx_would_read_as_more() {
        for good in ["10.0.0.1:8080", "agent-1.internal:80", "[::1]:8080", "a_b:1"] {
            assert_eq!(check_server(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "10.0.0.1",
            ":80",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:+80",
            "a:80;",
            "a b:80",
            "a:80 backup",
            "a}:80",
            "[::1:80",
            "[x]:80",
            "unix:/run/x.sock",
            "-a:80",
            "a\n:80",
            "$a:80",
        ] {
            assert!(check_server(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_file() {
        assert_eq!(check_name("agents_2-b"), Ok(()));
        for bad in ["", "a b", "a;", "a{", "ä", "a\n", "../a"] {
            assert!(check_name(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_proof_changes_with_the_side_and_with_each_server() {
        let address = "127.0.0.1:8099".parse().unwrap();
        let of = |side: &str, servers: &[&str]| {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            proof("agents", side, &servers, address).line().to_owned()
        };
        let blue = of("blue", &["a:1", "b:1"]);
        assert!(blue.starts_with("rollback agents blue "), "{blue}");
        assert_eq!(blue, of("blue", &["a:1", "b:1"]));
        for other in
            [of("green", &["a:1", "b:1"]), of("blue", &["a:1"]), of("blue", &["b:1", "a:1"])]
        {
            assert_ne!(blue, other);
        }
    }
}
