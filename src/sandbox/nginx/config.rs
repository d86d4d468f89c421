//! A configuration, checked and ready to serve.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::directives::{Level, check};
pub use super::lexer::ConfigError;
use super::lexer::{Place, Statement, read};

/// What nginx would serve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Where the process id goes.
    pub pid: PathBuf,
    /// Where errors go; without it, to standard error.
    pub error_log: Option<PathBuf>,
    pub(super) upstreams: BTreeMap<String, Vec<Peer>>,
    pub(super) servers: Vec<Server>,
}

/// A server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: String,
    pub(super) weight: usize,
    pub(super) down: bool,
    pub(super) backup: bool,
}

/// A virtual server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Server {
    pub(super) listen: Vec<(SocketAddr, bool)>,
    pub(super) names: Vec<String>,
    pub(super) locations: Vec<Location>,
    pub(super) answer: Scope,
}

/// A location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) exact: bool,
    pub(super) path: String,
    pub(super) answer: Scope,
}

/// What a level says about the answer; what it does not say comes from the level above.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scope {
    pub(super) act: Option<Act>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) default_type: Option<String>,
}

/// Where the answer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Return(u16, String),
    Proxy { upstream: String, path: String },
}

impl Config {
    /// Reads and checks the configuration in `file`; relative paths of logs and the like start at `prefix`.
    pub fn load(file: &Path, prefix: &Path) -> Result<Self, ConfigError> {
        let statements = read(file, file.parent().unwrap_or(Path::new("/")))?;
        let mut config = Self {
            pid: prefix.join("logs/nginx.pid"),
            error_log: Some(prefix.join("logs/error.log")),
            ..Self::default()
        };
        let mut events = false;
        for statement in &statements {
            check(statement, Level::Main)?;
            match statement.name() {
                "pid" => config.pid = prefix.join(&statement.arguments()[0]),
                "error_log" => {
                    let target = &statement.arguments()[0];
                    config.error_log = (target != "stderr").then(|| prefix.join(target));
                }
                "events" => {
                    events = true;
                    block(statement).try_for_each(|inner| check(inner, Level::Events))?;
                }
                "http" => config.http(statement)?,
                _ => {}
            }
        }
        if !events {
            return Err(ConfigError("no \"events\" section in configuration".to_owned()));
        }
        Ok(config)
    }

    /// All addresses to listen on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = self
            .servers
            .iter()
            .flat_map(|server| server.listen.iter().map(|(address, _)| *address))
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    fn http(&mut self, statement: &Statement) -> Result<(), ConfigError> {
        let mut scope = Scope::default();
        // A proxy_pass may name an upstream that is written further down.
        for inner in block(statement) {
            check(inner, Level::Http)?;
            match inner.name() {
                "upstream" => self.upstream(inner)?,
                _ => scope.read(inner)?,
            }
        }
        for inner in block(statement).filter(|inner| inner.name() == "server") {
            let server = self.server(inner, &scope)?;
            self.servers.push(server);
        }
        Ok(())
    }

    fn upstream(&mut self, statement: &Statement) -> Result<(), ConfigError> {
        let name = &statement.arguments()[0];
        if self.upstreams.contains_key(name) {
            return Err(statement.place.error(format!("duplicate upstream \"{name}\"")));
        }
        let mut peers = Vec::new();
        for inner in block(statement) {
            check(inner, Level::Upstream)?;
            if inner.name() == "server" {
                peers.push(peer(inner)?);
            }
        }
        if peers.iter().all(|peer| peer.backup) {
            return Err(statement.place.error(format!("no servers are inside upstream")));
        }
        self.upstreams.insert(name.clone(), peers);
        Ok(())
    }

    fn server(&self, statement: &Statement, above: &Scope) -> Result<Server, ConfigError> {
        let mut server = Server::default();
        for inner in block(statement) {
            check(inner, Level::Server)?;
            match inner.name() {
                "listen" => server.listen.push(listen(inner)?),
                "server_name" => server.names.extend(inner.arguments().iter().cloned()),
                "location" => {}
                _ => server.answer.read(inner)?,
            }
        }
        server.answer.inherit(above);
        for inner in block(statement).filter(|inner| inner.name() == "location") {
            let location = self.location(inner, &server.answer)?;
            let twin =
                |other: &Location| (other.exact, &other.path) == (location.exact, &location.path);
            if server.locations.iter().any(twin) {
                return Err(inner.place.error(format!("duplicate location \"{}\"", location.path)));
            }
            server.locations.push(location);
        }
        if server.listen.is_empty() {
            server.listen.push((SocketAddr::from(([0, 0, 0, 0], 80)), false));
        }
        Ok(server)
    }

