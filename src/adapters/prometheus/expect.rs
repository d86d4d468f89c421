//! `prometheus.expect`: whether the series of a query keep to a bound, now or for some time.
//!
//! One question gives the values and the server's time. A condition that has to last is judged by the values at up to
//! sixty steps before that time (`query_range`), a baseline by the same query at an earlier time, and the age of samples by
//! `timestamp()`, which tells it of a selector alone: of an expression it gives the time of asking.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{Prometheus, Window};
use super::comparison::Comparison;
use super::envelope::Given;
use super::judge::{Judged, Quantity, Wanted, judge};
use super::series::Series;
use crate::action::{
    ActionError, Answer, Connections, Description, ErrorKind, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::secret::has_marker;
use crate::value::{Lasting, brief};

/// The most steps that a window is looked at.
const MOST_STEPS: u32 = 60;
/// The longest query.
const LONGEST_QUERY: usize = 16 * 1024;
/// The most of a query that a description shows, in characters.
const MOST_SHOWN: usize = 160;

/// Which series have to keep to the bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Which {
    /// Every series.
    #[default]
    All,
    /// One at least.
    Any,
}

/// Asks Prometheus. Without data it does not hold, and says that there are none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PrometheusExpect")]
pub(super) struct Expect {
    /// A PromQL query that gives one number, or one for each series.
    query: String,
    /// The values are greater than this.
    #[serde(default)]
    above: Option<f64>,
    /// The values are this or greater.
    #[serde(default)]
    at_least: Option<f64>,
    /// The values are this or less.
    #[serde(default)]
    at_most: Option<f64>,
    /// The values are less than this.
    #[serde(default)]
    below: Option<f64>,
    /// The values are exactly this.
    #[serde(default)]
    equals: Option<f64>,
    /// Which series have to keep to the bound.
    #[serde(default)]
    series: Which,
    /// How long it has been so, without a gap.
    #[serde(rename = "for", default)]
    lasting: Option<Lasting>,
    /// Divides each value by what the query gave this long ago, and compares the ratio: 1 is unchanged.
    #[serde(default)]
    baseline: Option<Lasting>,
    /// The greatest age of a series' newest sample; a series with an older one counts as no data.
    #[serde(default)]
    fresh: Option<Lasting>,
    /// The series whose samples have to be fresh, as a selector: a single one that is too old makes the whole answer no data.
    /// Needed when `query` is more than a selector itself.
    #[serde(default)]
    fresh_by: Option<String>,
}

impl Expect {
    fn comparison(&self) -> Comparison {
        let Self { above, at_least, at_most, below, equals, .. } = *self;
        Comparison { above, at_least, at_most, below, equals }
    }

    fn wanted(&self) -> Wanted {
        let quantity = match self.series {
            Which::All => Quantity::All,
            Which::Any => Quantity::Any,
        };
        Wanted {
            comparison: self.comparison(),
            quantity,
            lasting: self.lasting.map(|lasting| (lasting.0, steps(lasting.0).0 as usize + 1)),
            baseline: self.baseline.map(|baseline| baseline.0),
        }
    }
}

/// How many steps a window has after its first, and how long each is, in seconds.
fn steps(lasting: Duration) -> (u32, f64) {
    let seconds = lasting.as_secs_f64();
    // Nothing is scraped more often than once a second.
    let steps =
        (1..=MOST_STEPS).rev().find(|steps| seconds / f64::from(*steps) >= 1.0).unwrap_or(1);
    // Whole milliseconds, as they are sent: a step that the server takes for longer would leave no room for the last one.
    let length = (seconds * 1000.0 / f64::from(steps)).floor().max(1.0);
    (steps, length / 1000.0)
}

/// Whether a query names series and does nothing with them: `up` or `up{job="agents"}`.
fn is_selector(query: &str) -> bool {
    let (name, matchers) =
        query.trim().split_at(query.trim().find('{').unwrap_or(query.trim().len()));
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let good_name =
        name.trim().chars().all(letters) && !name.starts_with(|c: char| c.is_ascii_digit());
    let alone = matchers.is_empty() && !name.is_empty();
    let one_block = matchers.ends_with('}') && matchers.matches('{').count() == 1;
    good_name && (alone || one_block && matchers.matches('}').count() == 1)
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "prometheus.expect";
    const SUMMARY: &'static str = "ask for the values of a query, and hold them against a bound";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        self.comparison().check()?;
        for (name, text) in [("query", Some(&self.query)), ("fresh_by", self.fresh_by.as_ref())] {
            let Some(text) = text else { continue };
            if text.trim().is_empty() {
                return Err(format!("`{name}` is empty"));
            }
            if has_marker(text) {
                return Err(format!("`{name}` holds a secret, and queries are shown"));
            }
            if text.len() > LONGEST_QUERY {
                return Err(format!("`{name}` is longer than 16 KiB"));
            }
        }
        match (&self.fresh, &self.fresh_by) {
            (None, Some(_)) => Err("`fresh_by` needs `fresh`".into()),
            (Some(_), Some(by)) if !is_selector(by) => {
                Err("`fresh_by` is a selector, such as `agent_requests_total{job=\"agents\"}`".into())
            }
            (Some(_), None) if !is_selector(&self.query) => Err(
                "`fresh` of an expression needs `fresh_by`: the series that it reads, as a selector".into(),
            ),
            _ => Ok(()),
        }
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        item.validate().map_err(|problem| {
            ActionError::new(ErrorKind::Invalid, format!("use `{}`: {problem}", Self::NAME))
        })?;
        Ok(Work::Probe(Box::new(Question { connections: cx.connections.clone(), item })))
    }
}

