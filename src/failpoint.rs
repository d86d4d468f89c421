//! Numbered crash points for the crash tests: the program kills itself at the N-th point it passes.
//!
//! Without the feature `failpoints` a point is an empty function. With it, `ROLLBACK_CRASH_AT=N` names the point, and every point
//! that is passed is appended to the file `ROLLBACK_CRASH_REPORT` as `N name`, so that a loop over N = 1, 2, 3…
//! knows when it has covered all of them: the run ends by itself. `ROLLBACK_CRASH_AT=NAME` is the first point of that name.
//!
//! `ROLLBACK_PANIC_AT=NAME` (or `NAME=MESSAGE`) is the other way to fail: a bug at the place of that name.

/// Passes a crash point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_name: &'static str) {}

/// Passes a crash point.
#[cfg(feature = "failpoints")]
pub fn reach(name: &'static str) {
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    report(number, name);
    fall_over(name);
    let wanted = std::env::var("ROLLBACK_CRASH_AT").unwrap_or_default();
    if wanted == name || wanted == number.to_string() {
        die();
    }
}

/// Passes a place where a bug can be put.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn fall_over(_name: &'static str) {}

/// Passes a place where a bug can be put.
///
/// # Panics
/// When `ROLLBACK_PANIC_AT` names this place.
#[cfg(feature = "failpoints")]
pub fn fall_over(name: &'static str) {
    let Ok(wanted) = std::env::var("ROLLBACK_PANIC_AT") else { return };
    let (place, message) = wanted.split_once('=').unwrap_or((&wanted, "a bug for a test"));
    assert!(place != name, "{message} at {name}");
}

#[cfg(feature = "failpoints")]
fn report(number: u64, name: &str) {
    use std::io::Write;

    let Some(path) = std::env::var_os("ROLLBACK_CRASH_REPORT") else { return };
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{number} {name}\n").as_bytes()));
    // A loop that cannot read the report must not mistake a silent run for a complete one.
    assert!(written.is_ok(), "the crash report can be written");
}

/// As `kill -9` does it: nothing is flushed, nothing is dropped.
#[cfg(feature = "failpoints")]
fn die() -> ! {
    use rustix::process::{Signal, getpid, kill_process};

    let _sent = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}
