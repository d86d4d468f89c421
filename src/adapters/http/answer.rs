//! An answer, bounded, and what its `Retry-After` asks for.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};

use crate::secret::Secrets;
use crate::value::beginning;

/// The most that is read of an answer, unless its client says otherwise.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// The most of an answer that a message quotes, in bytes.
const MOST_QUOTED: usize = 300;

/// What came back.
#[derive(Debug)]
pub(in crate::adapters) struct Answer {
    pub(in crate::adapters) status: u16,
    pub(in crate::adapters) headers: HeaderMap,
    pub(in crate::adapters) body: Vec<u8>,
    /// Whether there was more than was read.
    pub(in crate::adapters) cut: bool,
}

impl Answer {
    /// The status with what helps to understand it: where a redirect points, or how the body begins.
    pub(in crate::adapters) fn gist(&self, secrets: &Secrets) -> String {
        if let Some(place) = self.headers.get(LOCATION) {
            let place = quoted(place.as_bytes(), secrets);
            return format!("{} to {place} (redirects are not followed)", self.status);
        }
        match quoted(&self.body, secrets) {
            text if text.is_empty() => self.status.to_string(),
            text => format!("{} with `{text}`", self.status),
        }
    }

    /// How long the server asks to wait.
    pub(super) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        retry_after(&self.headers, now)
    }
}

/// How long a server asks to wait: seconds or a date (RFC 9110 section 10.2.3). Anything else counts as not said.
pub(in crate::adapters) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let instant = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(text)
        .ok()?;
    Some(Duration::try_from(instant.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// The beginning of a remote text on one line, without secrets.
pub(in crate::adapters) fn quoted(text: &[u8], secrets: &Secrets) -> String {
    // Redacted before it is cut, so that no half of a secret is left at the cut.
    let clean = secrets.redact(&String::from_utf8_lossy(text));
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = beginning(&line, MOST_QUOTED);
    if shown.len() < line.len() { format!("{shown}…") } else { line }
}
