//! `http.sample`: asks a service many times, and counts how often it answers in one way.
//!
//! For what no single answer shows: which share of the traffic two versions get behind one address, be it a load balancer's or a
//! name's. Every question uses a connection of its own. What is judged is the share that was *seen*; the evidence says
//! how far chance alone can have moved it.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::expect::{BodyExpectation, Expect, ExpectProbe, Miss, five_seconds};
use super::message::Method;
use super::status::StatusSet;
use crate::action::{
    ActionError, Answer, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::value::Lasting;

/// The most questions in one look.
const MOST_REQUESTS: u32 = 10_000;
/// How many are asked at the same time.
const AT_ONCE: usize = 8;
/// The number of standard deviations in which 95 of 100 samples lie.
const Z: f64 = 1.96;

/// The answers that are counted, and how many of them there have to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// JSON fields by dotted path or JSON Pointer, with their values.
    #[serde(default)]
    pub json: IndexMap<String, Value>,
    /// Headers of the answer, with their values.
    #[serde(default)]
    pub header: IndexMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: BodyExpectation,
    /// The least share, from 0 to 1.
    pub at_least: Option<f64>,
    /// The greatest share, from 0 to 1. `0` means that none of the answers may be such.
    pub at_most: Option<f64>,
}

/// The arguments of `http.sample`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The URL.
    pub url: String,
    /// Headers.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// How often it is asked, each time over a new connection; 200 unless given. Of 200 random answers the share may be off by 7 in 100 by
    /// chance alone, of 800 by half of that.
    #[serde(default = "two_hundred")]
    pub requests: u32,
    /// The status codes of an answer that counts; `200` unless given. Others, and no answer at all, are failures.
    #[serde(default = "StatusSet::ok")]
    pub status: StatusSet,
    /// Which of the answers are counted, and between which shares they have to be.
    pub share: Share,
    /// The greatest share of failures, from 0 to 1.
    #[serde(default)]
    pub failures_at_most: f64,
    /// Connects to this address instead of the one that the URL's host resolves to; `Host` and TLS keep the name.
    #[serde(default)]
    pub resolve: IndexMap<String, String>,
    /// The longest wait for one answer; `5s` unless given.
    #[serde(default = "five_seconds")]
    pub answer_within: Lasting,
}

fn two_hundred() -> u32 {
    200
}

impl Sample {
    /// The question that a counted answer meets.
    fn question(&self) -> Expect {
        Expect {
            ask: None,
            url: self.url.clone(),
            method: Method::default(),
            headers: self.headers.clone(),
            status: self.status.clone(),
            json: self.share.json.clone(),
            header: self.share.header.clone(),
            body: self.share.body.clone(),
            consecutive: 1,
            resolve: self.resolve.clone(),
            answer_within: self.answer_within,
        }
    }

    fn wanted(&self) -> String {
        match (self.share.at_least, self.share.at_most) {
            (Some(least), Some(most)) => format!("{} to {}", percent(least), percent(most)),
            (Some(least), None) => format!("at least {}", percent(least)),
            (None, Some(0.0)) => "none".to_owned(),
            (None, most) => format!("at most {}", percent(most.unwrap_or(1.0))),
        }
    }

    fn admits(&self, share: f64) -> bool {
        self.share.at_least.is_none_or(|least| share >= least)
            && self.share.at_most.is_none_or(|most| share <= most)
    }
}

