//! The series of a server, and their file: text in the exposition format, with the time since when a value holds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::query::Selector;
use crate::clock;
use crate::sandbox::{SandboxError, store};

/// How long a sample is seen when no newer one comes, in milliseconds.
const LOOKBACK: i64 = 5 * 60 * 1000;

/// The labels of a series, its name among them.
pub(super) type Labels = BTreeMap<String, String>;

/// A value and its time, in milliseconds since 1970.
pub(super) type Sample = (i64, f64);

/// The values of a series.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// Each holds from its time on, as if it were scraped all the time.
    Set(Vec<Sample>),
    /// Single samples, oldest first.
    Recorded(Vec<Sample>),
}

impl Values {
    /// The newest sample that is seen at a time.
    fn at(&self, time: i64) -> Option<Sample> {
        let newest = |samples: &[Sample]| samples.iter().rev().find(|(at, _)| *at <= time).copied();
        match self {
            Self::Set(changes) => newest(changes).map(|(_, value)| (time, value)),
            Self::Recorded(samples) => newest(samples).filter(|(at, _)| time - at < LOOKBACK),
        }
    }
}

/// A series with a value, as text that was looked at: `name{label="value"} 0.5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewValue(String);

impl FromStr for NewValue {
    type Err = SandboxError;

    fn from_str(text: &str) -> Result<Self, SandboxError> {
        match read(text) {
            Some((_, _, None)) => Ok(Self(text.to_owned())),
            _ => Err(not_a_sample(text)),
        }
    }
}

impl fmt::Display for NewValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An alerting rule: it fires for every series of a metric that is greater than zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The alert's name.
    pub alert: String,
    /// The metric.
    pub metric: String,
}

/// The server.
#[derive(Debug, Clone)]
pub struct Prometheus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    rules: Vec<Rule>,
    series: Mutex<BTreeMap<Labels, Values>>,
}

impl Prometheus {
    /// A server with the series in the file at `path`, and these rules.
    pub fn open(path: &Path, rules: Vec<Rule>) -> Result<Self, SandboxError> {
        let server =
            Self(Arc::new(Shared { path: path.to_owned(), rules, series: Mutex::default() }));
        if path.exists() {
            let text = std::fs::read_to_string(path).map_err(SandboxError::file("read", path))?;
            for line in text.lines() {
                let (labels, value, since) = read(line).ok_or_else(|| {
                    let error =
                        std::io::Error::new(std::io::ErrorKind::InvalidData, "not a sample");
                    SandboxError::file("read", path)(error)
                })?;
                server.change(labels, (since.unwrap_or(0), value));
            }
        }
        Ok(server)
    }

    /// Replaces all series by these, which have had their values for ever. One for each line: `name{label="value"} 0.5`.
    pub fn seed(&self, lines: &str) -> Result<(), SandboxError> {
        let read: Vec<(Labels, f64)> = parse(lines)?;
        self.series().clear();
        for (labels, value) in read {
            self.change(labels, (0, value));
        }
        self.save()
    }

    /// Gives series other values from now on, one for each line: `name{label="value"} 0.5`.
    pub fn set(&self, lines: &str) -> Result<(), SandboxError> {
        let read = parse(lines)?;
        let now = clock::now().as_millisecond();
        for (labels, value) in read {
            self.change(labels, (now, value));
        }
        self.save()
    }

    /// Gives a series samples of the past, oldest first, with times in milliseconds since 1970. They are not kept in the file.
    pub fn record(&self, series: &str, samples: &[(i64, f64)]) -> Result<(), SandboxError> {
        let selector = Selector::read(series).ok_or_else(|| not_a_sample(series))?;
        let _former =
            self.series().insert(selector.into_labels(), Values::Recorded(samples.to_vec()));
        Ok(())
    }

    /// The newest value of every series that was set, as text in the exposition format.
    pub fn shown(&self) -> Vec<String> {
        let now = clock::now().as_millisecond();
        let series = self.series();
        let present = series.iter().filter_map(|(labels, values)| Some((labels, values.at(now)?)));
        present.map(|(labels, (_, value))| format!("{} {value}", name(labels))).collect()
    }

