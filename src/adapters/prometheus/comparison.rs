//! A bound that values are held against.

use std::cmp::Ordering;
use std::fmt;

use super::series::number;

/// Bounds, of which at least one is given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Comparison {
    pub(super) above: Option<f64>,
    pub(super) at_least: Option<f64>,
    pub(super) at_most: Option<f64>,
    pub(super) below: Option<f64>,
    pub(super) equals: Option<f64>,
}

impl Comparison {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { above, at_least, at_most, below, equals } = *self;
        let (lower, upper) = (above.or(at_least), below.or(at_most));
        if above.is_some() && at_least.is_some() {
            return Err("`above` and `at_least` exclude each other".into());
        }
        if below.is_some() && at_most.is_some() {
            return Err("`below` and `at_most` exclude each other".into());
        }
        match (lower, upper, equals) {
            (None, None, None) => {
                Err("nothing is expected; add `above`, `at_least`, `at_most`, `below` or `equals`"
                    .into())
            }
            (None, None, Some(_)) => Ok(()),
            (_, _, Some(_)) => Err("`equals` leaves no room for another bound".into()),
            (Some(lower), Some(upper), None)
                if lower > upper || lower >= upper && (above.is_some() || below.is_some()) =>
            {
                Err(format!("no value is {self}"))
            }
            _ => Ok(()),
        }
    }

    /// Of two values within the bounds, how much further the first lies from the one that is crossed.
    pub(super) fn further(&self, one: f64, other: f64) -> Ordering {
        let upwards = self.above.or(self.at_least).is_some();
        if upwards { one.total_cmp(&other) } else { other.total_cmp(&one) }
    }

    /// Whether a value is within the bounds.
    #[expect(clippy::float_cmp, reason = "`equals` is meant for whole numbers such as 0 and 1")]
    pub(super) fn admits(&self, value: f64) -> bool {
        self.above.is_none_or(|bound| value > bound)
            && self.at_least.is_none_or(|bound| value >= bound)
            && self.at_most.is_none_or(|bound| value <= bound)
            && self.below.is_none_or(|bound| value < bound)
            && self.equals.is_none_or(|wanted| value == wanted)
    }
}

/// `above 0.75 and at most 0.9`.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = [
            ("above", self.above),
            ("at least", self.at_least),
            ("below", self.below),
            ("at most", self.at_most),
            ("equal to", self.equals),
        ];
        let texts: Vec<String> = bounds
            .into_iter()
            .filter_map(|(word, bound)| Some(format!("{word} {}", number(bound?))))
            .collect();
        f.write_str(&texts.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Comparison =
        Comparison { above: None, at_least: None, at_most: None, below: None, equals: None };

    #[test]
    fn bounds_admit_what_they_say() {
        for (comparison, admitted, refused) in [
            (Comparison { above: Some(0.9), ..NONE }, vec![0.91, f64::INFINITY], vec![0.9, 0.0]),
            (Comparison { at_least: Some(0.9), ..NONE }, vec![0.9, 1.0], vec![0.89]),
            (Comparison { at_most: Some(0.9), ..NONE }, vec![0.9, -1.0], vec![0.91]),
            (Comparison { below: Some(0.9), ..NONE }, vec![0.89], vec![0.9, f64::INFINITY]),
            (Comparison { equals: Some(1.0), ..NONE }, vec![1.0], vec![0.99, 2.0]),
            (
                Comparison { above: Some(0.75), at_most: Some(0.9), ..NONE },
                vec![0.76, 0.9],
                vec![0.75, 0.91],
            ),
        ] {
            assert_eq!(comparison.check(), Ok(()));
            assert!(admitted.iter().all(|value| comparison.admits(*value)), "{comparison}");
            assert!(!refused.iter().any(|value| comparison.admits(*value)), "{comparison}");
            assert!(!comparison.admits(f64::NAN), "{comparison}");
        }
    }

    #[test]
    fn contradictions_are_told() {
        for comparison in [
            NONE,
            Comparison { above: Some(1.0), at_least: Some(1.0), ..NONE },
            Comparison { below: Some(1.0), at_most: Some(1.0), ..NONE },
            Comparison { equals: Some(1.0), at_most: Some(1.0), ..NONE },
            Comparison { above: Some(2.0), below: Some(1.0), ..NONE },
            Comparison { above: Some(1.0), at_most: Some(1.0), ..NONE },
        ] {
            assert!(comparison.check().is_err(), "{comparison:?}");
        }
        let point = Comparison { at_least: Some(1.0), at_most: Some(1.0), ..NONE };
        assert_eq!(point.check(), Ok(()));
    }
}