#[async_trait]
impl VerbArgs for Sample {
    const NAME: &'static str = "http.sample";
    const SUMMARY: &'static str =
        "Ask a web service many times, and hold the share of answers of one kind against bounds";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        self.question().validate()?;
        if !(1..=MOST_REQUESTS).contains(&self.requests) {
            return Err(format!("`requests` must be from 1 to {MOST_REQUESTS}"));
        }
        let Share { json, header, body, at_least, at_most } = &self.share;
        if json.is_empty() && header.is_empty() && body.contains.is_none() && body.equals.is_none()
        {
            return Err("`share` says nothing about the answers that it counts: it needs `json`, `header` or `body`".into());
        }
        if at_least.is_none() && at_most.is_none() {
            return Err("`share` needs `at_least`, `at_most` or both".into());
        }
        let bounds = [at_least, at_most].into_iter().flatten().chain([&self.failures_at_most]);
        if let Some(bound) = bounds.into_iter().find(|bound| !(0.0..=1.0).contains(*bound)) {
            return Err(format!("{bound} is no share: it must be from 0 to 1"));
        }
        if at_least.zip(*at_most).is_some_and(|(least, most)| least > most) {
            return Err("`at_least` is more than `at_most`".into());
        }
        Ok(())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let probe = ExpectProbe::new(item.question(), cx)?;
        Ok(Work::Probe(Box::new(Sampling { probe, sample: item })))
    }
}

struct Sampling {
    probe: ExpectProbe,
    sample: Sample,
}

/// What became of all requests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counted {
    /// Answers that are as counted.
    hits: u32,
    /// Other answers.
    others: u32,
    /// Requests without an answer.
    silent: u32,
    /// Answers of another status.
    refused: u32,
    /// What was seen at the first failure.
    failure: Option<String>,
}

impl Counted {
    fn answers(&self) -> u32 {
        self.hits + self.others
    }

    fn failures(&self) -> u32 {
        self.silent + self.refused
    }

    fn share(&self) -> f64 {
        f64::from(self.hits) / f64::from(self.answers().max(1))
    }
}

#[async_trait]
impl Probe for Sampling {
    fn describe(&self) -> Description {
        let Sample { requests, .. } = &self.sample;
        let (question, wanted) = (self.probe.question(), self.sample.wanted());
        Description::question(format!("of {requests} answers to {question}: {wanted}"))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(self.answer(cx).await?.into())
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        let counted = self.count(cx).await?;
        Ok(judge(&counted, &self.sample))
    }
}

impl Sampling {
    async fn count(&self, cx: &StepContext) -> Result<Counted, ActionError> {
        let requests = self.sample.requests;
        let asked = stream::iter(0..requests).map(|_| self.probe.sort(cx));
        let mut asked = asked.buffer_unordered(AT_ONCE);
        let mut counted = Counted::default();
        let mut done = 0;
        while let Some(answer) = asked.next().await {
            if cx.remaining().is_zero() {
                let text = format!("ask {requests} times in time: {done} were answered");
                return Err(ActionError::new(ErrorKind::TimedOut, text)
                    .hint("Ask less often with `requests`, or give the step a longer `timeout`."));
            }
            done += 1;
            match answer? {
                Ok(true) => counted.hits += 1,
                Ok(false) => counted.others += 1,
                Err(miss) => {
                    match miss {
                        Miss::NoAnswer(_) => counted.silent += 1,
                        Miss::Differs(_) => counted.refused += 1,
                    }
                    counted.failure.get_or_insert(miss.text());
                }
            }
        }
        Ok(counted)
    }
}

/// What the counted answers say.
fn judge(counted: &Counted, sample: &Sample) -> Answer {
    let (answers, failures, all) = (counted.answers(), counted.failures(), sample.requests);
    let failure = || counted.failure.clone().unwrap_or_default();
    if counted.silent == all {
        return Answer::NoData {
            reason: format!("none of {all} requests was answered: {}", failure()),
        };
    }
    if f64::from(failures) > sample.failures_at_most * f64::from(all) || answers == 0 {
        let most = percent(sample.failures_at_most);
        let observed =
            format!("{failures} of {all} requests failed, wanted at most {most}: {}", failure());
        return Answer::No { observed };
    }
    let (low, high) = interval(counted.hits, answers);
    let seen = format!(
        "{} of {answers} answers were such: {} (by chance alone it may be {} to {} in truth), wanted {}",
        counted.hits,
        percent(counted.share()),
        percent(low),
        percent(high),
        sample.wanted()
    );
    if !sample.admits(counted.share()) {
        return Answer::No { observed: seen };
    }
    let facts = json!({
        "hits": counted.hits, "answers": answers, "failures": failures,
        "share": counted.share(), "interval_95": [low, high],
    });
    Answer::Yes { evidence: Evidence::with(seen, facts) }
}

