//! The metrics of a world: what the shipped environment asks, all as it should be.

use crate::sandbox::prometheus::Rule;

/// Every series with its value.
pub(super) const SEEDED: &str = "\
ollama_memory_usage_ratio 0.62
ollama_cpu_usage_ratio 0.41
ollama_agent_error_ratio{agent_type=\"coder\"} 0.004
ollama_agent_error_ratio{agent_type=\"planner\"} 0.002
ollama_agent_response_seconds{agent_type=\"coder\"} 0.81
ollama_agent_response_seconds{agent_type=\"planner\"} 0.43
ollama_connection_failure_ratio 0.003
ollama_health_check_failures{agent=\"agent-001\"} 0
ollama_health_check_failures{agent=\"agent-002\"} 0
ollama_circuit_breaker_trips_per_minute 0
ollama_silent_agents_ratio 0
ollama_query_success_ratio 0.998
ollama_task_failure_ratio 0.001
ollama_tasks_per_second 12.4
ollama_failed_tasks_waiting 0
ollama_availability_ratio 0.9996
ollama_memory_usage_ratio_in_an_hour 0.66
ollama_alert{severity=\"critical\"} 0
";

/// The alerting rules.
pub(super) fn rules() -> Vec<Rule> {
    vec![Rule { alert: "OllamaDegraded".to_owned(), metric: "ollama_alert".to_owned() }]
}
