//! A terminal in front of a program: a pseudo-terminal that is the program's controlling one, as at a desk.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::wait_until;
use super::world::World;

/// Ctrl-C as a keyboard sends it.
pub(crate) const CTRL_C: &str = "\x03";

/// A program at a terminal; killed when dropped.
pub(crate) struct Terminal {
    child: Child,
    /// The side of the person; `None` once the terminal is gone.
    keyboard: Arc<Mutex<Option<File>>>,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts the program under test with a terminal of 80 columns that understands colours.
    pub(crate) fn start<A: AsRef<OsStr>>(
        world: &World,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut command = world.command("setsid");
        command.arg("--ctty").arg(env!("CARGO_BIN_EXE_rollback")).args(arguments);
        command.env("TERM", "xterm-256color");
        Self::run(command, 80)
    }

    /// Starts `setsid --ctty …` with a terminal of so many columns.
    pub(crate) fn run(mut command: Command, columns: u16) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal is free");
        grantpt(&person).and_then(|()| unlockpt(&person)).expect("the terminal is ours");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&person, size).expect("a terminal has a size");
        let name = ptsname(&person, Vec::new()).expect("a terminal has a name");
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(flags).open(path).expect("it opens")
        };
        command.stdin(open()).stdout(open()).stderr(open());
        let child = command.spawn().expect("setsid is installed");
        // The command holds the program's side open; the end of the terminal must be the program's own.
        drop(command);
        fcntl_setfl(&person, OFlags::NONBLOCK | OFlags::RDWR).expect("a terminal can be polled");
        let keyboard = Arc::new(Mutex::new(Some(File::from(person))));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let (keyboard, seen) = (keyboard.clone(), seen.clone());
            move || read(&keyboard, &seen)
        });
        Self { child, keyboard, seen, reader: Some(reader) }
    }

    /// Types.
    pub(crate) fn type_in(&self, text: &str) {
        let mut keyboard = self.keyboard.lock().expect("no test thread has panicked");
        let keyboard = keyboard.as_mut().expect("the terminal is there");
        keyboard.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Sends a signal to the program alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program runs");
    }

    /// Sends a signal to the program alone, unless it has ended already.
    pub(crate) fn try_signal(&self, signal: Signal) {
        // Not waited for yet, so its id belongs to nobody else.
        let _ended = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Closes the window.
    pub(crate) fn hang_up(&self) {
        drop(self.keyboard.lock().expect("no test thread has panicked").take());
    }

    /// Everything that the terminal has received.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no test thread has panicked"))
            .into_owned()
    }

    /// Waits until `text` is on the screen.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(&format!("`{text}` on the terminal, which shows:\n{}", self.seen()), || {
            self.seen().contains(text)
        });
    }

    /// Waits for the end: the exit code and everything that was shown.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_until("the end of the program", || {
            status = self.child.try_wait().expect("the program can be waited for");
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends with the terminal");
        }
        let status = status.expect("it has ended");
        assert_eq!(status.signal(), None, "killed by a signal:\n{}", self.seen());
        (status.code(), self.seen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hang_up();
        // It may have ended long since.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Reads until the last process closes its side.
fn read(keyboard: &Mutex<Option<File>>, seen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        let mut held = keyboard.lock().expect("no test thread has panicked");
        let Some(terminal) = held.as_mut() else { return };
        match terminal.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                seen.lock().expect("no test thread has panicked").extend(&buffer[..length]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                drop(held);
                std::thread::sleep(Duration::from_millis(5));
            }
            // Linux answers EIO when nobody has the other side open.
            Err(_) => return,
        }
    }
}

/// What a terminal shows in the end for these bytes: `\r` goes back to the first column, later characters overwrite earlier ones,
/// colours are left out.
pub(crate) fn rendered(bytes: &str) -> Vec<String> {
    let mut lines = vec![Vec::new()];
    let mut column = 0;
    for character in anstream::adapter::strip_str(bytes).to_string().chars() {
        let line: &mut Vec<char> = lines.last_mut().expect("there is a line");
        match character {
            '\r' => column = 0,
            '\n' => {
                lines.push(Vec::new());
                column = 0;
            }
            other => {
                line.resize(line.len().max(column + 1), ' ');
                line[column] = other;
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
}

#[test]
fn a_carriage_return_overwrites() {
    assert_eq!(rendered("one\rx\n\x1b[1mtwo\x1b[0m\r   \rfin"), ["xne", "fin"]);
}