struct Question {
    connections: Arc<Connections>,
    item: Expect,
}

#[async_trait]
impl Probe for Question {
    fn describe(&self) -> Description {
        let query = self.item.query.split_whitespace().collect::<Vec<_>>().join(" ");
        let query = match query.char_indices().nth(MOST_SHOWN) {
            Some((end, _)) => format!("{}…", &query[..end]),
            None => query,
        };
        let which = if self.item.series == Which::Any { "any series of " } else { "" };
        Description::question(format!("prometheus: {which}{query} is {}", self.item.wanted()))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(self.answer(cx).await?.into())
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        let prometheus = Prometheus::of(&self.connections)?;
        let asking = prometheus.query(cx, &self.item.query, None);
        let (now, ages) = try_join(asking, self.ages(cx, &prometheus)).await?;
        let mut warnings = now.warnings;
        if let Some(reason) = self.stale(ages.as_ref()) {
            return Ok(warned(Answer::NoData { reason }, &warnings));
        }
        let Some(at) =
            now.data.first().and_then(|series| series.points.last()).map(|point| point.at)
        else {
            return Ok(warned(judge(&[], &self.item.wanted()), &warnings));
        };
        let (window, then) =
            try_join(self.window(cx, &prometheus, at), self.then(cx, &prometheus, at)).await?;
        let series = now.data.into_iter().map(|series| {
            let past = window.as_ref().map(|given| values_of(given, &series).unwrap_or_default());
            let baseline = then.as_ref().map(|given| {
                let values = values_of(given, &series).unwrap_or_default();
                values.last().copied().unwrap_or(f64::NAN)
            });
            let unfit = self.too_old(ages.as_ref(), &series);
            let Judged { labels, values, .. } = Judged::of(series);
            Judged { labels, values: past.unwrap_or(values), baseline, unfit }
        });
        let series: Vec<Judged> = series.collect();
        warnings.extend(window.into_iter().chain(then).flat_map(|given| given.warnings));
        Ok(warned(judge(&series, &self.item.wanted()), &warnings))
    }
}

impl Question {
    /// The ages of the newest samples, by the server's clock on both sides.
    async fn ages(
        &self,
        cx: &StepContext,
        prometheus: &Prometheus,
    ) -> Result<Option<Vec<Series>>, ActionError> {
        if self.item.fresh.is_none() {
            return Ok(None);
        }
        let selector = self.item.fresh_by.as_ref().unwrap_or(&self.item.query).trim();
        let query = format!("time() - timestamp({selector})");
        prometheus.query(cx, &query, None).await.map(|ages| Some(ages.data))
    }

    /// Why an expression is without data: one series that it reads and that is too old spoils all of it, since nobody knows
    /// what became of that series in it.
    fn stale(&self, ages: Option<&Vec<Series>>) -> Option<String> {
        let (fresh, ages) = (self.item.fresh?, ages?);
        let selector = self.item.fresh_by.as_ref()?.trim();
        let Some(oldest) = ages.iter().max_by(|a, b| a.latest().total_cmp(&b.latest())) else {
            return Some(format!("there are no samples of {selector}"));
        };
        let age = outdated(oldest.latest(), fresh)?;
        let labels = &oldest.labels;
        let at = if labels.is_empty() { String::new() } else { format!(" at {labels}") };
        Some(format!("the newest sample of {selector}{at} is {age} old, and {fresh} is the most"))
    }

    /// Why a series of a selector is without data, however it is with the others.
    fn too_old(&self, ages: Option<&Vec<Series>>, series: &Series) -> Option<String> {
        let (fresh, ages) = (self.item.fresh?, ages?);
        if self.item.fresh_by.is_some() {
            return None;
        }
        let Some(dated) = ages.iter().find(|dated| dated.labels == series.labels) else {
            return Some("has no sample of a known age".to_owned());
        };
        let age = outdated(dated.latest(), fresh)?;
        Some(format!("has a newest sample that is {age} old, and {fresh} is the most"))
    }

