//! `notify.email`: a mail through a mail server.
//!
//! Protocols: RFC 5321, RFC 5322. The `Message-ID` is made from the run and the place in it, so that a mail that came twice is
//! known by it, although no server is obliged to hold it back.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::Message;
use lettre::message::Mailbox;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::delivery::{Delivery, Letter, Manner, PATIENCE, required};
use super::smtp::{DEED, Security, Server, Taken};
use super::text;
use crate::action::{
    ActionError, Connection, Connections, ErrorKind, Evidence, LastWord, Repeat, ResolveContext,
    StepContext, SystemConnection, VerbArgs, VerbKind, Work,
};
use crate::adapters::http::Progress;
use crate::secret::{Secrets, has_marker};

/// The longest subject, in characters: more than any reader shows.
const LONGEST_SUBJECT: usize = 250;
/// The longest text, in characters.
const LONGEST_TEXT: usize = 256 * 1024;

const MANNER: Manner =
    Manner { name: "the mail server", deed: DEED, repeat: Repeat::Never, hint: |_| None };

/// How the mail server is reached, and who writes to whom.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EmailConnection {
    /// The server's name or address, perhaps with a port behind a colon; else 465 with `tls`, 587 with `starttls`, 25 with `none`.
    server: String,
    /// How the connection is protected; `none` is for a server on this machine alone.
    #[serde(default)]
    security: Security,
    /// A PEM file with a certificate authority that is trusted beside those of the system.
    ca: Option<PathBuf>,
    /// The user to log in as.
    username: Option<String>,
    /// The user's password, by reference: `{variable: SMTP_PASSWORD}`.
    password: Option<String>,
    /// The sender: `rollback@example.com` or `Rollback <rollback@example.com>`.
    from: String,
    /// The recipients of mails that name none.
    #[serde(default)]
    to: Vec<String>,
}

impl SystemConnection for EmailConnection {
    const KEY: &'static str = "email";
}

/// The block of an environment.
pub(super) fn connection() -> Connection {
    Connection::of::<EmailConnection>("A mail server (SMTP), for `notify.email`")
        .reached_by(|connections| Box::pin(reach(connections)))
}

/// Sends a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmailArgs {
    /// The subject. A line break in it becomes a space.
    #[schemars(length(min = 1, max = LONGEST_SUBJECT))]
    subject: String,
    /// The text.
    #[schemars(length(min = 1, max = LONGEST_TEXT))]
    text: String,
    /// The recipients; those of the connection `email` when there are none.
    #[serde(default)]
    to: Vec<String>,
}

#[async_trait]
impl VerbArgs for EmailArgs {
    const NAME: &'static str = "notify.email";
    const SUMMARY: &'static str = "Sends a mail";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = PATIENCE;
    const CONNECTION: Option<&'static str> = Some(EmailConnection::KEY);
    const LAST_WORD: Option<LastWord> = Some(
        |ending| json!({"subject": text::cut(&ending.headline, LONGEST_SUBJECT), "text": ending.text}),
    );
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        text::check("subject", &self.subject, LONGEST_SUBJECT)?;
        text::check("text", &self.text, LONGEST_TEXT)?;
        let named = self.to.iter().filter(|address| !has_marker(address));
        named.map(|address| mailbox(address)).try_for_each(|parsed| parsed.map(drop))
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        let post = post_office(&cx.connections)?;
        let to = if self.to.is_empty() { post.to.clone() } else { self.to };
        if to.is_empty() {
            return Err(ActionError::new(ErrorKind::NotFound, "find whom to send the mail")
                .hint("Name the recipients with `to` in the step, or in the connection `email`."));
        }
        Ok(vec![(String::new(), Self { to, ..self })])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let mail = Mail { args: item, connections: cx.connections.clone() };
        Ok(Work::Action(Box::new(Delivery(mail))))
    }
}

/// Reads an address. The problem repeats it only on one line.
fn mailbox(address: &str) -> Result<Mailbox, String> {
    let shown = || format!("`{}` is no mail address", text::one_line(address));
    let mailbox: Mailbox = address.parse().map_err(|_| shown())?;
    // The two letters that tell a server of other alphabets are an extension that not every one has.
    if mailbox.email.to_string().is_ascii() { Ok(mailbox) } else { Err(shown()) }
}

