//! Dynamic updates (RFC 2136), signed with a shared key (TSIG, RFC 8945).
//!
//! An update says what must be there before it, so that the server itself compares and sets. It guards the records of the one type that is
//! changed. What a server may not store (a CNAME beside other records) it leaves out and still answers NOERROR (section 3.4.2.2),
//! so an answer is no proof.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, TsigError};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType, TSigVerifier, TSigner};
use secrecy::ExposeSecret;

use super::keeper::{Change, Held, Keeper, Noted};
use crate::action::{ActionError, ErrorKind, StepContext};
use crate::adapters::dns::client::patience;
use crate::adapters::dns::connection::{Algorithm, Key, Rfc2136, Server, invalid};
use crate::adapters::dns::lookup::{Source, unread, zone_of};
use crate::adapters::dns::name::{DomainName, Kind, shown};
use crate::adapters::dns::reading::{Unread, beside, read};
use crate::adapters::dns::wire::{self, Patience, Trouble};
use crate::clock;
use crate::secret::Secrets;
use crate::value::brief;

/// How far the clocks of both sides may be apart, in seconds (RFC 8945 section 10 recommends it).
const FUDGE: u16 = 300;

/// A server that takes updates.
pub(in crate::adapters::dns) struct Updates {
    server: Server,
    zone: Option<DomainName>,
    key: DomainName,
    signer: TSigner,
}

impl Updates {
    pub(in crate::adapters::dns) fn new(
        settings: &Rfc2136,
        secrets: &Secrets,
    ) -> Result<Self, ActionError> {
        let signer = signer(&settings.key, secrets)?;
        Ok(Self {
            server: settings.server.clone(),
            zone: settings.zone.clone(),
            key: settings.key.name.clone(),
            signer,
        })
    }

    async fn zone(
        &self,
        source: &Source,
        name: &DomainName,
        patience: &Patience,
    ) -> Result<DomainName, ActionError> {
        match &self.zone {
            Some(zone) if name.is_in(zone) => Ok(zone.clone()),
            Some(zone) => Err(invalid(format!("{name} does not lie in its zone {zone}"))),
            None => zone_of(std::slice::from_ref(source), name, patience).await,
        }
    }

    /// Sends an update and tells what the server made of it: `NoError`, or the prerequisite that does not hold.
    async fn send(
        &self,
        source: &Source,
        mut update: Message,
        patience: &Patience,
        doing: &str,
    ) -> Result<ResponseCode, ActionError> {
        let now = u64::try_from(clock::now().as_second()).unwrap_or_default();
        let unsigned = |why: &dyn std::fmt::Display| invalid(format!("sign an update: {why}"));
        let verifier = update.finalize(&self.signer, now).map_err(|error| unsigned(&error))?;
        let bytes = update.to_vec().map_err(|error| unsigned(&error))?;
        let mut last = Trouble::Unreachable("it has no address".to_owned());
        for address in &source.addresses {
            match wire::over_tcp(*address, &bytes, patience).await {
                Ok(answer) => return self.judge(&update, verifier, &answer, doing),
                Err(trouble @ Trouble::Unreachable(_)) => last = trouble,
                Err(trouble) => return Err(unsent(&trouble, doing)),
            }
        }
        Err(unsent(&last, doing))
    }

    fn judge(
        &self,
        update: &Message,
        verifier: Option<TSigVerifier>,
        bytes: &[u8],
        doing: &str,
    ) -> Result<ResponseCode, ActionError> {
        let answer = wire::read(bytes).map_err(|trouble| unsent(&trouble, doing))?;
        if answer.metadata.id != update.metadata.id {
            return Err(unsent(&Trouble::Garbled("it answers another message".into()), doing));
        }
        let code = answer.metadata.response_code;
        let tsig = answer.signature().map(|signature| &signature.data);
        let error = tsig.and_then(|tsig| tsig.error);
        let refusal = match tsig.zip(error) {
            Some((tsig, error)) => Some(self.key_refused(error, tsig, doing)),
            None => self.refusal(code, doing),
        };
        // What decides about the change must come from the server that shares the key. One that knows no such key, or cannot verify by
        // it, has nothing to sign with (RFC 8945 section 5.3.2).
        let unsigned_by_nature = matches!(error, Some(TsigError::BadKey | TsigError::BadSig));
        if unsigned_by_nature || verifier.is_some_and(|mut it| it.verify(bytes).is_ok()) {
            return refusal.map_or(Ok(code), Err);
        }
        // Anybody on the way may have written it, and may have let the update pass.
        let mut doubt = refusal.unwrap_or_else(|| {
            ActionError::new(ErrorKind::Unknown, format!("{doing}: it answers {code}"))
                .retryable(true)
        });
        doubt.kind = ErrorKind::Unknown;
        doubt.message += &format!(
            ", in an answer that is not signed by the key `{}`, so whether it was done is not known",
            self.key
        );
        Err(doubt)
    }

