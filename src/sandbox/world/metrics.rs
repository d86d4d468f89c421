//! The metrics of a world: what the shipped environment asks, all as it should be.

use crate::sandbox::prometheus::Rule;

/// Every series with its value; staging has the same.
pub(super) const SEEDED: &str = include_str!("metrics.prom");

/// The alerting rules.
pub(super) fn rules() -> Vec<Rule> {
    vec![Rule { alert: "OllamaDegraded".to_owned(), metric: "ollama_alert".to_owned() }]
}
