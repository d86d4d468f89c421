//! The proof that a configuration is live: its own small server answers with its hash.
//!
//! Each question is a connection of its own, because a kept one would reach the worker that accepted it, which may be an old
//! one that is finishing.

use std::net::SocketAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How many answers in a row prove it, since old workers may still accept for a moment.
pub(super) const ENOUGH: u32 = 3;
/// The longest wait for one answer of a server on loopback.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most that is read of an answer.
const MOST_BYTES: u64 = 1024;
const MARK: &str = "rollback ";

/// Where a configuration answers, and with which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    address: SocketAddr,
    line: String,
}

/// What a proof address said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Live {
    /// A line of a configuration that this program wrote: `rollback NAME SIDE HASH`.
    Line(String),
    /// Nothing of ours, in words.
    Other(String),
    /// No answer at all, in words.
    Silent(String),
}

/// Why a proof does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unproved {
    /// It was answered, and not with this proof.
    Answered(String),
    /// Nothing answers.
    Silent(String),
}

impl Unproved {
    /// The words.
    pub(super) fn text(self) -> String {
        let (Self::Answered(text) | Self::Silent(text)) = self;
        text
    }
}

impl Proof {
    /// The proof of this content.
    pub(super) fn new(address: SocketAddr, name: &str, side: &str, content: &Sha256) -> Self {
        let digest = content.clone().finalize();
        let short = digest.iter().take(8).fold(0, |short: u64, byte| short << 8 | u64::from(*byte));
        Self { address, line: format!("{MARK}{name} {side} {short:016x}") }
    }

    /// The proof that a file's former text would give at the same address, if this program wrote it.
    pub(super) fn in_text(text: &str, address: SocketAddr) -> Option<Self> {
        if !text.contains(&format!("listen {address};")) {
            return None;
        }
        let (_, rest) = text.rsplit_once(&format!("return 200 \"{MARK}"))?;
        let (tail, _) = rest.split_once('"')?;
        Some(Self { address, line: format!("{MARK}{tail}") })
    }

    /// The line that it answers with.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// The address that is asked.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server that gives the proof, as nginx configuration.
    pub(super) fn server_block(&self) -> String {
        format!(
            "server {{\n    listen {};\n    location / {{\n        return 200 \"{}\";\n    }}\n}}\n",
            self.address, self.line
        )
    }

    /// Asks until [`ENOUGH`] answers in a row were this proof's line, or one was not.
    pub(super) async fn holds(&self, deadline: Instant) -> Result<(), Unproved> {
        let at = self.address;
        for _ in 0..ENOUGH {
            match ask(self.address, deadline).await {
                Live::Line(line) if line == self.line => {}
                Live::Line(line) => {
                    return Err(Unproved::Answered(format!("{at} answers `{line}`")));
                }
                Live::Other(seen) => return Err(Unproved::Answered(format!("{at} {seen}"))),
                Live::Silent(seen) => return Err(Unproved::Silent(format!("{at} {seen}"))),
            }
        }
        Ok(())
    }

    /// Asks until [`ENOUGH`] answers in a row were not this proof's line, or one was.
    pub(super) async fn is_gone(&self, deadline: Instant) -> Result<(), String> {
        for _ in 0..ENOUGH {
            if ask(self.address, deadline).await == Live::Line(self.line.clone()) {
                return Err(format!("{} still answers `{}`", self.address, self.line));
            }
        }
        Ok(())
    }
}

/// Asks a proof address once.
pub(super) async fn ask(address: SocketAddr, deadline: Instant) -> Live {
    let until = deadline.min(Instant::now() + PATIENCE);
    match tokio::time::timeout_at(until, converse(address)).await {
        Ok(Ok(answer)) if answer.is_empty() => {
            Live::Silent("hangs up without an answer".to_owned())
        }
        Ok(Ok(answer)) => read(&answer),
        Ok(Err(error)) => Live::Silent(format!("does not answer ({error})")),
        Err(_) => Live::Silent("does not answer in time".to_owned()),
    }
}

async fn converse(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let _length = stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Live {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.starts_with("HTTP/1.1 200") && body.starts_with(MARK) && body.bytes().all(plain) {
        Live::Line(body.to_owned())
    } else {
        Live::Other("answers with something else than a proof".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_names_its_own_proof() {
        let address = "127.0.0.1:8099".parse().unwrap();
        let proof = Proof::new(address, "agents", "blue", &Sha256::new());
        assert_eq!(proof.line(), "rollback agents blue e3b0c44298fc1c14");
        let text = format!("upstream agents {{ }}\n{}", proof.server_block());
        assert_eq!(Proof::in_text(&text, address), Some(proof));
        assert_eq!(Proof::in_text(&text, "127.0.0.1:8098".parse().unwrap()), None);
        assert_eq!(Proof::in_text("upstream agents { server a:1; }", address), None);
    }

    #[test]
    fn only_a_line_of_ours_counts() {
        let line = |text: &str| read(text.as_bytes());
        assert_eq!(
            line("HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\nrollback agents blue 12"),
            Live::Line("rollback agents blue 12".to_owned())
        );
        for other in [
            "",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "HTTP/1.1 502 Bad Gateway\r\n\r\nrollback agents blue 12",
            "HTTP/1.1 200 OK\r\n\r\nrollback \u{1b}[31m",
        ] {
            assert!(matches!(line(other), Live::Other(_)), "{other:?} was taken as a proof");
        }
    }
}