/// Where the true share lies with 95 % certainty if answers were drawn at random: Wilson's interval, which stays inside of 0 to 1 and
/// is honest about none of many.
fn interval(hits: u32, answers: u32) -> (f64, f64) {
    let n = f64::from(answers.max(1));
    let share = f64::from(hits) / n;
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

/// A share for people: `51.5 %`.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(more: &Value) -> Sample {
        let mut args = json!({
            "url": "http://localhost",
            "share": {"json": {"version": "2.0.0"}, "at_least": 0.45, "at_most": 0.55},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            args[key] = value.clone();
        }
        serde_json::from_value(args).expect("it has the form")
    }

    fn counted(hits: u32, others: u32, silent: u32, refused: u32) -> Counted {
        let failure = (silent + refused > 0).then(|| "status 503".to_owned());
        Counted { hits, others, silent, refused, failure }
    }

    #[test]
    fn the_interval_is_that_of_the_books() {
        // Wilson's interval of 10 in 20, and of none in 200.
        let (low, high) = interval(10, 20);
        assert!((low - 0.299).abs() < 0.001 && (high - 0.701).abs() < 0.001, "{low} {high}");
        let (low, high) = interval(0, 200);
        assert!(low == 0.0 && (high - 0.0188).abs() < 0.0005, "{high}");
    }

    #[test]
    fn the_share_that_was_seen_decides() {
        let wanted = sample(&json!({}));
        for (hits, holds) in [(89, false), (90, true), (110, true), (111, false)] {
            let answer = judge(&counted(hits, 200 - hits, 0, 0), &wanted);
            assert_eq!(matches!(answer, Answer::Yes { .. }), holds, "{hits}: {answer:?}");
        }
        let Answer::Yes { evidence } = judge(&counted(100, 100, 0, 0), &wanted) else {
            panic!("a half is between the bounds")
        };
        let told = "100 of 200 answers were such: 50 % (by chance alone it may be 43.1 % to 56.9 % in truth), wanted 45 % to 55 %";
        assert_eq!(evidence.summary, told);
    }

    #[test]
    fn failures_are_no_answers_of_the_other_kind() {
        let wanted = sample(&json!({"failures_at_most": 0.02}));
        assert!(matches!(judge(&counted(98, 98, 2, 2), &wanted), Answer::Yes { .. }));
        let answer = judge(&counted(97, 98, 3, 2), &wanted);
        assert!(
            matches!(&answer, Answer::No { observed } if observed.starts_with("5 of 200 requests failed, wanted at most 2 %: status 503")),
            "{answer:?}"
        );
        assert!(matches!(judge(&counted(0, 0, 200, 0), &wanted), Answer::NoData { .. }));
        let all = sample(&json!({"failures_at_most": 1.0}));
        assert!(matches!(judge(&counted(0, 0, 0, 200), &all), Answer::No { .. }));
    }

    #[test]
    fn what_counts_nothing_is_refused() {
        for (more, part) in [
            (json!({"requests": 0}), "from 1 to 10000"),
            (json!({"share": {"at_least": 0.1}}), "needs `json`, `header` or `body`"),
            (json!({"share": {"json": {"a": 1}}}), "`at_least`, `at_most` or both"),
            (json!({"share": {"json": {"a": 1}, "at_most": 55.0}}), "55 is no share"),
            (json!({"share": {"json": {"a": 1}, "at_most": 0.1, "at_least": 0.2}}), "more than"),
            (json!({"url": "ftp://x"}), "http"),
        ] {
            let problem = sample(&more).validate().expect_err("refused");
            assert!(problem.contains(part), "{problem}");
        }
        assert_eq!(sample(&json!({})).validate(), Ok(()));
    }
}
