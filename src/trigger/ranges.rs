//! Ranges of values, as the bounds of a condition make them.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// The keys of a probe's arguments that bound its values.
pub(super) const BOUNDS: [&str; 5] = ["above", "at_least", "at_most", "below", "equals"];

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
struct End {
    value: f64,
    /// Whether the value itself belongs to the range.
    closed: bool,
}

/// The values between two ends; without an end, all on that side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    low: Option<End>,
    high: Option<End>,
}

impl Range {
    /// The range that the bounds among a probe's arguments make; `None` without bounds, and when one is not known yet.
    pub(super) fn of(args: &Value) -> Option<Self> {
        let known = BOUNDS.iter().all(|key| args.get(key).is_none_or(Value::is_number));
        let given = BOUNDS.iter().any(|key| args.get(key).is_some());
        let bound =
            |key: &str, closed| Some(End { value: args.get(key).and_then(Value::as_f64)?, closed });
        let equal = bound("equals", true);
        let low = bound("above", false).or(bound("at_least", true)).or(equal);
        let high = bound("below", false).or(bound("at_most", true)).or(equal);
        (known && given).then_some(Self { low, high })
    }

    /// Whether some value is in both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        meets(self.low, other.high) && meets(other.low, self.high)
    }

    /// Whether every value of the other is in this.
    pub(super) fn contains(&self, other: &Self) -> bool {
        from_below(self.low, other.low) != Ordering::Greater
            && from_above(self.high, other.high) != Ordering::Less
    }

    /// The gap between ranges, if there is one. What lies between a range without a lower end and one without an upper end is none: values
    /// may be too low and too high.
    pub(super) fn gap(ranges: &[Self]) -> Option<Self> {
        let mut sorted = ranges.to_vec();
        sorted.sort_by(|a, b| from_below(a.low, b.low));
        // Those that meet, as one.
        let mut covered: Vec<Self> = Vec::new();
        for range in sorted {
            match covered.last_mut() {
                Some(last) if last.reaches(&range) => {
                    if from_above(last.high, range.high) == Ordering::Less {
                        last.high = range.high;
                    }
                }
                _ => covered.push(range),
            }
        }
        // Between all that is too little and all that is too much lies what is well.
        let gap =
            covered.windows(2).find(|pair| pair[0].low.is_some() || pair[1].high.is_some())?;
        let opposite = |end: Option<End>| end.map(|end| End { closed: !end.closed, ..end });
        Some(Self { low: opposite(gap[0].high), high: opposite(gap[1].low) })
    }

    /// Whether nothing lies between this and the beginning of another that begins no lower.
    fn reaches(&self, other: &Self) -> bool {
        match (self.high, other.low) {
            (Some(high), Some(low)) => touches(high, low),
            _ => true,
        }
    }
}

/// Whether there is a value from `low` on and up to `high`.
fn meets(low: Option<End>, high: Option<End>) -> bool {
    match (low, high) {
        (Some(low), Some(high)) => {
            low.value < high.value || low.value <= high.value && low.closed && high.closed
        }
        _ => true,
    }
}

/// Whether nothing lies between the end of one range and the beginning of the next.
fn touches(high: End, low: End) -> bool {
    low.value < high.value || low.value <= high.value && (low.closed || high.closed)
}

fn from_below(a: Option<End>, b: Option<End>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        // A closed end begins earlier.
        (Some(a), Some(b)) => a.value.total_cmp(&b.value).then(b.closed.cmp(&a.closed)),
    }
}

fn from_above(a: Option<End>, b: Option<End>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.value.total_cmp(&b.value).then(a.closed.cmp(&b.closed)),
    }
}

/// `above 0.75 and at most 0.9`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = self
            .low
            .map(|end| format!("{} {}", if end.closed { "at least" } else { "above" }, end.value));
        let high = self
            .high
            .map(|end| format!("{} {}", if end.closed { "at most" } else { "below" }, end.value));
        match (low, high) {
            (Some(_), Some(_))
                if self.low.map(|end| end.value) == self.high.map(|end| end.value) =>
            {
                write!(f, "exactly {}", self.low.map_or(0.0, |end| end.value))
            }
            (Some(low), Some(high)) => write!(f, "{low} and {high}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one),
            (None, None) => f.write_str("any value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(args: &Value) -> Range {
        Range::of(args).unwrap()
    }

    #[test]
    fn bounds_make_ranges() {
        assert_eq!(
            range(&json!({"above": 0.75, "at_most": 0.9})).to_string(),
            "above 0.75 and at most 0.9"
        );
        assert_eq!(range(&json!({"at_least": 1})).to_string(), "at least 1");
        assert_eq!(range(&json!({"equals": 2})).to_string(), "exactly 2");
        assert_eq!(Range::of(&json!({"query": "up"})), None);
        assert_eq!(Range::of(&json!({"above": "{{ environment.limit }}"})), None);
    }

    #[test]
    fn overlaps_and_gaps_are_exact_at_their_ends() {
        let open = range(&json!({"above": 1}));
        let closed = range(&json!({"at_least": 1}));
        let up_to = range(&json!({"at_most": 1}));
        let below = range(&json!({"below": 1}));
        assert!(closed.overlaps(&up_to) && !open.overlaps(&up_to) && !closed.overlaps(&below));
        assert!(closed.contains(&open) && !open.contains(&closed));
        assert_eq!(Range::gap(&[open, up_to]), None);
        assert_eq!(Range::gap(&[closed, below]), None);
        let told = |ranges: &[Range]| Range::gap(ranges).map(|gap| gap.to_string());
        let band = range(&json!({"below": 1, "at_least": 0}));
        assert_eq!(told(&[open, band]), Some("exactly 1".into()));
        // Too little and too much, and between them what is well.
        let much = range(&json!({"above": 1000}));
        assert_eq!((told(&[open, below]), told(&[much, below])), (None, None));
        let more = range(&json!({"above": 0, "at_most": 20}));
        assert_eq!(told(&[much, more, below]), None);
        let within = range(&json!({"at_least": 10, "at_most": 20}));
        assert_eq!(told(&[much, within, below]), Some("at least 1 and below 10".into()));
        assert_eq!(told(&[within, much]), Some("above 20 and at most 1000".into()));
        let warning = range(&json!({"above": 0.5, "at_most": 0.8}));
        let critical = range(&json!({"above": 0.9}));
        let gap = Range::gap(&[critical, warning]).map(|gap| gap.to_string());
        assert_eq!(gap, Some("above 0.8 and at most 0.9".into()));
        let wide = range(&json!({"above": 0.1}));
        assert_eq!(Range::gap(&[critical, warning, wide]), None);
    }
}
