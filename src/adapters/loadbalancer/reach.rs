//! Whether the load balancer can be driven from here: the program is there, and the proof addresses say what is live.

use std::time::Duration;

use tokio::time::Instant;

use super::command;
use super::nginx::Nginx;
use super::proof::{Live, ask};
use crate::action::{ActionError, Connections, ErrorKind};

/// Looks without running anything. A proof address that does not answer is no failure: before the first switch none does.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let nginx = Nginx::shared(connections)?;
    let program = nginx.settings.nginx.command.first().cloned().unwrap_or_default();
    let path = command::find(&program).ok_or_else(|| {
        ActionError::new(ErrorKind::NotFound, format!("find the program `{program}`"))
            .hint("Mend `loadbalancer.nginx.command` in the environment file.")
    })?;
    let deadline = Instant::now() + Duration::from_secs(2);
    let asked = nginx.settings.upstreams.iter().map(|(name, upstream)| async move {
        match ask(upstream.proof, deadline).await {
            Live::Line(line) => match line.split(' ').nth(2) {
                Some(side) => format!("{name} is on {side}"),
                None => format!("{name}: {} answers `{line}`", upstream.proof),
            },
            Live::Other(seen) | Live::Silent(seen) => {
                format!("{name} is not proved ({} {seen})", upstream.proof)
            }
        }
    });
    let sides = futures_util::future::join_all(asked).await;
    let mut told = vec![path.display().to_string()];
    told.extend(sides);
    Ok(told.join(", "))
}
