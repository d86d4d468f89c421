//! The three servers of a world together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::key::{Key, refusal};
use super::resolver::Cache;
use super::server::{Handle, Server, reply};
use super::update::carry_out;
use super::zone::{Zone, Zones};
use crate::sandbox::SandboxError;
use crate::sandbox::faults::{Double, Effect, Faults};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::wire::Door;

/// How often the secondary looks whether the primary is ahead: real ones are told, and look within moments.
const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// How often a port is tried that must be free for both UDP and TCP.
const TRIES: usize = 20;

/// What the servers start with.
#[derive(Debug)]
pub struct Start<'a> {
    /// The folder of their files.
    pub dir: &'a Path,
    /// The key that updates are signed with.
    pub key: Key,
    /// Counts what is changed.
    pub ledger: Ledger,
    /// The faults before them.
    pub faults: Option<Faults>,
}

/// The open sockets of the three servers.
#[derive(Debug)]
pub struct Sockets {
    primary: (TcpListener, UdpSocket),
    secondary: (TcpListener, UdpSocket),
    resolver: (TcpListener, UdpSocket),
}

/// Where the three servers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The one that takes updates.
    pub primary: SocketAddr,
    /// The one that copies it.
    pub secondary: SocketAddr,
    /// The one that asks them and remembers.
    pub resolver: SocketAddr,
}

impl Sockets {
    /// Binds all of them, where they were before if possible.
    pub async fn bind(former: Option<Addresses>) -> Result<Self, SandboxError> {
        Ok(Self {
            primary: pair(former.map(|former| former.primary)).await?,
            secondary: pair(former.map(|former| former.secondary)).await?,
            resolver: pair(former.map(|former| former.resolver)).await?,
        })
    }

    /// Where they are.
    pub fn addresses(&self) -> Result<Addresses, SandboxError> {
        let at = |pair: &(TcpListener, UdpSocket)| pair.0.local_addr().map_err(unbound);
        Ok(Addresses {
            primary: at(&self.primary)?,
            secondary: at(&self.secondary)?,
            resolver: at(&self.resolver)?,
        })
    }
}

fn unbound(source: std::io::Error) -> SandboxError {
    SandboxError::Listen { address: "127.0.0.1".to_owned(), source }
}

/// The same port for both.
async fn pair(former: Option<SocketAddr>) -> Result<(TcpListener, UdpSocket), SandboxError> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut last = None;
    for address in former.into_iter().chain(std::iter::repeat_n(any, TRIES)) {
        let bound = async {
            let tcp = TcpListener::bind(address).await?;
            let udp = UdpSocket::bind(tcp.local_addr()?).await?;
            Ok((tcp, udp))
        };
        match bound.await {
            Ok(pair) => return Ok(pair),
            Err(error) => last = Some(error),
        }
    }
    Err(unbound(last.unwrap_or_else(|| std::io::Error::other("no port was tried"))))
}

/// The servers of a world.
#[derive(Debug, Clone)]
pub struct NameServers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    primary: Mutex<Zones>,
    secondary: Mutex<Zones>,
    cache: Cache,
    key: Key,
    ledger: Ledger,
    faults: Option<Faults>,
    /// Ends the copying with the last of those who know the servers.
    end: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