    /// Whether the server still says what it said before the change.
    async fn is_unchanged(
        &self,
        source: &Source,
        change: &Change<'_>,
        patience: &Patience,
    ) -> bool {
        let now = read(source, change.name, change.kind, false, patience).await;
        let former = &change.from.exact;
        now.is_ok_and(|now| {
            now.data.len() == former.len() && now.data.iter().all(|data| former.contains(data))
        })
    }

    /// A refusal of an update as a whole: nothing was done.
    fn refusal(&self, code: ResponseCode, doing: &str) -> Option<ActionError> {
        let (key, server) = (&self.key, &self.server);
        let told = |kind, text: String| ActionError::new(kind, format!("{doing}: {text}"));
        Some(match code {
            ResponseCode::NoError
            | ResponseCode::NXDomain
            | ResponseCode::YXDomain
            | ResponseCode::NXRRSet
            | ResponseCode::YXRRSet => return None,
            ResponseCode::Refused => {
                told(ErrorKind::Denied, format!("{server} refuses updates by the key `{key}`"))
                    .hint("Grant it in the zone's `update-policy` or `allow-update` on the server.")
            }
            ResponseCode::NotAuth | ResponseCode::NotZone => {
                told(ErrorKind::Invalid, format!("{server} is not the primary of this zone ({code})"))
                    .hint("Name the zone's primary server, and its `zone`, in `connections: {dns: {rfc2136: …}}`.")
            }
            ResponseCode::NotImp => {
                told(ErrorKind::Invalid, format!("{server} takes no updates ({code})"))
                    .hint("Name a server that does in `connections: {dns: {rfc2136: {server: …}}}`.")
            }
            ResponseCode::ServFail => {
                told(ErrorKind::Failed, format!("{server} answers {code}")).retryable(true)
            }
            code => told(ErrorKind::Failed, format!("{server} answers {code}")),
        })
    }

    /// The server does not accept the signature.
    fn key_refused(&self, error: TsigError, tsig: &TSIG, doing: &str) -> ActionError {
        let (key, server) = (&self.key, &self.server);
        let (why, hint) = match error {
            TsigError::BadKey => (
                "BADKEY: it knows no key of this name and algorithm".to_owned(),
                "Compare `name` and `algorithm` of the key with the server's configuration.",
            ),
            TsigError::BadSig => (
                "BADSIG: the signature is not that of its key".to_owned(),
                "Compare the key's `secret` with the server's: both are base64, and of the same algorithm.",
            ),
            TsigError::BadTime => (
                format!("BADTIME: {}", apart(tsig)),
                "Set the clock of this machine, or that of the server: they may be 5 minutes apart.",
            ),
            other => (
                format!("TSIG error {}", u16::from(other)),
                "Compare the key with the server's configuration.",
            ),
        };
        let text = format!("{doing}: {server} rejects the key `{key}` ({why})");
        ActionError::new(ErrorKind::Denied, text)
            .hint(hint)
            .hint("The key is `connections: {dns: {rfc2136: {key: …}}}` in the environment file.")
    }
}

/// How far apart the clocks are, as the server tells it (RFC 8945 section 5.2.3).
fn apart(tsig: &TSIG) -> String {
    let server = match tsig.other.as_slice() {
        [0, 0, time @ ..] => <[u8; 4]>::try_from(time).ok().map(u32::from_be_bytes),
        _ => None,
    };
    let Some(server) = server else { return "the clocks are too far apart".to_owned() };
    let ahead = i64::from(server) - clock::now().as_second();
    let word = if ahead > 0 { "ahead of" } else { "behind" };
    let by = brief(Duration::from_secs(ahead.unsigned_abs()));
    format!("its clock is {by} {word} this machine's")
}

fn signer(key: &Key, secrets: &Secrets) -> Result<TSigner, ActionError> {
    let secret = secrets.reveal(&key.secret);
    // No cause is told, since it could repeat what was read.
    let bytes = BASE64_STANDARD.decode(secret.expose_secret().trim()).map_err(|_| {
        invalid("`rfc2136.key.secret` is not base64")
            .hint("Give the secret as it stands in the server's key file, such as `tsig-keygen` writes it.")
    })?;
    let algorithm = match key.algorithm {
        Algorithm::Sha256 => TsigAlgorithm::HmacSha256,
        Algorithm::Sha384 => TsigAlgorithm::HmacSha384,
        Algorithm::Sha512 => TsigAlgorithm::HmacSha512,
    };
    let name = key.name.on_the_wire().map_err(invalid)?;
    TSigner::new(bytes, algorithm, name, FUDGE).map_err(invalid)
}

