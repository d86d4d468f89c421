//! The way to a mail server (RFC 5321), step by step: until the server has been given the text, nothing can have arrived.

use std::path::{Path, PathBuf};

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;

use schemars::JsonSchema;
use serde::Deserialize;

use super::delivery::{PATIENCE, doubt};
use crate::action::{ActionError, ErrorKind};
use crate::adapters::http::{Progress, quoted};
use crate::secret::Secrets;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Security {
    /// TLS from the first byte (port 465).
    Tls,
    /// A plain connection that has to turn to TLS before anything is said (port 587).
    #[default]
    StartTls,
    /// None (port 25), for a server on this machine alone.
    None,
}

impl Security {
    /// The usual port.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Tls => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

/// A mail server.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    security: Security,
    tls: Option<TlsParameters>,
    /// Read anew for each connection, since they hold secrets.
    pub(super) login: Option<(String, String)>,
}

/// What became of a mail that was taken.
pub(super) struct Taken {
    /// The server's word.
    pub(super) word: String,
    /// The recipients that it does not want, with its reason.
    pub(super) refused: Vec<String>,
}

impl Server {
    /// A server, with the certificate authorities that its connection needs.
    pub(super) fn new(
        (host, port): (String, u16),
        security: Security,
        ca: Option<&PathBuf>,
        login: Option<(String, String)>,
    ) -> Result<Self, ActionError> {
        let tls = match security {
            Security::None => None,
            Security::Tls | Security::StartTls => Some(tls(&host, ca)?),
        };
        Ok(Self { host, port, security, tls, login })
    }

    /// Where it is, for people.
    fn place(&self) -> String {
        format!("the mail server {}:{}", self.host, self.port)
    }

    /// Connects, and logs in if there are credentials. Nothing is sent.
    pub(super) async fn connect(
        &self,
        secrets: &Secrets,
    ) -> Result<AsyncSmtpConnection, ActionError> {
        let from_the_first = self.tls.clone().filter(|_| self.security == Security::Tls);
        let hello = ClientId::default();
        let address = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            address,
            Some(PATIENCE),
            &hello,
            from_the_first,
            None,
        )
        .await
        .map_err(|error| self.unreachable(&error, secrets))?;
        if self.security == Security::StartTls
            && let Some(tls) = self.tls.clone()
        {
            let turned = connection.starttls(tls, &hello).await;
            turned.map_err(|error| self.unreachable(&error, secrets))?;
        }
        if let Some((user, password)) = &self.login {
            use secrecy::ExposeSecret as _;
            let credentials = Credentials::new(
                secrets.reveal(user).expose_secret().to_owned(),
                secrets.reveal(password).expose_secret().to_owned(),
            );
            let known = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
            known.map_err(|error| {
                if error.is_permanent() || error.is_client() {
                    let text = format!("log in to {}", self.place());
                    return quoting(ActionError::new(ErrorKind::Denied, text), &error, secrets);
                }
                self.unreachable(&error, secrets)
            })?;
        }
        Ok(connection)
    }

    /// Hands a mail over. A recipient that the server does not want keeps it from no other.
    pub(super) async fn hand_over(
        &self,
        envelope: &Envelope,
        mail: &[u8],
        secrets: &Secrets,
        progress: &Progress,
    ) -> Result<Taken, ActionError> {
        progress.hold();
        let mut connection = self.connect(secrets).await?;
        let refusal = |error: Error| self.refusal(&error, secrets);
        let sender = Mail::new(envelope.from().cloned(), Vec::new());
        drop(connection.command(sender).await.map_err(refusal)?);
        let mut refused = Vec::new();
        let mut last = None;
        for to in envelope.to() {
            match connection.command(Rcpt::new(to.clone(), Vec::new())).await {
                Ok(_) => {}
                Err(error) if error.status().is_some() => {
                    refused.push(format!("{to} ({})", word(&error, secrets)));
                    last = Some(error);
                }
                Err(error) => return Err(refusal(error)),
            }
        }
        if let Some(error) = last
            && refused.len() == envelope.to().len()
        {
            return Err(refusal(error));
        }
        drop(connection.command(Data).await.map_err(refusal)?);
        progress.release();
        match connection.message(mail).await {
            Ok(response) => {
                let said = response.message().collect::<Vec<_>>().join(" ");
                Ok(Taken { word: quoted(said.as_bytes(), secrets), refused })
            }
            Err(error) if error.status().is_some() => Err(refusal(error)),
            Err(error) => {
                let open = doubt("the mail server", DEED, "the connection broke");
                Err(quoting(open, &error, secrets))
            }
        }
    }

    /// The error of a server that cannot be talked to; nothing was handed over.
    fn unreachable(&self, error: &Error, secrets: &Secrets) -> ActionError {
        let text = format!("reach {}", self.place());
        let told = ActionError::new(ErrorKind::Unreachable, text);
        quoting(told, error, secrets).unless_refused_by_tls(Some("{email: {ca: …}}"))
    }

    /// The error of a server that does not take a mail: 4xx may pass by itself, 5xx does not (RFC 5321 section 4.2.1).
    fn refusal(&self, error: &Error, secrets: &Secrets) -> ActionError {
        if error.status().is_none() {
            return self.unreachable(error, secrets);
        }
        let text = format!("{DEED}: {} answered {}", self.place(), word(error, secrets));
        ActionError::new(ErrorKind::Failed, text).retryable(error.is_transient())
    }
}

/// What a mail server is asked to do.
pub(super) const DEED: &str = "pass on the mail";

fn quoting(told: ActionError, error: &Error, secrets: &Secrets) -> ActionError {
    let mut told = told.caused_by(error);
    for cause in &mut told.causes {
        *cause = quoted(cause.as_bytes(), secrets);
    }
    told
}

/// The code and the text of an answer.
fn word(error: &Error, secrets: &Secrets) -> String {
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{code} {}", quoted(text.as_bytes(), secrets)).trim().to_owned()
}

fn tls(host: &str, ca: Option<&PathBuf>) -> Result<TlsParameters, ActionError> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        parameters = trusting(parameters, path)?;
    }
    parameters.build_rustls().map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "prepare TLS for the mail server").caused_by(&error)
    })
}

fn trusting(
    parameters: TlsParametersBuilder,
    path: &Path,
) -> Result<TlsParametersBuilder, ActionError> {
    let text = format!("read the certificate authorities in {}", path.display());
    let complain = || ActionError::new(ErrorKind::Invalid, text.clone());
    let pem = std::fs::read(path).map_err(|error| complain().caused_by(&error))?;
    let authority = Certificate::from_pem(&pem).map_err(|error| complain().caused_by(&error))?;
    Ok(parameters.add_root_certificate(authority))
}
