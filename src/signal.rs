//! Signals of the operating system as events of the run.
//!
//! Everything that could end the process without the engine's knowledge is caught: Ctrl-C and SIGTERM ask it to settle, a closed
//! terminal (SIGHUP) is only news, and SIGPIPE and SIGXFSZ become ordinary errors of the write that caused them.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What a signal means for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as a service manager or `rollback abort` sends it.
    Terminate,
    /// The terminal is gone.
    HangUp,
}

/// SIGXFSZ: a file would grow over the limit (`ulimit -f`). Uncaught it kills the process in the middle of a record;
/// caught it is a plain EFBIG.
const SIGXFSZ: i32 = 25;

/// Makes a file that would grow over the limit an error of that write, for as long as the program lives.
pub fn survive_file_limit() -> std::io::Result<()> {
    signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Returns when the operator (Ctrl-C) or the system (SIGTERM) asks to end; a closed terminal does not.
pub async fn asked_to_end(signals: &mut mpsc::UnboundedReceiver<Signal>) {
    loop {
        match signals.recv().await {
            Some(Signal::Interrupt | Signal::Terminate) => return,
            Some(Signal::HangUp) => {}
            None => return std::future::pending().await,
        }
    }
}

/// Starts to listen. The receiver lives as long as the program.
pub fn listen() -> std::io::Result<mpsc::UnboundedReceiver<Signal>> {
    let (to, signals) = mpsc::unbounded_channel();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut pipe = signal(SignalKind::pipe())?;
    survive_file_limit()?;
    let _detached = tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                Some(()) = interrupt.recv() => Signal::Interrupt,
                Some(()) = terminate.recv() => Signal::Terminate,
                Some(()) = hang_up.recv() => Signal::HangUp,
                Some(()) = pipe.recv() => continue,
                else => return,
            };
            if to.send(event).is_err() {
                return;
            }
        }
    });
    Ok(signals)
}
