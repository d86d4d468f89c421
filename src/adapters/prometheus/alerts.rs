//! `prometheus.alerts`: no alert fires, or one does.
//!
//! The rules are asked for and not the alerts alone: where no rule is evaluated nothing can fire, and silence means nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::Prometheus;
use super::series::Labels;
use crate::action::{
    ActionError, Answer, Connections, Description, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::quoted;
use crate::secret::{Secrets, hide_markers};

/// How many alerts an answer names.
const MOST_NAMED: usize = 3;

/// Asks whether alerts fire. Without alerting rules it does not hold, whatever is expected, and says that there are none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PrometheusAlerts")]
pub(super) struct Alerts {
    /// `false`: none may fire. `true`: one at least has to.
    #[serde(default)]
    firing: bool,
    /// Only alerts with these labels count: `{severity: critical}`.
    #[serde(default)]
    labels: IndexMap<String, String>,
    /// Names of alerts that may fire, such as one that always does to show that alerting works.
    #[serde(default)]
    except: Vec<String>,
}

#[async_trait]
impl VerbArgs for Alerts {
    const NAME: &'static str = "prometheus.alerts";
    const SUMMARY: &'static str = "ask whether alerts fire";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = Self;

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Question { connections: cx.connections.clone(), item })))
    }
}

/// The part of `/api/v1/rules` that matters.
#[derive(Debug, Default, Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    name: String,
    /// `ok`, `err`, or `unknown` before the first evaluation.
    health: String,
    #[serde(default)]
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
struct Alert {
    /// `pending` or `firing`.
    state: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

struct Question {
    connections: Arc<Connections>,
    item: Alerts,
}

#[async_trait]
impl Probe for Question {
    fn describe(&self) -> Description {
        let pairs = self.item.labels.iter();
        let pairs: Vec<String> =
            pairs.map(|(name, value)| format!("{name}={:?}", hide_markers(value))).collect();
        let which =
            if pairs.is_empty() { String::new() } else { format!(" with {}", pairs.join(", ")) };
        let except = match self.item.except.as_slice() {
            [] => String::new(),
            names => format!(", {} aside", names.join(", ")),
        };
        {
            let some = if self.item.firing { "an" } else { "no" };
            Description::question(format!("prometheus: {some} alert{which} fires{except}"))
        }
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(self.answer(cx).await?.into())
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        let prometheus = Prometheus::of(&self.connections)?;
        let rules: Rules = prometheus.rules(cx).await?.data;
        Ok(self.item.judge(&rules, self.connections.secrets()))
    }
}

impl Alerts {
    fn judge(&self, rules: &Rules, secrets: &Secrets) -> Answer {
        let rules: Vec<&Rule> = rules
            .groups
            .iter()
            .flat_map(|group| &group.rules)
            .filter(|rule| !self.except.contains(&rule.name))
            .collect();
        let name = |rule: &Rule| quoted(rule.name.as_bytes(), secrets);
        let firing: Vec<String> = rules
            .iter()
            .flat_map(|rule| rule.alerts.iter().map(move |alert| (rule, alert)))
            .filter(|(_, alert)| alert.state == "firing" && self.counts(alert))
            .map(|(rule, alert)| format!("{}{}", name(rule), shown(alert, secrets)))
            .collect();
        if !firing.is_empty() {
            let more = firing.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named: Vec<String> = firing.into_iter().take(MOST_NAMED).collect();
            return self.told(true, format!("firing: {}{more}", named.join(", ")));
        }
        if rules.is_empty() {
            return Answer::NoData { reason: "the server has no alerting rule".to_owned() };
        }
        if let Some(rule) = rules.iter().find(|rule| rule.health != "ok") {
            let reason = match rule.health.as_str() {
                "err" => format!("the rule {} cannot be evaluated", name(rule)),
                _ => format!("the rule {} has not been evaluated yet", name(rule)),
            };
            return Answer::NoData { reason };
        }
        let rules = match rules.len() {
            1 => "1 rule".to_owned(),
            many => format!("{many} rules"),
        };
        self.told(false, format!("no alert fires, {rules} evaluated"))
    }

    fn told(&self, firing: bool, text: String) -> Answer {
        if firing == self.firing {
            Answer::Yes { evidence: Evidence::new(text) }
        } else {
            Answer::No { observed: text }
        }
    }

    fn counts(&self, alert: &Alert) -> bool {
        self.labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value))
    }
}

/// The labels of an alert but its name, which stands before them.
fn shown(alert: &Alert, secrets: &Secrets) -> String {
    let labels = alert.labels.iter().filter(|(name, _)| *name != "alertname");
    let labels = labels.map(|(name, value)| (name.clone(), secrets.redact(value)));
    Labels::new(labels.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judge(args: Value, rules: &Value) -> Answer {
        let alerts: Alerts = serde_json::from_value(args).unwrap();
        let rules: Rules = serde_json::from_value(json!({"groups": [{"rules": rules}]})).unwrap();
        alerts.judge(&rules, &Secrets::default())
    }

    fn rule(name: &str, health: &str, states: &[&str]) -> Value {
        let alerts: Vec<Value> = states
            .iter()
            .map(|state| json!({"state": state, "labels": {"alertname": name, "severity": "page"}}))
            .collect();
        json!({"name": name, "health": health, "alerts": alerts})
    }

    #[test]
    fn silence_counts_only_where_rules_are_evaluated() {
        let reason = |answer| match answer {
            Answer::NoData { reason } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(judge(json!({}), &json!([]))), "the server has no alerting rule");
        let broken = json!([rule("A", "ok", &[]), rule("B", "err", &[])]);
        assert_eq!(reason(judge(json!({}), &broken)), "the rule B cannot be evaluated");
        let new = json!([rule("A", "unknown", &[])]);
        assert!(reason(judge(json!({}), &new)).contains("not been evaluated"));
        let only = json!([rule("Watchdog", "ok", &["firing"])]);
        assert!(matches!(judge(json!({"except": ["Watchdog"]}), &only), Answer::NoData { .. }));
        let calm = judge(json!({}), &json!([rule("A", "ok", &["pending"])]));
        assert!(matches!(calm, Answer::Yes { .. }), "{calm:?}");
    }

    #[test]
    fn what_fires_is_named_whatever_the_others_are() {
        let rules = json!([rule("A", "err", &[]), rule("B", "ok", &["firing", "pending"])]);
        let found = judge(json!({"labels": {"severity": "page"}}), &rules);
        assert_eq!(found, Answer::No { observed: r#"firing: B{severity="page"}"#.into() });
        let others = judge(json!({"labels": {"severity": "info"}}), &rules);
        assert!(matches!(others, Answer::NoData { .. }), "{others:?}");
    }

    #[test]
    fn an_alert_may_be_what_is_expected() {
        let fires = judge(json!({"firing": true}), &json!([rule("A", "ok", &["firing"])]));
        assert!(matches!(fires, Answer::Yes { .. }), "{fires:?}");
        let calm = judge(json!({"firing": true}), &json!([rule("A", "ok", &[])]));
        assert!(matches!(calm, Answer::No { .. }), "{calm:?}");
        let unknown = judge(json!({"firing": true}), &json!([rule("A", "err", &[])]));
        assert!(matches!(unknown, Answer::NoData { .. }), "{unknown:?}");
    }
}
