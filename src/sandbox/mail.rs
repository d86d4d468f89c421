//! A mail server that keeps what it is given: the part of SMTP that a client speaks (RFC 5321, RFC 4954).
//!
//! Nobody may write without logging in. Faults are asked about before each command, with the command as their path, and once
//! more with `message` when a mail's text has come: `mail:lost,path=message` takes the mail and loses the answer.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};

use super::SandboxError;
use super::faults::{Double, Effect, Faults};
use super::kept::Kept;
use super::ledger::Ledger;
use super::wire::{Door, open_stream};

/// The user that may write.
pub const USER: &str = "rollback";
/// The longest line, in bytes.
const LONGEST_LINE: u64 = 1000;
/// The largest mail, in bytes.
const LARGEST: usize = 1 << 20;

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// The subject, as it stands in the header.
    pub subject: String,
    /// All of it, as it came over the wire.
    pub text: String,
}

/// The mail server of a world.
#[derive(Debug, Clone)]
pub struct PostOffice(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ledger: Ledger,
    faults: Option<Faults>,
    password: String,
    mails: Kept<Mail>,
}

impl PostOffice {
    /// Opens it with the mails that its file holds.
    pub fn open(
        path: &Path,
        password: &str,
        ledger: Ledger,
        faults: Option<Faults>,
    ) -> Result<Self, SandboxError> {
        let mails = Kept::open(path)?;
        Ok(Self(Arc::new(Shared { ledger, faults, password: password.to_owned(), mails })))
    }

    /// All mails, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.0.mails.all()
    }

    /// Forgets all mails.
    pub fn clear(&self) -> Result<(), SandboxError> {
        self.0.mails.clear()
    }

    /// Serves on a listener until the door is dropped.
    pub fn serve(&self, listener: TcpListener) -> Door {
        let shared = self.0.clone();
        open_stream(listener, move |stream| {
            let session =
                Session { shared: shared.clone(), known: false, from: None, to: Vec::new() };
            async move {
                if let Err(error) = session.hold(stream).await {
                    tracing::debug!(%error, "a connection to the mail server ended early");
                }
            }
        })
    }
}

/// One connection.
struct Session {
    shared: Arc<Shared>,
    /// Whether the client has logged in.
    known: bool,
    from: Option<String>,
    to: Vec<String>,
}

/// What comes after an answer.
enum Next {
    Command,
    /// The text of a mail.
    Text,
    /// The name and the password of a client, each in base64.
    Login,
    Goodbye,
}

impl Session {
    async fn hold(mut self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufStream::new(stream);
        say(&mut stream, "220 sandbox ESMTP").await?;
        while let Some(line) = read_line(&mut stream).await? {
            let injected = match self.fault(&line).await {
                Some(Effect::Error(code)) => Some(code),
                Some(Effect::Reset | Effect::Lost) => return stream.into_inner().set_zero_linger(),
                Some(Effect::Silence) => std::future::pending().await,
                Some(Effect::Latency(_)) | None => None,
            };
            if let Some(code) = injected {
                say(&mut stream, &format!("{code} injected")).await?;
                continue;
            }
            let (answer, next) = self.command(&line);
            say(&mut stream, &answer).await?;
            match next {
                Next::Command => {}
                Next::Goodbye => return Ok(()),
                Next::Login => {
                    let answer = self.log_in(&mut stream).await?;
                    say(&mut stream, answer).await?;
                }
                Next::Text => {
                    let text = read_text(&mut stream).await?;
                    let (handled, answer) = match self.fault("message").await {
                        Some(Effect::Error(code)) => (false, Some(format!("{code} injected"))),
                        Some(Effect::Reset) => (false, None),
                        Some(Effect::Silence) => std::future::pending().await,
                        Some(Effect::Lost) => (true, None),
                        Some(Effect::Latency(_)) | None => {
                            (true, Some("250 2.0.0 Ok: queued".into()))
                        }
                    };
                    let answer = if handled { self.keep(text).and(answer) } else { answer };
                    match answer {
                        Some(answer) => say(&mut stream, &answer).await?,
                        None => return stream.into_inner().set_zero_linger(),
                    }
                }
            }
        }
        Ok(())
    }

    async fn fault(&self, path: &str) -> Option<Effect> {
        let verdict = self.shared.faults.as_ref()?.decide(Double::Mail, path);
        if verdict.latency > Duration::ZERO {
            tokio::time::sleep(verdict.latency).await;
        }
        verdict.end
    }