    /// The values of the time for which it has to last.
    async fn window(
        &self,
        cx: &StepContext,
        prometheus: &Prometheus,
        end: f64,
    ) -> Result<Option<Given<Vec<Series>>>, ActionError> {
        let Some(lasting) = self.item.lasting else { return Ok(None) };
        let (before, step) = steps(lasting.0);
        let window = Window { end, step, before };
        prometheus.query_window(cx, &self.item.query, window).await.map(Some)
    }

    /// The values of the past that these are compared with.
    async fn then(
        &self,
        cx: &StepContext,
        prometheus: &Prometheus,
        now: f64,
    ) -> Result<Option<Given<Vec<Series>>>, ActionError> {
        let Some(baseline) = self.item.baseline else { return Ok(None) };
        let then = now - baseline.0.as_secs_f64();
        prometheus.query(cx, &self.item.query, Some(then)).await.map(Some)
    }
}

/// An age in words, if it is more than the greatest.
fn outdated(seconds: f64, greatest: Lasting) -> Option<String> {
    let too_old = seconds > greatest.0.as_secs_f64();
    too_old.then(|| brief(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
}

/// The values of the series with the same labels.
fn values_of(given: &Given<Vec<Series>>, wanted: &Series) -> Option<Vec<f64>> {
    let same = given.data.iter().find(|series| series.labels == wanted.labels)?;
    Some(same.points.iter().map(|point| point.value).collect())
}

/// The answer, with what the server warns of.
fn warned(mut answer: Answer, warnings: &[String]) -> Answer {
    if let Some(warning) = warnings.first() {
        let (Answer::Yes { evidence: crate::action::Evidence { summary: text, .. } }
        | Answer::No { observed: text }
        | Answer::NoData { reason: text }) = &mut answer;
        text.push_str(&format!(" (the server warns: {warning})"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(args: Value) -> Result<(), String> {
        serde_json::from_value::<Expect>(args).map_err(|error| error.to_string())?.validate()
    }

    #[test]
    fn bad_arguments_are_told_offline() {
        for good in [
            json!({"query": "up", "equals": 1}),
            json!({"query": "up", "at_least": 1, "fresh": "1m"}),
            json!({"query": "sum(up)", "at_least": 1, "fresh": "1m", "fresh_by": "up{job=\"a\"}"}),
            json!({"query": "rate(a[5m])", "at_most": 1.1, "for": "30s", "baseline": "1h", "series": "any"}),
        ] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        for bad in [
            json!({"query": "up"}),
            json!({"query": " ", "above": 1}),
            json!({"query": "up", "above": 2, "below": 1}),
            json!({"query": "sum(up)", "above": 1, "fresh": "1m"}),
            json!({"query": "up", "above": 1, "fresh_by": "up"}),
            json!({"query": "up", "above": 1, "fresh": "1m", "fresh_by": "sum(up)"}),
            json!({"query": "up", "above": 1, "for": "30"}),
            json!({"query": "up", "above": "1"}),
            json!({"query": "a\u{e000}x\u{e001}", "above": 1}),
            json!({"query": "x".repeat(LONGEST_QUERY + 1), "above": 1}),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn selectors_are_told_from_expressions() {
        for selector in [
            "up",
            " up ",
            "job:errors:rate5m",
            "up{}",
            r#"{__name__="up"}"#,
            r#"up{a="b c", d=~"e.*"}"#,
        ] {
            assert!(is_selector(selector), "{selector}");
        }
        for expression in
            ["", "1", "sum(up)", "up > 1", "up[5m]", "up offset 5m", "up{} + up{}", "-up"]
        {
            assert!(!is_selector(expression), "{expression}");
        }
    }

    #[test]
    fn a_window_has_steps_of_a_second_or_more_and_ends_where_it_should() {
        for (seconds, wanted, length) in [
            (1, 1, 1.0),
            (30, 30, 1.0),
            (60, 60, 1.0),
            (61, 60, 1.016),
            (100, 60, 1.666),
            (300, 60, 5.0),
        ] {
            assert_eq!(steps(Duration::from_secs(seconds)), (wanted, length));
        }
        assert_eq!(steps(Duration::from_millis(250)), (1, 0.25));
    }

    #[test]
    fn warnings_stand_behind_every_answer() {
        let warnings = ["a remote read failed".to_owned()];
        let answer = warned(Answer::No { observed: "2, not above 3".into() }, &warnings);
        let wanted = "2, not above 3 (the server warns: a remote read failed)";
        assert_eq!(answer, Answer::No { observed: wanted.into() });
    }
}