/// A mail server with the sender and the usual recipients.
struct PostOffice {
    server: Server,
    from: Mailbox,
    to: Vec<String>,
}

impl PostOffice {
    fn of(settings: EmailConnection, secrets: &Secrets) -> Result<Self, ActionError> {
        let invalid = |why: String| {
            ActionError::new(ErrorKind::Invalid, format!("read the connection `email`: {why}"))
        };
        let server = secrets.reveal(&settings.server);
        let (host, port) = place(server.expose_secret(), settings.security).map_err(invalid)?;
        if settings.security == Security::None && !is_this_machine(&host) {
            return Err(invalid("`security: none` is for a server on this machine alone".into()));
        }
        let login = match (settings.username, settings.password) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            _ => return Err(invalid("`username` and `password` belong together".into())),
        };
        let from = secrets.reveal(&settings.from);
        let from = mailbox(from.expose_secret()).map_err(invalid)?;
        let server = Server::new((host, port), settings.security, settings.ca.as_ref(), login)?;
        Ok(Self { server, from, to: settings.to })
    }
}

/// The host and the port of `name`, `name:port`, `address`, `[address]:port`.
fn place(server: &str, security: Security) -> Result<(String, u16), String> {
    let usual = || (server.to_owned(), security.port());
    if server.parse::<IpAddr>().is_ok() {
        return Ok(usual());
    }
    let Some((host, port)) = server.rsplit_once(':') else { return Ok(usual()) };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = port.parse().map_err(|_| "`server` has a port that is no number".to_owned())?;
    Ok((host, port))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn post_office(connections: &Connections) -> Result<Arc<PostOffice>, ActionError> {
    let example = "{server: smtp.example.com, from: rollback@example.com}";
    required::<EmailConnection>(connections, example)?;
    connections.client::<EmailConnection, _, _>(PostOffice::of)
}

/// Connects and logs in, which sends nothing.
async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let post = post_office(connections)?;
    let mut connection = post.server.connect(connections.secrets()).await?;
    // It has answered; how it takes the goodbye changes nothing.
    let _goodbye = connection.quit().await;
    Ok(format!("{}:{} speaks SMTP", post.server.host, post.server.port))
}

struct Mail {
    args: EmailArgs,
    connections: Arc<Connections>,
}

impl Mail {
    /// The mail as it goes over the wire.
    fn written(&self, from: &Mailbox, cx: &StepContext) -> Result<Message, ActionError> {
        let invalid =
            |why: String| ActionError::new(ErrorKind::Invalid, format!("write the mail: {why}"));
        let id = text::ascii(&format!("{}.{}", cx.run(), cx.place()));
        let id = id.replace(['<', '>', '@'], "-");
        let mut mail = Message::builder()
            .from(from.clone())
            .subject(text::one_line(&self.args.subject))
            .message_id(Some(format!("<{id}@{}>", from.email.domain())));
        for address in &self.args.to {
            let address = self.connections.secrets().reveal(address);
            mail = mail.to(mailbox(address.expose_secret()).map_err(invalid)?);
        }
        mail.body(text::printable(&self.args.text)).map_err(|error| invalid(error.to_string()))
    }
}

#[async_trait]
impl Letter for Mail {
    fn manner(&self) -> Manner {
        MANNER
    }

    fn describe(&self) -> String {
        let to = crate::secret::hide_markers(&self.args.to.join(", "));
        format!("mail {to}: {}", text::brief(&self.args.subject))
    }

    fn ready(&self) -> Result<(), ActionError> {
        post_office(&self.connections).map(drop)
    }

    async fn send(&self, cx: &StepContext, progress: &Progress) -> Result<Evidence, ActionError> {
        let post = post_office(&self.connections)?;
        let mail = self.written(&post.from, cx)?;
        let secrets = self.connections.secrets();
        let (envelope, mail) = (mail.envelope(), mail.formatted());
        let Taken { word, refused } =
            post.server.hand_over(envelope, &mail, secrets, progress).await?;
        if refused.is_empty() {
            return Ok(Evidence::new(format!("the mail server took the mail ({word})")));
        }
        let refused = refused.join(", ");
        Ok(Evidence::new(format!("the mail server took the mail ({word}), but not for {refused}")))
    }
}
