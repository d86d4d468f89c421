//! The faults, and what each does on the wire of each protocol.

use super::server::{Act, Wire};
use crate::support::dice::Dice;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The host's name does not resolve.
    NoName,
    /// Nobody listens.
    Refused,
    /// The request is taken, and nothing follows.
    Silence,
    /// A reset instead of an answer.
    Reset,
    /// A reset before the answer has said what it is.
    ResetInHead,
    /// A reset in the middle of a good answer's body.
    ResetInBody,
    /// A good answer, one byte a second.
    SlowLoris,
    /// The server's half of the connection ends, ours stays open.
    HalfClose,
    /// Bytes that mean nothing.
    Garbage,
    /// A good answer of 100 MB.
    Flood,
    /// A redirect to the same place.
    RedirectLoop,
    /// A redirect to a file of this machine.
    RedirectToFile,
    /// A redirect to another server, which must not get the credentials.
    RedirectElsewhere,
    /// 429, with this `Retry-After`; then a good answer.
    TooMany(Wait),
    /// An error status.
    Status(u16),
}

/// What `Retry-After` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Second,
    Ages,
    UntilLate,
    Nonsense,
}

impl Wait {
    fn header(self) -> &'static str {
        match self {
            Self::Second => "1",
            Self::Ages => "1000000000",
            Self::UntilLate => "Fri, 31 Dec 2199 23:59:59 GMT",
            Self::Nonsense => "soon-ish",
        }
    }
}

/// How many bytes a flood has.
pub(super) const FLOOD: usize = 100 << 20;

impl Fault {
    /// Whether a server is there to be asked.
    pub(super) fn is_heard(self) -> bool {
        !matches!(self, Self::NoName | Self::Refused)
    }

    /// Whether only the end of the time ends the attempt.
    pub(super) fn is_endless(self) -> bool {
        matches!(self, Self::Silence | Self::SlowLoris)
    }

    /// What the server does with one request after the other, the last for all that follow; `elsewhere` is another server.
    pub(super) fn acts(self, wire: Wire, elsewhere: &str, dice: &mut Dice) -> Vec<Act> {
        let whole = wire.good_answer();
        let cut = |from: usize, to: usize, dice: &mut Dice| {
            whole[..from + dice.below(to - from)].to_vec()
        };
        let redirect = |place: &str| {
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            Act::Say(head.into_bytes())
        };
        let one = match self {
            Self::NoName | Self::Refused => return Vec::new(),
            Self::Silence => Act::Silence,
            Self::Reset => Act::Reset(Vec::new()),
            Self::ResetInHead => Act::Reset(cut(1, wire.head(), dice)),
            Self::ResetInBody => Act::Reset(cut(wire.head(), whole.len(), dice)),
            Self::SlowLoris => Act::Drip(whole),
            Self::HalfClose => Act::Say(Vec::new()),
            Self::Garbage => Act::Say(garbage(dice)),
            Self::Flood => Act::Flood(wire.head_of(FLOOD)),
            Self::RedirectLoop => redirect("/"),
            Self::RedirectToFile => redirect("file:///etc/passwd"),
            Self::RedirectElsewhere => redirect(elsewhere),
            Self::TooMany(wait) => {
                return vec![
                    Act::Say(status(429, &format!("Retry-After: {}\r\n", wait.header()))),
                    Act::Say(whole),
                ];
            }
            Self::Status(code) => Act::Say(status(code, "")),
        };
        vec![one]
    }
}

/// Bytes of which the first begins no message of any protocol here.
fn garbage(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = vec![0x80 | dice.byte()];
    bytes.extend((0..16 + dice.below(400)).map(|_| dice.byte()));
    bytes
}

fn status(code: u16, header: &str) -> Vec<u8> {
    let body = r#"{"message":"no \u001b[31m"}"#;
    format!(
        "HTTP/1.1 {code} Told\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{header}\r\n{body}",
        body.len()
    )
    .into_bytes()
}
