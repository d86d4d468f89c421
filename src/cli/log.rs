//! The diagnostic log on standard error, off unless `RUST_LOG` asks for it.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Switches the log on.
///
/// Whatever `RUST_LOG` says, other crates are capped at `warn`: HTTP clients print request bodies, and database clients print
/// parameters, at `debug`, and both hold secrets.
pub(super) fn init() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    if wanted.is_empty() {
        return;
    }
    let own =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(&wanted);
    let capped = tracing_subscriber::filter::filter_fn(|metadata| {
        metadata.target().starts_with("rollback") || *metadata.level() <= tracing::Level::WARN
    });
    let layer = fmt::layer()
        .with_ansi(false)
        // A log that cannot be written is lost; telling so would fail in the same way, and panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_filter(own)
        .with_filter(capped);
    // A second initialization can only come from a test in the same process.
    let _again = tracing_subscriber::registry().with(layer).try_init();
}
