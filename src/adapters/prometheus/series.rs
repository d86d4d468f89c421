//! What a query gives: series with their labels, each with one value or with one for every step of a window.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// The label that holds a metric's name.
const NAME: &str = "__name__";
/// The longest that is shown of a series' labels, in characters.
const LONGEST_SHOWN: usize = 120;

/// The labels of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels(BTreeMap<String, String>);

impl Labels {
    /// These labels. A metric's name does not tell series of one query apart, and functions drop it.
    pub(super) fn new(mut labels: BTreeMap<String, String>) -> Self {
        let _name = labels.remove(NAME);
        Self(labels)
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        self.0.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
    }

    /// Whether there is none, as with a sum over everything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `{agent_type="coder"}`; nothing without labels.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let text = pairs.join(", ");
        match text.char_indices().nth(LONGEST_SHOWN) {
            Some((end, _)) => write!(f, "{{{}…}}", &text[..end]),
            None => write!(f, "{{{text}}}"),
        }
    }
}

/// A value, and the server's time at which it holds, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) at: f64,
    pub(super) value: f64,
}

/// A series. Without a window it has one point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) points: Vec<Point>,
}

impl Series {
    /// The newest value; not a number when there is none.
    pub(super) fn latest(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |point| point.value)
    }
}

/// A value as people read it: four significant digits, or all of a whole number.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size.fract() == 0.0 && size < 1e15 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e15).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = match size {
        ..0.001 => 7,
        ..0.01 => 6,
        ..0.1 => 5,
        ..1.0 => 4,
        ..10.0 => 3,
        ..100.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        for (value, text) in [
            (0.0, "0"),
            (2.0, "2"),
            (-3.0, "-3"),
            (0.05, "0.05"),
            (0.073_424_2, "0.07342"),
            (0.943_199, "0.9432"),
            (812.345_6, "812.3"),
            (123_456.7, "123457"),
            (0.000_012_3, "1.230e-5"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn labels_are_shown_without_the_name_and_bounded() {
        let labels = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            Labels::new(pairs.collect())
        };
        assert_eq!(labels(&[("__name__", "up"), ("a", "1")]).to_string(), r#"{a="1"}"#);
        assert_eq!(labels(&[("__name__", "up")]).to_string(), "");
        let long = labels(&[("a", &"ä".repeat(500))]).to_string();
        assert_eq!(long.chars().count(), LONGEST_SHOWN + 3, "{long}");
    }
}
