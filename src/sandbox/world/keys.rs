//! The keys of a world's Redis: what the enhanced agents have measured, which a rollback clears, and much that must stay.

use super::seed::service;

/// What the enhanced agents measure of themselves.
const ENHANCED: [(&str, &str); 5] = [
    ("requests", "1250"),
    ("errors", "94"),
    ("latency-ms", "812"),
    ("queue-depth", "17"),
    ("memory-mb", "488"),
];

/// Every key with its value.
pub(super) fn seeded(agents: usize) -> impl Iterator<Item = (String, String)> {
    let of_agents = (1..=agents).flat_map(|number| {
        let agent = service(number);
        let enhanced = ENHANCED.map(|(name, value)| {
            (format!("metrics:base-agent-v2:{agent}:{name}"), value.to_owned())
        });
        let others = [
            (format!("metrics:base-agent:{agent}:requests"), "980".to_owned()),
            // Almost the name of those that go.
            (format!("metrics:base-agent-v2-baseline:{agent}"), "210".to_owned()),
            (format!("agents:heartbeat:{agent}"), "2025-08-01T12:00:00Z".to_owned()),
        ];
        enhanced.into_iter().chain(others)
    });
    let tasks =
        (1..=20).map(|number| (format!("tasks:queued:{number:04}"), "summarize".to_owned()));
    of_agents.chain(tasks)
}
