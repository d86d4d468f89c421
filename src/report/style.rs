//! Colour where it helps, and the few signs that all outputs share.

use anstyle::{AnsiColor, Style};

/// Success.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Failure, lateness.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Doubt, warnings, open questions.
pub const DOUBT: Style = AnsiColor::Yellow.on_default().bold();
/// What matters.
pub const STRONG: Style = Style::new().bold();
/// What matters less.
pub const FAINT: Style = Style::new().dimmed();

/// Text in a style. The writer strips the style where no terminal reads it.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A time on the run's clock: `0:07`, `3:30`, `1:02:03`.
pub fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A duration in milliseconds as people read it.
pub fn brief_ms(ms: u64) -> String {
    crate::value::brief(std::time::Duration::from_millis(ms))
}
