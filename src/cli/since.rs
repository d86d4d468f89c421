//! `--since`: when the incident began.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::error::{CliError, USAGE};
use crate::clock;
use crate::value::Lasting;

/// Reads `14:05` (today, or yesterday when that is still to come), `4m` (ago), or an RFC 3339 time.
pub(super) fn parse(text: &str) -> Result<Timestamp, CliError> {
    let now = clock::now();
    let time = read(text, now).ok_or_else(|| {
        CliError::new(USAGE, format!("read --since: `{text}` is not a time"))
            .hint("Write `14:05`, `4m` (ago), or `2026-03-01T14:05:00Z`.")
    })?;
    if time > now {
        return Err(CliError::new(USAGE, format!("read --since: `{text}` is in the future")));
    }
    Ok(time)
}

fn read(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(Lasting(ago)) = text.trim_end_matches("ago").parse::<Lasting>() {
        return now.checked_sub(SignedDuration::try_from(ago).ok()?).ok();
    }
    let time: Time = text.parse().ok()?;
    let today = now.to_zoned(TimeZone::system());
    let at = today.date().to_datetime(time).to_zoned(TimeZone::system()).ok()?.timestamp();
    if at <= now { Some(at) } else { at.checked_sub(SignedDuration::from_hours(24)).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_read_in_three_ways() {
        let now = at("2026-03-01T14:10:00Z");
        assert_eq!(read("4m", now), Some(at("2026-03-01T14:06:00Z")));
        assert_eq!(read("2026-03-01T14:05:00Z", now), Some(at("2026-03-01T14:05:00Z")));
        assert_eq!(read("yesterday", now), None);
    }

    #[test]
    fn a_time_of_day_never_lies_ahead() {
        let now = at("2026-03-01T14:10:00Z");
        for hour in 0..24 {
            let time = read(&format!("{hour:02}:00"), now).unwrap();
            assert!(time <= now && now.duration_since(time) <= SignedDuration::from_hours(24));
        }
    }
}
