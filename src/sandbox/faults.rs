//! Faults that can be injected into any double, and the small grammar they are written in.
//!
//! `docker:latency=4s`, `docker:error=500,path=/stop,times=2`, `chat:silence`, `chat:reset`, `chat:lost`. [`wire`](super::wire) asks
//! before each request is handled; the [`control`](super::control) endpoint sets and clears faults while the world runs.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value::Lasting;

/// A system of the world that answers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Double {
    /// The Docker Engine.
    Docker,
    /// nginx.
    LoadBalancer,
    /// The legacy service.
    Blue,
    /// The new service.
    Green,
    /// The chat.
    Chat,
    /// The cache.
    Redis,
    /// The metrics.
    Prometheus,
    /// The cluster.
    Kubernetes,
    /// DigitalOcean.
    DigitalOcean,
    /// The pager.
    Pager,
    /// The text messages.
    Sms,
    /// The mail server.
    Mail,
    /// The tracker.
    Tracker,
    /// The embeddings.
    Embeddings,
    /// The search of the knowledge base.
    Supabase,
    /// The name servers.
    Dns,
    /// The orchestrator before the deployment.
    OldOrchestrator,
    /// The orchestrator with specialists.
    NewOrchestrator,
}

impl Double {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Docker,
        Self::LoadBalancer,
        Self::Blue,
        Self::Green,
        Self::Chat,
        Self::Redis,
        Self::Prometheus,
        Self::Kubernetes,
        Self::DigitalOcean,
        Self::Pager,
        Self::Sms,
        Self::Mail,
        Self::Tracker,
        Self::Embeddings,
        Self::Supabase,
        Self::Dns,
        Self::OldOrchestrator,
        Self::NewOrchestrator,
    ];

    /// All their names, for people.
    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The name in the grammar.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::LoadBalancer => "loadbalancer",
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Chat => "chat",
            Self::Redis => "redis",
            Self::Prometheus => "prometheus",
            Self::Kubernetes => "kubernetes",
            Self::DigitalOcean => "digitalocean",
            Self::Pager => "pager",
            Self::Sms => "sms",
            Self::Mail => "mail",
            Self::Tracker => "tracker",
            Self::Embeddings => "embeddings",
            Self::Supabase => "supabase",
            Self::Dns => "dns",
            Self::OldOrchestrator => "old-orchestrator",
            Self::NewOrchestrator => "new-orchestrator",
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The request is handled this much later.
    Latency(Duration),
    /// The request is not handled; this status is the answer.
    Error(u16),
    /// The request is not handled; the connection is reset.
    Reset,
    /// The request is not handled and never answered.
    Silence,
    /// The request **is** handled and its answer is lost: the connection is reset instead.
    Lost,
}

/// One fault: where, what, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The system.
    pub double: Double,
    /// What goes wrong there.
    pub effect: Effect,
    /// Only requests whose method and path, `POST /v2/apps`, contain this; of Redis, commands such as `UNLINK metrics:a`; of the mail server, `RCPT TO:<a@b>`; of the name servers,
    /// `UPDATE agent.example.net.`, `QUERY A …`, `SECONDARY QUERY …`, `RESOLVER QUERY …`, or `TRANSFER example.net.`, by which the secondary copies.
    pub path: Option<String>,
    /// Only the next so many requests; without it, all.
    pub times: Option<u32>,
}

/// Why a text is not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No colon, or nothing after it.
    #[error("read the fault `{0}`: write SYSTEM:EFFECT, such as `docker:latency=4s`")]
    Shape(String),
    /// Not one of the doubles.
    #[error(
        "read the fault: no system `{0}`; there are {names}", names = Double::names()
    )]
    System(String),
    /// Not a setting, or one with a wrong value.
    #[error(
        "read the fault: `{0}` is none of latency=TIME, error=STATUS, reset, silence, lost, path=TEXT, times=COUNT"
    )]
    Setting(String),
    /// No effect, or two.
    #[error("read the fault `{0}`: exactly one effect is needed")]
    Effect(String),
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (system, settings) =
            text.trim().split_once(':').ok_or_else(|| FaultError::Shape(text.to_owned()))?;
        let double = Double::ALL
            .into_iter()
            .find(|double| double.name() == system.trim())
            .ok_or_else(|| FaultError::System(system.to_owned()))?;
        let mut effect = None;
        let (mut path, mut times) = (None, None);
        for setting in settings.split(',').map(str::trim) {
            let wrong = || FaultError::Setting(setting.to_owned());
            match setting.split_once('=') {
                Some(("path", value)) if !value.is_empty() => path = Some(value.to_owned()),
                Some(("times", value)) => {
                    times = Some(value.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?);
                }
                _ => {
                    let found = parse_effect(setting).ok_or_else(wrong)?;
                    if effect.replace(found).is_some() {
                        return Err(FaultError::Effect(text.to_owned()));
                    }
                }
            }
        }
        let effect = effect.ok_or_else(|| FaultError::Effect(text.to_owned()))?;
        Ok(Self { double, effect, path, times })
    }
}

