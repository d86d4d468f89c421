//! The program: the runtime, the command line, the exit code. Everything else is in the library.

use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    // One TLS provider for every client; before any client is built.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::from(rollback::cli::error::INTERNAL);
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(rollback::cli::main());
            if code == rollback::cli::error::INTERNAL {
                // A panic may have left steps at work; dropping them ends their children.
                runtime.shutdown_timeout(Duration::from_secs(2));
            } else {
                // A look-up that hangs in a thread must not hold up the end of the program.
                runtime.shutdown_background();
            }
            ExitCode::from(code)
        }
        Err(_) => ExitCode::from(rollback::cli::error::INTERNAL),
    }
}