    fn location(&self, statement: &Statement, above: &Scope) -> Result<Location, ConfigError> {
        let (exact, path) = match statement.arguments() {
            [path] => (false, path),
            [modifier, path] if modifier == "=" => (true, path),
            [modifier, path] if modifier == "^~" => (false, path),
            [modifier, ..] => {
                return Err(statement
                    .place
                    .error(format!("invalid location modifier \"{modifier}\"")));
            }
            [] => unreachable!("the table of directives asks for an argument"),
        };
        let mut answer = Scope::default();
        for inner in block(statement) {
            check(inner, Level::Location)?;
            if inner.name() == "proxy_pass" {
                answer.act = Some(self.proxy(inner)?);
            } else {
                answer.read(inner)?;
            }
        }
        let own = answer.act.take();
        answer.inherit(above);
        // `return` at the server's level is carried out before a location is looked for.
        answer.act = own;
        Ok(Location { exact, path: path.clone(), answer })
    }

    fn proxy(&self, statement: &Statement) -> Result<Act, ConfigError> {
        let url = &statement.arguments()[0];
        let place = &statement.place;
        let rest = url.strip_prefix("http://").ok_or_else(|| place.error("invalid URL prefix"))?;
        let (upstream, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if !self.upstreams.contains_key(upstream) {
            check_host(upstream, place, "upstream")?;
        }
        Ok(Act::Proxy { upstream: upstream.to_owned(), path: path.to_owned() })
    }
}

impl Scope {
    fn read(&mut self, statement: &Statement) -> Result<(), ConfigError> {
        let arguments = statement.arguments();
        match statement.name() {
            "add_header" => self.headers.push((arguments[0].clone(), arguments[1].clone())),
            "default_type" => self.default_type = Some(arguments[0].clone()),
            "return" => {
                let code = arguments[0].parse().ok().filter(|code| (100..=999).contains(code));
                let code = code.ok_or_else(|| {
                    statement.place.error(format!("invalid return code \"{}\"", arguments[0]))
                })?;
                let text = arguments.get(1).cloned().unwrap_or_default();
                self.act.get_or_insert(Act::Return(code, text));
            }
            _ => {}
        }
        Ok(())
    }

    fn inherit(&mut self, above: &Self) {
        if self.headers.is_empty() {
            self.headers.clone_from(&above.headers);
        }
        if self.default_type.is_none() {
            self.default_type.clone_from(&above.default_type);
        }
    }
}

fn block(statement: &Statement) -> impl Iterator<Item = &Statement> {
    statement.block.iter().flatten()
}

fn peer(statement: &Statement) -> Result<Peer, ConfigError> {
    let (address, parameters) = match statement.arguments() {
        [address, parameters @ ..] => (address, parameters),
        [] => unreachable!("the table of directives asks for an argument"),
    };
    check_host(address, &statement.place, "upstream")?;
    let address = if address.contains(':') { address.clone() } else { format!("{address}:80") };
    let mut peer = Peer { address, weight: 1, down: false, backup: false };
    for parameter in parameters {
        match parameter.split_once('=') {
            None if parameter == "down" => peer.down = true,
            None if parameter == "backup" => peer.backup = true,
            Some(("weight", value)) if value.parse().is_ok_and(|weight: usize| weight > 0) => {
                peer.weight = value.parse().unwrap_or(1);
            }
            Some(("max_fails" | "fail_timeout" | "max_conns", _)) => {}
            _ => {
                return Err(statement.place.error(format!("invalid parameter \"{parameter}\"")));
            }
        }
    }
    Ok(peer)
}

/// The double resolves no names but `localhost`.
fn check_host(address: &str, place: &Place, of: &str) -> Result<(), ConfigError> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
    if port.parse::<u16>().is_err() || port == "0" {
        return Err(place.error(format!("invalid port in {of} \"{address}\"")));
    }
    if host == "localhost" || host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(place.error(format!("host not found in {of} \"{address}\"")))
}

fn listen(statement: &Statement) -> Result<(SocketAddr, bool), ConfigError> {
    let (given, parameters) = match statement.arguments() {
        [given, parameters @ ..] => (given, parameters),
        [] => unreachable!("the table of directives asks for an argument"),
    };
    let place = &statement.place;
    let address = match given.rsplit_once(':') {
        None if given.parse::<u16>().is_ok() => format!("0.0.0.0:{given}"),
        None => format!("{given}:80"),
        Some((host, port)) => {
            format!("{}:{port}", if host == "*" { "0.0.0.0" } else { host })
        }
    };
    let address = address.replace("localhost:", "127.0.0.1:");
    let parsed: SocketAddr = address.parse().map_err(|_| {
        place.error(format!("host not found in \"{given}\" of the \"listen\" directive"))
    })?;
    if let Some(other) =
        parameters.iter().find(|other| !matches!(other.as_str(), "default_server" | "reuseport"))
    {
        return Err(place.error(format!("invalid parameter \"{other}\"")));
    }
    Ok((parsed, parameters.iter().any(|parameter| parameter == "default_server")))
}
