//! Holds series against a bound: it is so, it is not, or nobody knows.
//!
//! What is not a number, a series that was not there all the time, and an empty result are missing data. They never make a condition true
//! and never make it false; a series that is known to break it does, whatever the others are.

use std::time::Duration;

use serde_json::json;

use super::comparison::Comparison;
use super::series::{Labels, Series, number};
use crate::action::{Answer, Evidence};
use crate::value::brief;

/// How many series an answer names.
const MOST_NAMED: usize = 3;

/// Which series have to meet the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Every one of them.
    All,
    /// One at least.
    Any,
}

/// What is wanted of the series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) comparison: Comparison,
    pub(super) quantity: Quantity,
    /// How long it has to be so, with the number of values that a whole window has.
    pub(super) lasting: Option<(Duration, usize)>,
    /// How long ago the values were taken that these are divided by.
    pub(super) baseline: Option<Duration>,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.comparison)?;
        if let Some(ago) = self.baseline {
            write!(f, " times what it was {} ago", brief(ago))?;
        }
        match self.lasting {
            Some((time, _)) => write!(f, " for {}", brief(time)),
            None => Ok(()),
        }
    }
}

/// A series with its values, newest last, and the value that they are divided by.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) labels: Labels,
    pub(super) values: Vec<f64>,
    /// `None` without a baseline; not a number where there was none at that time.
    pub(super) baseline: Option<f64>,
    /// Why its values tell nothing, such as that they are old.
    pub(super) unfit: Option<String>,
}

impl Judged {
    pub(super) fn of(series: Series) -> Self {
        let values = series.points.into_iter().map(|point| point.value).collect();
        Self { labels: series.labels, values, baseline: None, unfit: None }
    }

    fn ratio(&self, value: f64) -> f64 {
        self.baseline.map_or(value, |baseline| value / baseline)
    }

    fn latest(&self) -> f64 {
        self.ratio(self.values.last().copied().unwrap_or(f64::NAN))
    }

    /// The labels, if there are any, before a text.
    fn named(&self, text: &str) -> String {
        if self.labels.is_empty() { text.to_owned() } else { format!("{} {text}", self.labels) }
    }

    /// What is said of the series, or of the only value.
    fn whose(&self, text: &str) -> String {
        if self.labels.is_empty() { format!("the value {text}") } else { self.named(text) }
    }

    /// The value as it is told, with what it comes from.
    fn shown(&self, value: f64) -> String {
        let text = match self.baseline {
            None => number(value),
            Some(baseline) => {
                let ratio = self.ratio(value);
                format!("{} ({} now, {} then)", number(ratio), number(value), number(baseline))
            }
        };
        self.named(&text)
    }

    fn judge(&self, wanted: &Wanted) -> Finding {
        if let Some(why) = &self.unfit {
            return Finding::Unknown(self.whose(why));
        }
        if let Some(baseline) = self.baseline {
            let ago = wanted.baseline.map(brief).unwrap_or_default();
            if baseline.is_nan() {
                return Finding::Unknown(self.whose(&format!("has no value of {ago} ago")));
            }
            if baseline == 0.0 {
                return Finding::Unknown(
                    self.whose(&format!("was 0 {ago} ago, and nothing is a multiple of that")),
                );
            }
        }
        // Two infinite values have no ratio, though each is a number.
        let known = || self.values.iter().filter(|value| !self.ratio(**value).is_nan());
        if let Some(value) =
            known().rev().find(|value| !wanted.comparison.admits(self.ratio(**value)))
        {
            return Finding::Misses(*value);
        }
        match wanted.lasting {
            Some((time, whole)) if known().count() < whole => {
                Finding::Unknown(self.whose(&format!(
                    "has {} of the {whole} values of the last {}",
                    known().count(),
                    brief(time)
                )))
            }
            None if known().next().is_none() => Finding::Unknown(self.whose("is not a number")),
            _ => Finding::Meets,
        }
    }
}

/// What became of one series.
enum Finding {
    Meets,
    /// With the newest value that does not.
    Misses(f64),
    /// With what is missing.
    Unknown(String),
}

