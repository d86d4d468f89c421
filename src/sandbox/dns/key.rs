//! The shared key: which updates are signed by it, and the signatures under answers (TSIG, RFC 8945).

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, TsigError, make_tsig_record};
use hickory_proto::rr::{Name, TSigResponseContext, TSigner};

use crate::clock;
use crate::sandbox::SandboxError;

/// How far the clocks may be apart, in seconds.
const FUDGE: u16 = 300;

/// A key of a server.
#[derive(Clone)]
pub struct Key {
    signer: TSigner,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.signer.signer_name())
    }
}

/// What is thought of a message's signature.
pub(super) enum Signed {
    /// It has none.
    Not,
    /// It is good, and this is its code.
    Well(Vec<u8>),
    /// It is not.
    Badly(TsigError),
}

impl Key {
    /// A key with HMAC-SHA256.
    pub fn new(name: &str, secret: &[u8]) -> Result<Self, SandboxError> {
        let wrong = |why: &dyn std::fmt::Display| {
            SandboxError::Process(format!("use the key {name}: {why}"))
        };
        let signer_name = Name::from_ascii(name).map_err(|error| wrong(&error))?;
        let algorithm = TsigAlgorithm::HmacSha256;
        let signer = TSigner::new(secret.to_vec(), algorithm, signer_name, FUDGE);
        Ok(Self { signer: signer.map_err(|error| wrong(&error))? })
    }

    /// Checks the signature of a message.
    pub(super) fn check(&self, message: &Message, bytes: &[u8]) -> Signed {
        let Some(signature) = message.signature() else { return Signed::Not };
        let tsig = &signature.data;
        if signature.name != *self.signer.signer_name()
            || tsig.algorithm != *self.signer.algorithm()
        {
            return Signed::Badly(TsigError::BadKey);
        }
        match self.signer.verify_message_byte(bytes, None, true) {
            Err(_) => Signed::Badly(TsigError::BadSig),
            Ok((_, _, range)) if !range.contains(&now()) => Signed::Badly(TsigError::BadTime),
            Ok((code, _, _)) => Signed::Well(code),
        }
    }

    /// The answer to a message, signed as its signature deserves.
    pub(super) fn sign(
        &self,
        mut answer: Message,
        asked: &Message,
        signed: &Signed,
    ) -> Option<Vec<u8>> {
        let id = answer.metadata.id;
        let context = match signed {
            Signed::Not => return answer.to_vec().ok(),
            Signed::Well(code) => {
                TSigResponseContext::new(id, now(), self.signer.clone(), code.clone(), None)
            }
            Signed::Badly(TsigError::BadTime) => return self.too_late(answer, asked),
            Signed::Badly(TsigError::BadKey) => {
                TSigResponseContext::unknown_key(id, now(), asked.signature()?.name.clone())
            }
            Signed::Badly(_) => TSigResponseContext::bad_signature(id, now(), self.signer.clone()),
        };
        let bytes = answer.to_vec().ok()?;
        answer.set_signature(context.sign(&bytes).ok()?);
        answer.to_vec().ok()
    }

    /// Signed with the time of whoever asked, and with the server's own beside it (RFC 8945 section 5.2.3).
    fn too_late(&self, mut answer: Message, asked: &Message) -> Option<Vec<u8>> {
        let theirs = &asked.signature()?.data;
        let mut other = now().to_be_bytes().to_vec();
        other.drain(..2);
        let stub = TSIG::new(
            self.signer.algorithm().clone(),
            theirs.time,
            FUDGE,
            Vec::new(),
            answer.metadata.id,
            Some(TsigError::BadTime),
            other,
        );
        let bytes = answer.to_vec().ok()?;
        let covered = self.signer.encode_response_tbs(&theirs.mac, &bytes, &stub).ok()?;
        let code = self.signer.sign(&covered).ok()?;
        let name = self.signer.signer_name().clone();
        answer.set_signature(Box::new(make_tsig_record(name, stub.set_mac(code))));
        answer.to_vec().ok()
    }
}

/// The code of an answer to a message with such a signature, if it is refused for it.
pub(super) fn refusal(signed: &Signed) -> Option<ResponseCode> {
    match signed {
        Signed::Not => Some(ResponseCode::Refused),
        Signed::Badly(_) => Some(ResponseCode::NotAuth),
        Signed::Well(_) => None,
    }
}

fn now() -> u64 {
    u64::try_from(clock::now().as_second()).unwrap_or_default()
}
