//! The orchestrators of a world and the load balancer before the new one: two addresses with one port, as one name may lead to both.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::addresses::{address, bind};
use super::info::WorldInfo;
use crate::sandbox::SandboxError;

/// Where the old one is.
const OLD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where users of the new one come in.
const FRONT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// How often a port that is free at both is looked for.
const TRIES: usize = 20;

/// The name that users know.
const NAME: &str = "agent.insightpulseai.net";

/// The listeners of the orchestrators.
pub(super) struct Listeners {
    pub(super) old: TcpListener,
    pub(super) front: TcpListener,
    pub(super) new: TcpListener,
    pub(super) proof: TcpListener,
}

impl Listeners {
    /// Binds all of them, where `former` had them if possible.
    pub(super) async fn bind(former: Option<&WorldInfo>) -> Result<Self, SandboxError> {
        let (old, front) = pair(former).await?;
        let new = bind(former.map(|info| info.orchestrator_new.as_str())).await?;
        let proof = bind(former.map(|info| info.orchestrator_proof.as_str())).await?;
        Ok(Self { old, front, new, proof })
    }

    /// What users reach, wherever the name leads.
    pub(super) fn url(&self) -> Result<String, SandboxError> {
        let front = address(&self.front)?;
        let port = front.rsplit_once(':').map_or("80", |(_, port)| port);
        Ok(format!("http://{NAME}:{port}"))
    }
}

/// Two listeners with the same port.
async fn pair(former: Option<&WorldInfo>) -> Result<(TcpListener, TcpListener), SandboxError> {
    if let Some(former) = former
        && let Ok(old) = TcpListener::bind(&former.orchestrator_old).await
        && let Ok(front) = TcpListener::bind(&former.orchestrator_front).await
    {
        return Ok((old, front));
    }
    let failed =
        |at: Ipv4Addr| move |source| SandboxError::Listen { address: at.to_string(), source };
    let mut last = None;
    for _ in 0..TRIES {
        let old = TcpListener::bind((OLD, 0)).await.map_err(failed(OLD))?;
        let port = old.local_addr().map_err(failed(OLD))?.port();
        match TcpListener::bind((FRONT, port)).await.map_err(failed(FRONT)) {
            Ok(front) => return Ok((old, front)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| failed(FRONT)(std::io::ErrorKind::AddrInUse.into())))
}
