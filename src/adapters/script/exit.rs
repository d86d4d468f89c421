//! The end of a child, seen without collecting it: it stays a zombie, so that its id, which is its group's id, cannot be used again before
//! the rest of the group is dead.

use std::io;

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};
#[cfg(target_os = "linux")]
use tokio::io::{Interest, unix::AsyncFd};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The end of one child.
#[derive(Debug)]
pub(super) struct Exit {
    child: Pid,
    news: News,
}

/// What tells that a child may have ended.
#[derive(Debug)]
enum News {
    /// A descriptor of the process itself, which wakes nobody but who waits for it: `pidfd_open(2)`.
    #[cfg(target_os = "linux")]
    Process(AsyncFd<OwnedFd>),
    /// SIGCHLD, which some thread has to handle first. For systems without the former (Linux before 5.3).
    Signal(Signal),
}

impl Exit {
    /// Of the child with this id, which nobody has collected yet.
    pub(super) fn of(child: Pid) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Ok(news) = News::of_process(child) {
            return Ok(Self { child, news });
        }
        Self::by_signal(child)
    }

    fn by_signal(child: Pid) -> io::Result<Self> {
        Ok(Self { child, news: News::Signal(signal(SignalKind::child())?) })
    }

    /// Returns when the child has ended.
    pub(super) async fn wait(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        // It is listened to already, so an end that comes after the look is heard.
        loop {
            match rustix::process::waitid(WaitId::Pid(self.child), options) {
                Ok(None) => self.news.heard().await,
                Err(Errno::INTR) => {}
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

impl News {
    #[cfg(target_os = "linux")]
    #[expect(deprecated, reason = "an owned descriptor keeps what the newer, unsafe form asks for")]
    fn of_process(child: Pid) -> io::Result<Self> {
        let process = rustix::process::pidfd_open(child, rustix::process::PidfdFlags::empty())?;
        AsyncFd::with_interest(process, Interest::READABLE).map(Self::Process)
    }

    /// Returns when there is something to look at. Where nothing can be heard any more, since the runtime ends, it never does.
    async fn heard(&mut self) {
        let heard = match self {
            #[cfg(target_os = "linux")]
            Self::Process(process) => {
                process.readable().await.map(|mut ready| ready.clear_ready()).is_ok()
            }
            Self::Signal(signal) => signal.recv().await.is_some(),
        };
        if !heard {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use super::*;

    fn listen(by_signal: bool, id: Pid) -> Exit {
        let exit = if by_signal { Exit::by_signal(id) } else { Exit::of(id) };
        let exit = exit.expect("a child can be listened to");
        #[cfg(target_os = "linux")]
        assert_eq!(
            by_signal,
            matches!(exit.news, News::Signal(_)),
            "this kernel has the better way"
        );
        exit
    }

    fn child(argument: &str) -> (Child, Pid) {
        let child = Command::new("/bin/sleep").arg(argument).spawn().expect("there is a sleep");
        let id = Pid::from_child(&child);
        (child, id)
    }

    #[tokio::test]
    async fn an_end_is_seen_both_ways_and_not_collected() {
        for by_signal in [false, true] {
            for seconds in ["0", "0.2"] {
                let (mut child, id) = child(seconds);
                listen(by_signal, id).wait().await;
                let status = child.try_wait().expect("nobody has collected it");
                assert!(status.expect("it has ended").success());
            }
        }
    }

    #[tokio::test]
    async fn a_child_at_work_has_not_ended() {
        for by_signal in [false, true] {
            let (mut child, id) = child("300");
            let mut exit = listen(by_signal, id);
            let early = tokio::time::timeout(Duration::from_millis(200), exit.wait()).await;
            assert!(early.is_err(), "it sleeps");
            child.kill().expect("it is there");
            exit.wait().await;
            let _killed = child.wait().expect("nobody has collected it");
        }
    }
}
