//! The value types of the language that adapters share: durations with a unit, bounded counts, argument vectors.

mod by_name;
mod json_text;
mod shared;

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use by_name::ByName;
pub use json_text::JsonText;
pub use shared::Shared;

/// The longest duration that the language accepts: ten years.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A duration written with its unit: `250ms`, `30s`, `5m`, `1h`, `1d`, also `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lasting(pub Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LastingError {
    /// A bare number.
    #[error("a duration needs a unit, such as `{0}s`")]
    NoUnit(String),
    /// Not a duration at all.
    #[error("`{0}` is not a duration; write `250ms`, `30s`, `5m` or `1h`")]
    Malformed(String),
    /// Nothing, or less.
    #[error("a duration must be longer than zero")]
    NotPositive,
    /// More than [`LONGEST`].
    #[error("`{0}` is longer than ten years")]
    TooLong(String),
}

impl std::str::FromStr for Lasting {
    type Err = LastingError;

    fn from_str(text: &str) -> Result<Self, LastingError> {
        let mut total = Duration::ZERO;
        let mut parts = 0;
        let compact: String = text.split_whitespace().collect();
        if !compact.is_empty() && compact.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(LastingError::NoUnit(compact));
        }
        let malformed = || LastingError::Malformed(text.to_owned());
        let too_long = || LastingError::TooLong(text.to_owned());
        let mut rest = compact.as_str();
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at(letters);
            if digits == 0 || letters == 0 {
                return Err(malformed());
            }
            let number: u64 = number.parse().map_err(|_| too_long())?;
            let millis = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(malformed()),
            };
            let part =
                number.checked_mul(millis).map(Duration::from_millis).ok_or_else(too_long)?;
            total = total.checked_add(part).ok_or_else(too_long)?;
            parts += 1;
            rest = tail;
        }
        if parts == 0 {
            return Err(malformed());
        }
        if total.is_zero() {
            return Err(LastingError::NotPositive);
        }
        if total > LONGEST {
            return Err(too_long());
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&brief(self.0))
    }
}

/// The beginning of a text, at most so many bytes, in whole letters.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A duration as people read it: `850ms`, `4.2s`, `38s`, `3m 30s`, `2h 5m`.
pub fn brief(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match (millis, seconds) {
        (0..1000, _) => format!("{millis}ms"),
        (_, 0..10) if millis % 1000 >= 50 => format!("{:.1}s", duration.as_secs_f64()),
        (_, 0..60) => format!("{}s", (millis + 500) / 1000),
        (_, 60..3600) => pair(seconds / 60, "m", seconds % 60, "s"),
        (_, 3600..86_400) => pair(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn pair(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit} {small}{small_unit}"),
    }
}

impl Serialize for Lasting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Exact, unlike `brief`: what is written down must read back as the same duration.
        to.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Lasting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "duration-with-unit",
            "description": "A duration with its unit: 250ms, 30s, 5m, 1h, 1m 30s",
            "pattern": r"^\s*([0-9]+\s*(ms|s|m|h|d)\s*)+$"
        })
    }
}

/// How many of something: an exact number, or bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Count {
    /// Exactly this many.
    Exactly(u64),
    /// Bounds, both included.
    Between(Bounds),
}

/// The bounds of a [`Count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// The greatest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = serde_json::Value::deserialize(from)?;
        if let Some(number) = value.as_u64() {
            return Ok(Self::Exactly(number));
        }
        Bounds::deserialize(value).map(Self::Between).map_err(|_| {
            D::Error::custom("expected a whole number, or `{at_least: N}` and `{at_most: N}`")
        })
    }
}

impl Count {
    /// Whether `number` is as wanted.
    pub fn admits(self, number: u64) -> bool {
        match self {
            Self::Exactly(wanted) => number == wanted,
            Self::Between(bounds) => {
                bounds.at_least.is_none_or(|least| number >= least)
                    && bounds.at_most.is_none_or(|most| number <= most)
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(number) => write!(f, "{number}"),
            Self::Between(Bounds { at_least: Some(least), at_most: Some(most) }) => {
                write!(f, "{least} to {most}")
            }
            Self::Between(Bounds { at_least: Some(least), at_most: None }) => {
                write!(f, "at least {least}")
            }
            Self::Between(Bounds { at_least: None, at_most: Some(most) }) => {
                write!(f, "at most {most}")
            }
            Self::Between(Bounds { at_least: None, at_most: None }) => f.write_str("any number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn lasting(text: &str) -> Result<Duration, LastingError> {
        text.parse::<Lasting>().map(|lasting| lasting.0)
    }

    #[test]
    fn the_beginning_of_a_text_ends_between_letters() {
        assert_eq!(beginning("aä", 9), "aä");
        assert_eq!(beginning("aä", 2), "a");
        assert_eq!(beginning("ä", 1), "");
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(lasting("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(lasting("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(lasting(" 2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(lasting("3650d"), Ok(LONGEST));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        assert_eq!(lasting("30"), Err(LastingError::NoUnit("30".into())));
        for text in ["0s", "0ms 0h"] {
            assert_eq!(lasting(text), Err(LastingError::NotPositive), "{text}");
        }
        for text in ["99999999999h", "3651d", "18446744073709551615d", "99999999999999999999s"] {
            assert_eq!(lasting(text), Err(LastingError::TooLong(text.into())), "{text}");
        }
        for text in ["", "-5s", "+5s", "1.5s", "5 parsecs", "1e3s", "s", "1s2", "٣s", "5S"] {
            assert_eq!(lasting(text), Err(LastingError::Malformed(text.into())), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

        #[test]
        fn a_duration_never_wraps(number: u64, unit in proptest::sample::select(vec!["ms", "s", "m", "h", "d"])) {
            let factor: u128 = match unit { "ms" => 1, "s" => 1000, "m" => 60_000, "h" => 3_600_000, _ => 86_400_000 };
            let exact = u128::from(number) * factor;
            let fits = exact > 0 && exact <= LONGEST.as_millis();
            match lasting(&format!("{number}{unit}")) {
                Ok(read) => prop_assert_eq!(read.as_millis(), exact),
                Err(_) => prop_assert!(!fits),
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9 .+a-z-]{0,40}") {
            if let Ok(read) = lasting(&text) {
                prop_assert!(!read.is_zero() && read <= LONGEST);
                prop_assert_eq!(lasting(&format!("{}ms", read.as_millis())), Ok(read));
            }
        }
    }
}