/// The answer over all series.
pub(super) fn judge(series: &[Judged], wanted: &Wanted) -> Answer {
    if series.is_empty() {
        return Answer::NoData { reason: "the query gives no series".to_owned() };
    }
    let (mut meeting, mut missing, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for one in series {
        match one.judge(wanted) {
            Finding::Meets => meeting.push((one, one.values.last().copied().unwrap_or(f64::NAN))),
            Finding::Misses(value) => missing.push((one, value)),
            Finding::Unknown(why) => unknown.push(why),
        }
    }
    let (count, no_data) = (series.len(), || Answer::NoData { reason: some(&unknown) });
    match wanted.quantity {
        Quantity::All if !missing.is_empty() => Answer::No {
            observed: match count {
                1 => format!("{}, not {wanted}", named(&missing)),
                _ => {
                    format!("{} of {count} series not {wanted}: {}", missing.len(), named(&missing))
                }
            },
        },
        Quantity::Any if !meeting.is_empty() => {
            let summary = match count {
                1 => format!("{}, {wanted}", named(&meeting)),
                _ => format!("{} of {count} series {wanted}: {}", meeting.len(), named(&meeting)),
            };
            let furthest = meeting
                .iter()
                .map(|(one, _)| *one)
                .max_by(|one, other| wanted.comparison.further(one.latest(), other.latest()));
            let labels = furthest.map(|one| one.labels.value());
            Answer::Yes { evidence: Evidence::with(summary, json!({ "labels": labels })) }
        }
        _ if !unknown.is_empty() => no_data(),
        Quantity::All => yes(match count {
            1 => format!("{}, {wanted}", named(&meeting)),
            _ => format!("all {count} series {wanted}{}", range(series)),
        }),
        Quantity::Any => Answer::No {
            observed: match count {
                1 => format!("{}, not {wanted}", named(&missing)),
                _ => format!("none of {count} series {wanted}{}", range(series)),
            },
        },
    }
}

fn yes(summary: String) -> Answer {
    Answer::Yes { evidence: Evidence::new(summary) }
}

/// The first few, and how many more there are.
fn named(found: &[(&Judged, f64)]) -> String {
    let texts: Vec<String> = found.iter().map(|(one, value)| one.shown(*value)).collect();
    some(&texts)
}

fn some(texts: &[String]) -> String {
    let shown = texts.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `, from 0.01 to 0.03`, or `, each 0`.
fn range(series: &[Judged]) -> String {
    let values = || series.iter().map(Judged::latest).filter(|value| !value.is_nan());
    let (least, most) = (values().fold(f64::NAN, f64::min), values().fold(f64::NAN, f64::max));
    if least.is_nan() {
        return String::new();
    }
    if least.total_cmp(&most).is_eq() {
        return format!(", each {}", number(least));
    }
    format!(", from {} to {}", number(least), number(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[&[f64]]) -> Vec<Judged> {
        let labels = |index: usize| Labels::new([("a".into(), index.to_string())].into());
        let series = values.iter().enumerate().map(|(index, values)| Judged {
            labels: labels(index),
            values: values.to_vec(),
            baseline: None,
            unfit: None,
        });
        series.collect()
    }

    fn wanted(quantity: Quantity, whole: Option<usize>) -> Wanted {
        let comparison = Comparison { above: Some(1.0), ..Comparison::default() };
        let lasting = whole.map(|whole| (Duration::from_secs(30), whole));
        Wanted { comparison, quantity, lasting, baseline: None }
    }

    /// The answer as a letter, and its text.
    fn told(series: &[Judged], wanted: &Wanted) -> (char, String) {
        match judge(series, wanted) {
            Answer::Yes { evidence } => ('y', evidence.summary),
            Answer::No { observed } => ('n', observed),
            Answer::NoData { reason } => ('?', reason),
        }
    }

    const NAN: f64 = f64::NAN;

    #[test]
    fn missing_data_make_nothing_true_and_nothing_false() {
        for (values, all, any) in [
            (&[][..], '?', '?'),
            (&[&[2.0][..]], 'y', 'y'),
            (&[&[1.0]], 'n', 'n'),
            (&[&[NAN]], '?', '?'),
            (&[&[2.0], &[NAN]], '?', 'y'),
            (&[&[1.0], &[NAN]], 'n', '?'),
            (&[&[2.0], &[1.0]], 'n', 'y'),
            (&[&[2.0], &[1.0], &[NAN]], 'n', 'y'),
            (&[&[f64::INFINITY]], 'y', 'y'),
        ] {
            let series = series(values);
            let found = |quantity| told(&series, &wanted(quantity, None)).0;
            assert_eq!((found(Quantity::All), found(Quantity::Any)), (all, any), "{values:?}");
        }
    }

    #[test]
    fn a_lasting_condition_needs_every_value_of_its_window() {
        for (values, all, any) in [
            (&[&[2.0, 2.0, 2.0][..]][..], 'y', 'y'),
            // Now, but not all the time.
            (&[&[2.0, 1.0, 2.0]], 'n', 'n'),
            // As far as it is known.
            (&[&[2.0, 2.0]], '?', '?'),
            (&[&[2.0, NAN, 2.0]], '?', '?'),
            (&[&[1.0, 2.0]], 'n', 'n'),
            (&[&[2.0, 2.0, 2.0], &[2.0, 2.0]], '?', 'y'),
            (&[&[1.0, 1.0, 1.0], &[2.0, 2.0]], 'n', '?'),
        ] {
            let series = series(values);
            let found = |quantity| told(&series, &wanted(quantity, Some(3))).0;
            assert_eq!((found(Quantity::All), found(Quantity::Any)), (all, any), "{values:?}");
        }
    }

    #[test]
    fn a_ratio_needs_something_to_compare_with() {
        let mut wanted = wanted(Quantity::All, None);
        wanted.baseline = Some(Duration::from_secs(3600));
        for (baseline, letter) in [(1.0, 'y'), (2.0, 'n'), (4.0, 'n'), (0.0, '?'), (NAN, '?')] {
            let mut series = series(&[&[2.0]]);
            series[0].baseline = Some(baseline);
            assert_eq!(told(&series, &wanted).0, letter, "{baseline}");
        }
        let endless = f64::INFINITY;
        for bound in [Some(1.0), None] {
            wanted.comparison =
                Comparison { above: bound, at_most: Some(9.0), ..wanted.comparison };
            let mut series = series(&[&[endless], &[-endless]]);
            for one in &mut series {
                one.baseline = Some(endless);
            }
            assert_eq!(told(&series, &wanted).0, '?', "infinite over infinite");
        }
    }

    #[test]
    fn an_unfit_series_tells_nothing_and_the_others_do() {
        let mut series = series(&[&[2.0], &[1.0]]);
        for (unfit, all, any) in [(0, 'n', '?'), (1, '?', 'y')] {
            series.iter_mut().for_each(|one| one.unfit = None);
            series[unfit].unfit = Some("is old".to_owned());
            let found = |quantity| told(&series, &wanted(quantity, None)).0;
            assert_eq!((found(Quantity::All), found(Quantity::Any)), (all, any), "{unfit}");
        }
        assert_eq!(told(&series, &wanted(Quantity::All, None)).1, r#"{a="1"} is old"#);
    }

    #[test]
    fn of_several_that_meet_it_the_furthest_is_told_to_programs() {
        let labels = |wanted: &Wanted| match judge(&series(&[&[2.0], &[4.0], &[3.0]]), wanted) {
            Answer::Yes { evidence } => evidence.facts["labels"]["a"].clone(),
            other => panic!("{other:?}"),
        };
        let above = wanted(Quantity::Any, None);
        assert_eq!(labels(&above), "1");
        let below = Comparison { below: Some(9.0), ..Comparison::default() };
        assert_eq!(labels(&Wanted { comparison: below, ..above }), "0");
    }

    #[test]
    fn series_are_named_with_their_values_and_not_too_many() {
        let all = wanted(Quantity::All, None);
        let five = series(&[&[0.5], &[0.25], &[0.1], &[0.2], &[3.0]]);
        assert_eq!(
            told(&five, &all).1,
            r#"4 of 5 series not above 1: {a="0"} 0.5, {a="1"} 0.25, {a="2"} 0.1 and 1 more"#
        );
        let any = wanted(Quantity::Any, Some(1));
        assert_eq!(told(&five, &any).1, r#"1 of 5 series above 1 for 30s: {a="4"} 3"#);
        assert_eq!(told(&five[..4], &any).1, "none of 4 series above 1 for 30s, from 0.1 to 0.5");
        assert_eq!(told(&series(&[&[2.0], &[4.5]]), &all).1, "all 2 series above 1, from 2 to 4.5");
        let mut one = series(&[&[3.0]]);
        one[0].labels = Labels::default();
        assert_eq!(told(&one, &all).1, "3, above 1");
        one[0].baseline = Some(6.0);
        let ratio = Wanted { baseline: Some(Duration::from_secs(60)), ..all };
        assert_eq!(
            told(&one, &ratio).1,
            "0.5 (3 now, 6 then), not above 1 times what it was 1m ago"
        );
    }
}
