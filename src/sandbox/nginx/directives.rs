//! Which directives there are, where they may stand and how many arguments they take.
//!
//! A directive without effect on the double is one whose absence a client cannot notice: buffer sizes, types, logs. What would
//! change answers and is not implemented is unknown here.

use super::lexer::{ConfigError, Statement};

/// A block, or the outermost level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Main,
    Events,
    Http,
    Upstream,
    Server,
    Location,
}

use Level::{Events, Http, Location, Main, Server, Upstream};

struct Directive {
    name: &'static str,
    levels: &'static [Level],
    arguments: (usize, usize),
    block: bool,
}

const fn plain(
    name: &'static str,
    levels: &'static [Level],
    least: usize,
    most: usize,
) -> Directive {
    Directive { name, levels, arguments: (least, most), block: false }
}

const fn block(
    name: &'static str,
    levels: &'static [Level],
    least: usize,
    most: usize,
) -> Directive {
    Directive { name, levels, arguments: (least, most), block: true }
}

const WEB: &[Level] = &[Http, Server, Location];
const MANY: usize = 64;

static DIRECTIVES: &[Directive] = &[
    // With effect.
    block("events", &[Main], 0, 0),
    block("http", &[Main], 0, 0),
    block("upstream", &[Http], 1, 1),
    block("server", &[Http], 0, 0),
    plain("server", &[Upstream], 1, MANY),
    block("location", &[Server], 1, 2),
    plain("pid", &[Main], 1, 1),
    plain("error_log", &[Main, Http, Server, Location], 1, 2),
    plain("listen", &[Server], 1, MANY),
    plain("server_name", &[Server], 1, MANY),
    plain("proxy_pass", &[Location], 1, 1),
    plain("return", &[Server, Location], 1, 2),
    plain("add_header", WEB, 2, 3),
    plain("default_type", WEB, 1, 1),
    // Without effect on the double.
    plain("user", &[Main], 1, 2),
    plain("daemon", &[Main], 1, 1),
    plain("master_process", &[Main], 1, 1),
    plain("worker_processes", &[Main], 1, 1),
    plain("worker_rlimit_nofile", &[Main], 1, 1),
    plain("worker_shutdown_timeout", &[Main], 1, 1),
    plain("worker_connections", &[Events], 1, 1),
    plain("multi_accept", &[Events], 1, 1),
    plain("use", &[Events], 1, 1),
    plain("keepalive", &[Upstream], 1, 1),
    plain("zone", &[Upstream], 1, 2),
    block("types", WEB, 0, 0),
    plain("access_log", WEB, 1, MANY),
    plain("log_format", &[Http], 2, MANY),
    plain("sendfile", WEB, 1, 1),
    plain("tcp_nopush", WEB, 1, 1),
    plain("tcp_nodelay", WEB, 1, 1),
    plain("keepalive_timeout", WEB, 1, 2),
    plain("keepalive_requests", WEB, 1, 1),
    plain("types_hash_max_size", WEB, 1, 1),
    plain("server_names_hash_bucket_size", &[Http], 1, 1),
    plain("server_tokens", WEB, 1, 1),
    plain("client_max_body_size", WEB, 1, 1),
    plain("client_body_temp_path", WEB, 1, 4),
    plain("proxy_temp_path", WEB, 1, 4),
    plain("fastcgi_temp_path", WEB, 1, 4),
    plain("uwsgi_temp_path", WEB, 1, 4),
    plain("scgi_temp_path", WEB, 1, 4),
    plain("proxy_http_version", WEB, 1, 1),
    plain("proxy_set_header", WEB, 2, 2),
    plain("proxy_connect_timeout", WEB, 1, 1),
    plain("proxy_read_timeout", WEB, 1, 1),
    plain("proxy_send_timeout", WEB, 1, 1),
    plain("proxy_buffering", WEB, 1, 1),
    plain("proxy_next_upstream", WEB, 1, MANY),
];

/// Checks a statement against the table, as nginx does before it looks at the arguments.
pub(super) fn check(statement: &Statement, level: Level) -> Result<(), ConfigError> {
    let name = statement.name();
    let known: Vec<&Directive> = DIRECTIVES.iter().filter(|known| known.name == name).collect();
    let place = &statement.place;
    if known.is_empty() {
        return Err(place.error(format!("unknown directive \"{name}\"")));
    }
    let Some(directive) = known.into_iter().find(|known| known.levels.contains(&level)) else {
        return Err(place.error(format!("\"{name}\" directive is not allowed here")));
    };
    match (directive.block, statement.block.is_some()) {
        (true, false) => {
            return Err(place.error(format!("directive \"{name}\" has no opening \"{{\"")));
        }
        (false, true) => {
            return Err(place.error(format!("directive \"{name}\" is not terminated by \";\"")));
        }
        _ => {}
    }
    let (least, most) = directive.arguments;
    if !(least..=most).contains(&statement.arguments().len()) {
        return Err(place.error(format!("invalid number of arguments in \"{name}\" directive")));
    }
    Ok(())
}