    fn command(&mut self, line: &str) -> (String, Next) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => "250-sandbox\r\n250-AUTH PLAIN LOGIN\r\n250-8BITMIME\r\n250 SIZE 1048576",
            "HELO" => "250 sandbox",
            "AUTH" => return self.auth(rest),
            "NOOP" => "250 2.0.0 Ok",
            "RSET" => {
                self.start_anew();
                "250 2.0.0 Ok"
            }
            "QUIT" => return ("221 2.0.0 Bye".to_owned(), Next::Goodbye),
            "MAIL" if !self.known => "530 5.7.0 Authentication required",
            "MAIL" => match address(rest, "FROM:") {
                Some(from) => {
                    self.from = Some(from);
                    "250 2.1.0 Ok"
                }
                None => "501 5.5.4 Syntax: MAIL FROM:<address>",
            },
            "RCPT" if self.from.is_none() => "503 5.5.1 Error: need MAIL command",
            "RCPT" => match address(rest, "TO:") {
                Some(to) if to.ends_with("@nowhere.example") => "550 5.1.1 no such recipient here",
                Some(to) => {
                    self.to.push(to);
                    "250 2.1.5 Ok"
                }
                None => "501 5.5.4 Syntax: RCPT TO:<address>",
            },
            "DATA" if self.to.is_empty() => "503 5.5.1 Error: need RCPT command",
            "DATA" => {
                return ("354 End data with <CR><LF>.<CR><LF>".to_owned(), Next::Text);
            }
            _ => "502 5.5.2 Error: command not recognized",
        };
        (answer.to_owned(), Next::Command)
    }

    /// RFC 4954, the mechanisms PLAIN (RFC 4616, with the response in the command) and LOGIN.
    fn auth(&mut self, rest: &str) -> (String, Next) {
        let (mechanism, response) = rest.split_once(' ').unwrap_or((rest, ""));
        if mechanism.eq_ignore_ascii_case("login") {
            return ("334 VXNlcm5hbWU6".to_owned(), Next::Login);
        }
        let expected = format!("\0{USER}\0{}", self.shared.password);
        self.known = mechanism.eq_ignore_ascii_case("plain") && decoded(response) == expected;
        (welcome(self.known).to_owned(), Next::Command)
    }

    async fn log_in(&mut self, stream: &mut BufStream<TcpStream>) -> io::Result<&'static str> {
        let user = read_line(stream).await?.unwrap_or_default();
        say(stream, "334 UGFzc3dvcmQ6").await?;
        let password = read_line(stream).await?.unwrap_or_default();
        self.known = decoded(&user) == USER && decoded(&password) == self.shared.password;
        Ok(welcome(self.known))
    }

    fn start_anew(&mut self) {
        (self.from, self.to) = (None, Vec::new());
    }

    /// Keeps a mail; whether that went well.
    fn keep(&mut self, text: String) -> Option<()> {
        let mut head = text.lines().take_while(|line| !line.is_empty());
        let subject = head.find_map(|line| line.strip_prefix("Subject: "));
        let mail = Mail {
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            subject: subject.unwrap_or_default().to_owned(),
            text,
        };
        if let Err(error) = self.shared.mails.add(mail) {
            tracing::error!(%error, "failed to keep a mail");
            return None;
        }
        self.shared.ledger.record("mail taken");
        Some(())
    }
}

fn welcome(known: bool) -> &'static str {
    if known {
        "235 2.7.0 Authentication successful"
    } else {
        "535 5.7.8 Error: authentication failed"
    }
}

fn decoded(text: &str) -> String {
    let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// The address between `<` and `>` after this word.
fn address(text: &str, word: &str) -> Option<String> {
    let start = text.get(..word.len())?;
    let rest = text.get(word.len()..)?.trim_start();
    let address = rest.strip_prefix('<')?.split_once('>')?.0;
    start.eq_ignore_ascii_case(word).then(|| address.to_owned())
}

async fn say(stream: &mut BufStream<TcpStream>, answer: &str) -> io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(b"\r\n").await?;
    stream.flush().await
}

/// A line without its end; none at the end of the stream.
async fn read_line(stream: &mut BufStream<TcpStream>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = (&mut *stream).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
    let text = String::from_utf8_lossy(&line);
    Ok((read > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The text of a mail until the line with nothing but a dot, and without the dots that protect others.
async fn read_text(stream: &mut BufStream<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    while let Some(line) = read_line(stream).await? {
        if line == "." {
            return Ok(text);
        }
        if text.len() > LARGEST {
            return Err(io::Error::other("the mail is too large"));
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push('\n');
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(stream: &mut BufStream<TcpStream>, line: &str) -> String {
        say(stream, line).await.unwrap();
        loop {
            let answer = read_line(stream).await.unwrap().unwrap();
            if answer.as_bytes().get(3) != Some(&b'-') {
                return answer;
            }
        }
    }

    #[tokio::test]
    async fn commands_have_their_order_and_a_mail_is_kept_as_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("effects.log")).unwrap();
        let path = dir.path().join("mail.json");
        let office = PostOffice::open(&path, "pa55", ledger.clone(), None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _door = office.serve(listener);
        let mut stream = BufStream::new(TcpStream::connect(address).await.unwrap());
        assert_eq!(read_line(&mut stream).await.unwrap().unwrap(), "220 sandbox ESMTP");
        let plain = |password: &str| BASE64_STANDARD.encode(format!("\0{USER}\0{password}"));
        for (line, code) in [
            ("EHLO client".to_owned(), "250"),
            ("MAIL FROM:<a@example.com>".to_owned(), "530"),
            (format!("AUTH PLAIN {}", plain("wrong")), "535"),
            ("MAIL FROM:<a@example.com>".to_owned(), "530"),
            (format!("AUTH PLAIN {}", plain("pa55")), "235"),
            ("RCPT TO:<b@example.com>".to_owned(), "503"),
            ("MAIL FROM:a@example.com".to_owned(), "501"),
            ("MAIL FROM:<a@example.com> SIZE=10".to_owned(), "250"),
            ("DATA".to_owned(), "503"),
            ("RCPT TO:<x@nowhere.example>".to_owned(), "550"),
            ("rcpt to:<b@example.com>".to_owned(), "250"),
            ("EXPN all".to_owned(), "502"),
            ("DATA".to_owned(), "354"),
            ("Subject: one\r\n\r\nSubject: two\r\n..dot\r\n.".to_owned(), "250"),
            ("QUIT".to_owned(), "221"),
        ] {
            let answer = ask(&mut stream, &line).await;
            assert!(answer.starts_with(code), "{line}: {answer}");
        }
        let again = PostOffice::open(&path, "pa55", ledger.clone(), None).unwrap();
        let expected = Mail {
            from: "a@example.com".into(),
            to: vec!["b@example.com".into()],
            subject: "one".into(),
            text: "Subject: one\n\nSubject: two\n.dot\n".into(),
        };
        assert_eq!(again.mails(), [expected]);
        assert_eq!(ledger.effects()["mail taken"], 1);
    }
}