fn parse_effect(setting: &str) -> Option<Effect> {
    match setting.split_once('=') {
        None if setting == "reset" => Some(Effect::Reset),
        None if setting == "silence" => Some(Effect::Silence),
        None if setting == "lost" => Some(Effect::Lost),
        Some(("latency", value)) => {
            value.parse::<Lasting>().ok().map(|lasting| Effect::Latency(lasting.0))
        }
        Some(("error", value)) => {
            value.parse().ok().filter(|status| (400..600).contains(status)).map(Effect::Error)
        }
        _ => None,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.double.name())?;
        match self.effect {
            Effect::Latency(time) => write!(f, "latency={}ms", time.as_millis())?,
            Effect::Error(status) => write!(f, "error={status}")?,
            Effect::Reset => f.write_str("reset")?,
            Effect::Silence => f.write_str("silence")?,
            Effect::Lost => f.write_str("lost")?,
        }
        if let Some(path) = &self.path {
            write!(f, ",path={path}")?;
        }
        if let Some(times) = self.times {
            write!(f, ",times={times}")?;
        }
        Ok(())
    }
}

/// What is to happen to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Wait this long first.
    pub latency: Duration,
    /// Then this, instead of a plain answer.
    pub end: Option<Effect>,
}

/// The faults of a world, shared by its doubles.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// Adds one.
    pub fn add(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Removes those of one double, or all.
    pub fn clear(&self, double: Option<Double>) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|fault| double.is_some_and(|double| fault.double != double));
    }

    /// Those that still hold, in the grammar.
    pub fn list(&self) -> Vec<String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().map(ToString::to_string).collect()
    }

    /// Decides about one request, and uses up what is counted. Latencies add up; of several ends the first wins.
    pub fn decide(&self, double: Double, path: &str) -> Verdict {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut verdict = Verdict::default();
        for fault in faults.iter_mut().filter(|fault| {
            fault.double == double && fault.path.as_ref().is_none_or(|part| path.contains(part))
        }) {
            match fault.effect {
                Effect::Latency(time) => verdict.latency += time,
                _ if verdict.end.is_some() => continue,
                end => verdict.end = Some(end),
            }
            fault.times = fault.times.map(|times| times - 1);
        }
        faults.retain(|fault| fault.times != Some(0));
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_back_as_they_are_written() {
        for text in [
            "docker:latency=4000ms",
            "docker:error=500,path=/stop,times=2",
            "chat:silence",
            "loadbalancer:reset,times=1",
            "green:lost,path=/health",
            "redis:reset,path=UNLINK,times=1",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_faults_are_refused_with_what_would_be_right() {
        for text in [
            "docker",
            "post:reset",
            "docker:",
            "docker:path=/stop",
            "docker:error=200",
            "docker:latency=4",
            "docker:reset,silence",
            "docker:reset,times=0",
            "docker:explode",
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.starts_with("read the fault"), "{text}: {error}");
        }
    }

    #[test]
    fn a_counted_fault_is_used_up_by_matching_requests_alone() {
        let faults = Faults::default();
        faults.add("docker:error=500,path=/stop,times=2".parse().unwrap());
        faults.add("docker:latency=10ms".parse().unwrap());
        let end = |double, path| faults.decide(double, path).end;
        assert_eq!(end(Double::Docker, "/containers/a/start"), None);
        assert_eq!(end(Double::Chat, "/stop"), None);
        assert_eq!(end(Double::Docker, "/containers/a/stop"), Some(Effect::Error(500)));
        assert_eq!(end(Double::Docker, "/containers/a/stop"), Some(Effect::Error(500)));
        let verdict = faults.decide(Double::Docker, "/containers/a/stop");
        assert_eq!(verdict, Verdict { latency: Duration::from_millis(10), end: None });
        assert_eq!(faults.list(), ["docker:latency=10ms"]);
        faults.clear(Some(Double::Chat));
        assert_eq!(faults.list().len(), 1);
        faults.clear(None);
        assert!(faults.list().is_empty());
    }
}
