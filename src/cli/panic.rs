//! What a bug in this program leaves behind: one clear line, a crash file for its authors, and exit code 20.
//!
//! A panic inside a step is caught by the engine, which stops the run and records why; elsewhere it ends the program. Either way
//! the hook tells it here, once, before anything unwinds. Neither the line nor the file holds a secret or the environment.

use std::backtrace::Backtrace;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;

use super::error::{self, CliError};
use super::output::last_words;
use crate::report::text::sanitize;
use crate::secret::Secrets;

/// What the hook knows about the program's work.
struct Known {
    state_dir: Option<PathBuf>,
    run: Option<String>,
    secrets: Option<Arc<Secrets>>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { state_dir: None, run: None, secrets: None });

/// Whether a panic was told already.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Installs the hook.
pub(super) fn install() {
    std::panic::set_hook(Box::new(tell));
}

/// Crash files go into this state folder from now on.
pub(super) fn keep_in(state_dir: &Path) {
    know(|known| known.state_dir = Some(state_dir.to_owned()));
}

/// These secrets are kept out of what the hook says.
pub(super) fn hide(secrets: &Arc<Secrets>) {
    know(|known| known.secrets = Some(secrets.clone()));
}

/// This run is the one to resume.
pub(super) fn working_on(run: &str) {
    know(|known| known.run = Some(run.to_owned()));
}

fn know(learn: impl FnOnce(&mut Known)) {
    if let Ok(mut known) = KNOWN.lock() {
        learn(&mut known);
    }
}

/// The result of `work`; a panic, of which the hook has told already, becomes an exit code.
pub(super) async fn caught(
    work: impl Future<Output = Result<u8, CliError>>,
) -> Result<u8, CliError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Ok(error::INTERNAL))
}

fn tell(panic: &PanicHookInfo<'_>) {
    if TOLD.swap(true, Ordering::Relaxed) {
        // What goes wrong while the program ends follows from the first panic.
        return;
    }
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("a panic without a message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    // The panic may have come from under the lock.
    let Ok(known) = KNOWN.try_lock() else {
        last_words("error: a bug in rollback stopped it");
        return;
    };
    let message = sanitize(&match &known.secrets {
        Some(secrets) => secrets.redact(message),
        None => message.to_owned(),
    });
    let mut parts = vec![format!("error: a bug in rollback: {message} ({place})")];
    if let Some(run) = &known.run {
        parts.push(format!("the run's journal is safe; go on with `rollback resume {run}`"));
    }
    if let Some(dir) = &known.state_dir {
        parts.push(match write(dir, &message, &place, known.run.as_deref()) {
            Ok(path) => format!("please report {}", path.display()),
            Err(error) => format!("no crash file could be written: {error}"),
        });
    }
    last_words(&parts.join("; "));
}

/// Writes the crash file. No arguments and no environment: both can hold what should stay private.
fn write(state_dir: &Path, message: &str, place: &str, run: Option<&str>) -> io::Result<PathBuf> {
    let folder = state_dir.join("crashes");
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let now = crate::clock::now();
    let name = format!("{}-{}.txt", now.strftime("%Y%m%d-%H%M%S%.6f"), std::process::id());
    let path = folder.join(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let thread = std::thread::current();
    write!(
        file,
        "rollback {} crashed at {now}\nmessage: {message}\nplace: {place}\nthread: {}\nrun: {}\n\n{}\n",
        env!("CARGO_PKG_VERSION"),
        thread.name().unwrap_or("without a name"),
        run.unwrap_or("none"),
        Backtrace::force_capture()
    )?;
    Ok(path)
}