    /// The series that a selector means, each with the newest sample that is seen at a time.
    pub(super) fn select(&self, selector: &Selector, time: i64) -> Vec<(Labels, Sample)> {
        let series = self.series();
        let meant = series.iter().filter(|(labels, _)| selector.admits(labels));
        meant.filter_map(|(labels, values)| Some((labels.clone(), values.at(time)?))).collect()
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.0.rules
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<Labels, Values>> {
        self.0.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, labels: Labels, sample: Sample) {
        let mut series = self.series();
        match series.entry(labels).or_insert_with(|| Values::Set(Vec::new())) {
            Values::Set(changes) => changes.push(sample),
            recorded @ Values::Recorded(_) => *recorded = Values::Set(vec![sample]),
        }
    }

    fn save(&self) -> Result<(), SandboxError> {
        let mut text = String::new();
        for (labels, values) in &*self.series() {
            let Values::Set(changes) = values else { continue };
            for (since, value) in changes {
                text.push_str(&format!("{} {value} {since}\n", name(labels)));
            }
        }
        store::replace(&self.0.path, text.as_bytes())
    }
}

/// `name{label="value"}`.
fn name(labels: &Labels) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    if pairs.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", pairs.join(",")) }
}

fn parse(lines: &str) -> Result<Vec<(Labels, f64)>, SandboxError> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = |line: &str| read(line).map(|(labels, value, _)| (labels, value));
    lines.map(|line| read(line).ok_or_else(|| not_a_sample(line))).collect()
}

fn not_a_sample(line: &str) -> SandboxError {
    SandboxError::Process(format!("read the sample `{line}`: write `name{{label=\"value\"}} 0.5`"))
}

/// A line of the exposition format: a series, a value, and perhaps a time.
fn read(line: &str) -> Option<(Labels, f64, Option<i64>)> {
    // Label values may hold spaces, so the series ends behind the last brace.
    let end = line.rfind('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1))?;
    let selector = Selector::read(&line[..end])?;
    let mut rest = line[end..].split_whitespace();
    let value = rest.next()?.parse().ok()?;
    let since = rest.next().map(str::parse).transpose().ok()?;
    rest.next().is_none().then(|| (selector.into_labels(), value, since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(server: &Prometheus, selector: &str, time: i64) -> Vec<f64> {
        let selector = Selector::read(selector).unwrap();
        server.select(&selector, time).into_iter().map(|(_, (_, value))| value).collect()
    }

    #[test]
    fn what_was_set_holds_from_then_on_and_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.prom");
        let server = Prometheus::open(&path, Vec::new()).unwrap();
        server.seed("m{a=\"one two\"} 0.5\nn 2\n").unwrap();
        let before = clock::now().as_millisecond() - 1000;
        server.set("m{a=\"one two\"} 0.75").unwrap();
        let again = Prometheus::open(&path, Vec::new()).unwrap();
        let later = clock::now().as_millisecond() + 3_600_000;
        for server in [server, again] {
            assert_eq!(values(&server, "m", before), [0.5]);
            assert_eq!(values(&server, "m{a=\"one two\"}", later), [0.75]);
            assert!(values(&server, "m{a=\"one\"}", later).is_empty());
            assert_eq!(server.shown(), ["m{a=\"one two\"} 0.75", "n 2"]);
        }
    }

    #[test]
    fn a_recorded_sample_is_seen_for_five_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let server = Prometheus::open(&dir.path().join("metrics.prom"), Vec::new()).unwrap();
        server.record("m{a=\"1\"}", &[(1_000_000, 1.0), (1_060_000, 2.0)]).unwrap();
        assert!(values(&server, "m", 999_999).is_empty());
        assert_eq!(values(&server, "m", 1_059_999), [1.0]);
        assert_eq!(values(&server, "m", 1_060_000 + LOOKBACK - 1), [2.0]);
        assert!(values(&server, "m", 1_060_000 + LOOKBACK).is_empty());
    }

    #[test]
    fn what_is_no_sample_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let server = Prometheus::open(&dir.path().join("metrics.prom"), Vec::new()).unwrap();
        server.seed("m 1").unwrap();
        for wrong in ["m", "m x", "1m 2", "m{a=1} 2", "m{a=\"1\" 2", "m 1 2 3", "m 2\nn"] {
            assert!(server.set(wrong).is_err(), "{wrong}");
        }
        assert_eq!(server.shown(), ["m 1"]);
    }
}