#[async_trait]
impl Keeper for Updates {
    fn place(&self) -> String {
        self.server.to_string()
    }

    fn is_public(&self) -> bool {
        true
    }

    async fn held(
        &self,
        cx: &StepContext,
        name: &DomainName,
        kind: Kind,
    ) -> Result<Held, ActionError> {
        let patience = patience(cx);
        let source = Source::of(&self.server, &patience).await?;
        let found = read(&source, name, kind, false, &patience).await.map_err(|why| {
            let doing = format!("ask {} for {kind} {name}", self.server);
            match why {
                Unread::Trouble(trouble) => unread(&trouble, &doing),
                Unread::Refused(why) => {
                    ActionError::new(ErrorKind::Failed, format!("{doing}: {why}")).hint(
                        "It must serve the zone: see `connections: {dns: {rfc2136: {server: …}}}`.",
                    )
                }
            }
        })?;
        let beside = match &found.set {
            Some(_) => None,
            None => beside(&source, name, kind, &patience).await,
        };
        Ok(Held {
            kept_for: found.kept_for(),
            set: found.set,
            exact: found.data,
            beside,
            ..Held::default()
        })
    }

    async fn change(&self, cx: &StepContext, change: &Change<'_>) -> Result<(), ActionError> {
        let patience = patience(cx);
        let source = Source::of(&self.server, &patience).await?;
        let zone = self.zone(&source, change.name, &patience).await?;
        let doing = format!("set {} to {}", change.name, shown(change.kind, change.to));
        let message = update(&zone, change).map_err(invalid)?;
        let mut code = self.send(&source, message, &patience, &doing).await?;
        if code == ResponseCode::NXRRSet && self.is_unchanged(&source, change, &patience).await {
            // The server answers for the name and has no such records there, as under a wildcard (RFC 4592).
            if let Some(found) = &change.from.set {
                Noted::Wildcard(found).down(cx).await?;
            }
            let from = &Held::default();
            let message = update(&zone, &Change { from, ..*change }).map_err(invalid)?;
            code = self.send(&source, message, &patience, &doing).await?;
        }
        if code == ResponseCode::NoError {
            return Ok(());
        }
        let text = format!("{doing}: the records are others by now ({code})");
        Err(ActionError::new(ErrorKind::Conflict, text)
            .hint("Look who changes them, then run it again."))
    }
}

/// The update message: what must be there, what goes, what comes (RFC 2136 section 2).
fn update(zone: &DomainName, change: &Change<'_>) -> Result<Message, String> {
    let (name, kind) = (change.name.on_the_wire()?, change.kind.on_the_wire());
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(zone.on_the_wire()?, RecordType::SOA));
    if change.from.exact.is_empty() {
        message.add_answer(without_data(&name, kind, DNSClass::NONE));
    } else {
        for data in &change.from.exact {
            message.add_answer(Record::from_rdata(name.clone(), 0, data.clone()));
        }
        message.add_authority(without_data(&name, kind, DNSClass::ANY));
    }
    if let Some(set) = change.to {
        for datum in &set.values {
            let data = datum.on_the_wire(change.kind)?;
            message.add_authority(Record::from_rdata(name.clone(), set.ttl, data));
        }
    }
    Ok(message)
}

fn without_data(name: &Name, kind: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(name.clone(), 0, kind);
    record.dns_class = class;
    record
}

/// The error of an update without an answer.
fn unsent(trouble: &Trouble, doing: &str) -> ActionError {
    match trouble {
        Trouble::NoAnswer(why) => {
            ActionError::new(ErrorKind::Unknown, format!("learn what became of it: {doing}: {why}"))
                .retryable(true)
        }
        Trouble::Garbled(_) | Trouble::Cancelled { sent: true } => ActionError::new(
            ErrorKind::Unknown,
            format!("learn what became of it: {doing}: {trouble}"),
        )
        .retryable(true),
        Trouble::Unreachable(_) | Trouble::Late | Trouble::Cancelled { sent: false } => {
            unread(trouble, doing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_the_clocks_is_told_where_the_server_tells_its_time() {
        let tsig = |other: Vec<u8>| {
            let error = Some(TsigError::BadTime);
            TSIG::new(TsigAlgorithm::HmacSha256, 0, FUDGE, Vec::new(), 1, error, other)
        };
        let at = |ahead: i64| {
            let time = u64::try_from(clock::now().as_second() + ahead).unwrap();
            apart(&tsig(time.to_be_bytes()[2..].to_vec()))
        };
        assert!(at(3630).starts_with("its clock is 1h"), "{}", at(3630));
        assert!(at(3630).ends_with("ahead of this machine's"));
        assert!(at(-3630).ends_with("behind this machine's"));
        assert_eq!(apart(&tsig(Vec::new())), "the clocks are too far apart");
    }
}