fn locked(zones: &Mutex<Zones>) -> MutexGuard<'_, Zones> {
    zones.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NameServers {
    /// Opens them with what their files hold.
    pub fn open(start: Start<'_>) -> Result<Self, SandboxError> {
        Ok(Self(Arc::new(Shared {
            primary: Mutex::new(Zones::open(&start.dir.join("zones-primary.json"))?),
            secondary: Mutex::new(Zones::open(&start.dir.join("zones-secondary.json"))?),
            cache: Cache::default(),
            key: start.key,
            ledger: start.ledger,
            faults: start.faults,
            end: CancellationToken::new(),
        })))
    }

    /// Puts zones into this state everywhere, and forgets what was remembered of them.
    pub fn seed(&self, zones: &[Zone]) -> Result<(), SandboxError> {
        for zone in zones {
            let mut fresh = zone.clone();
            let mut primary = locked(&self.0.primary);
            let former = primary.all().iter().find(|other| other.origin == zone.origin);
            fresh.set_serial(former.map_or(1, |former| former.serial().wrapping_add(1)));
            primary.put(fresh.clone())?;
            drop(primary);
            locked(&self.0.secondary).put(fresh)?;
        }
        self.0.cache.clear();
        Ok(())
    }

    /// Replaces all records of a name and type as somebody does who keeps them elsewhere and has them served here.
    pub fn publish(
        &self,
        name: &str,
        ttl: u32,
        kind: &str,
        data: &[String],
    ) -> Result<(), SandboxError> {
        let lines: Vec<String> =
            data.iter().map(|data| format!("{name} {ttl} {kind} {data}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let fresh = Zone::new(name, &lines)?;
        let mut primary = locked(&self.0.primary);
        let Some(zone) = primary.zone_of(&fresh.origin) else { return Ok(()) };
        let mut zone = zone.clone();
        zone.replace(&fresh, kind)?;
        zone.set_serial(zone.serial().wrapping_add(1));
        primary.put(zone)
    }

    /// Whether there are zones yet.
    pub fn is_empty(&self) -> bool {
        locked(&self.0.primary).all().is_empty()
    }

    /// The primary's records, `NAME TTL TYPE DATA`, and what the secondary has not yet.
    pub fn shown(&self) -> Vec<String> {
        let primary: Vec<String> =
            locked(&self.0.primary).all().iter().flat_map(Zone::shown).collect();
        let secondary: Vec<String> =
            locked(&self.0.secondary).all().iter().flat_map(Zone::shown).collect();
        let behind = primary.iter().filter(|line| !secondary.contains(line));
        let behind = behind.map(|line| format!("{line} (not yet on the secondary)"));
        let agreed = primary.iter().filter(|line| secondary.contains(line)).cloned();
        let mut lines: Vec<String> = agreed.chain(behind).collect();
        lines.sort();
        lines
    }

    /// Serves all three until the doors are dropped, and lets the secondary copy.
    pub fn serve(&self, sockets: Sockets) -> Vec<Door> {
        tokio::spawn(copy(Arc::downgrade(&self.0), self.0.end.clone()));
        let server = |word, handle: Handle| Server { word, faults: self.0.faults.clone(), handle };
        let shared = self.0.clone();
        let primary: Handle = Arc::new(move |asked, bytes| shared.primary(asked, bytes));
        let shared = self.0.clone();
        let secondary: Handle = Arc::new(move |asked, bytes| {
            let mut answer = reply(asked);
            if asked.metadata.op_code == OpCode::Query {
                query(&shared.secondary, asked, &mut answer);
                return answer.to_vec().ok();
            }
            // It takes no updates and forwards none.
            let signed = shared.key.check(asked, bytes);
            answer.metadata.response_code = refusal(&signed).unwrap_or(ResponseCode::Refused);
            shared.key.sign(answer, asked, &signed)
        });
        let shared = self.0.clone();
        let resolver: Handle = Arc::new(move |asked, _| shared.resolve(asked).to_vec().ok());
        let mut doors = Vec::new();
        for (word, handle, (tcp, udp)) in [
            ("", primary, sockets.primary),
            ("SECONDARY ", secondary, sockets.secondary),
            ("RESOLVER ", resolver, sockets.resolver),
        ] {
            doors.extend(server(word, handle).serve(tcp, udp));
        }
        doors
    }
}

/// Answers a question from zones.
fn query(zones: &Mutex<Zones>, asked: &Message, answer: &mut Message) {
    match asked.queries.as_slice() {
        [query] => locked(zones).answer(query.name(), query.query_type(), answer),
        _ => answer.metadata.response_code = ResponseCode::FormErr,
    }
}

impl Shared {
    fn primary(&self, asked: &Message, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut answer = reply(asked);
        let signed = self.key.check(asked, bytes);
        match asked.metadata.op_code {
            OpCode::Query => {
                query(&self.primary, asked, &mut answer);
                return answer.to_vec().ok();
            }
            OpCode::Update => {
                let outcome = refusal(&signed).map_or_else(|| self.update(asked), Err);
                answer.metadata.response_code = outcome.err().unwrap_or(ResponseCode::NoError);
            }
            _ => answer.metadata.response_code = ResponseCode::NotImp,
        }
        self.key.sign(answer, asked, &signed)
    }

    fn update(&self, asked: &Message) -> Result<(), ResponseCode> {
        let [zone] = asked.queries.as_slice() else { return Err(ResponseCode::FormErr) };
        if zone.query_type() != RecordType::SOA {
            return Err(ResponseCode::FormErr);
        }
        let mut zones = locked(&self.primary);
        let current = zones.all().iter().find(|known| known.origin == *zone.name());
        let current = current.ok_or(ResponseCode::NotAuth)?;
        let changed = carry_out(current, asked)?;
        if changed.serial() == current.serial() {
            return Ok(());
        }
        let names: Vec<Name> = asked.authorities.iter().map(|record| record.name.clone()).collect();
        zones.put(changed).map_err(|error| {
            tracing::error!(%error, "failed to keep a zone");
            ResponseCode::ServFail
        })?;
        if let Some(name) = names.first() {
            self.ledger.record(&format!("dns update {name}"));
        }
        Ok(())
    }

    fn resolve(&self, asked: &Message) -> Message {
        let mut answer = reply(asked);
        let [query] = asked.queries.as_slice() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer;
        };
        self.cache.answer(query.name(), query.query_type(), &mut answer, |name, kind| {
            let mut told = reply(asked);
            locked(&self.primary).answer(name, kind, &mut told);
            told
        });
        answer
    }
}

/// Copies zones to the secondary as they change, as soon as no fault holds the transfer back.
async fn copy(shared: std::sync::Weak<Shared>, end: CancellationToken) {
    while end.run_until_cancelled(tokio::time::sleep(LOOKS_EVERY)).await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        let zones = locked(&shared.primary).all().to_vec();
        for zone in zones {
            let known = locked(&shared.secondary)
                .all()
                .iter()
                .any(|other| other.origin == zone.origin && other.serial() == zone.serial());
            if known {
                continue;
            }
            let verdict = match &shared.faults {
                Some(faults) => faults.decide(Double::Dns, &format!("TRANSFER {}", zone.origin)),
                None => crate::sandbox::faults::Verdict::default(),
            };
            tokio::time::sleep(verdict.latency).await;
            if !matches!(verdict.end, None | Some(Effect::Latency(_))) {
                continue;
            }
            if let Err(error) = locked(&shared.secondary).put(zone) {
                tracing::error!(%error, "failed to keep the copy of a zone");
            }
        }
    }
}
