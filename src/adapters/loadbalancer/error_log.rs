//! What nginx wrote into its error log since a moment: the only place that says why a reload was not taken.

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most that is read of the log.
const MOST_BYTES: u64 = 256 << 10;

/// A position in an error log.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    path: Option<PathBuf>,
    inode: u64,
    length: u64,
}

/// What stands after a mark.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Complaints {
    /// Why the new configuration is not taken.
    pub(super) fatal: Option<String>,
    /// What may pass: a port that nginx still tries to bind, or an alert of a worker that ends.
    pub(super) passing: Option<String>,
}

impl Mark {
    /// The end of the log as it is now.
    pub(super) fn now(path: Option<&Path>) -> std::io::Result<Self> {
        let (inode, length) = match path.map(std::fs::metadata) {
            Some(Ok(found)) => (found.ino(), found.len()),
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => return Err(error),
            Some(Err(_)) | None => (0, 0),
        };
        Ok(Self { path: path.map(Path::to_owned), inode, length })
    }

    /// Reads what was written since. A log that was rotated is read from its beginning.
    pub(super) fn complaints(&self) -> std::io::Result<Complaints> {
        let Some(path) = &self.path else { return Ok(Complaints::default()) };
        let mut file = match std::fs::File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Complaints::default()),
            file => file?,
        };
        let found = file.metadata()?;
        let same = found.ino() == self.inode && found.len() >= self.length;
        let _position = file.seek(SeekFrom::Start(if same { self.length } else { 0 }))?;
        let mut written = Vec::new();
        let _length = file.take(MOST_BYTES).read_to_end(&mut written)?;
        Ok(Complaints::in_text(&String::from_utf8_lossy(&written)))
    }
}

impl Complaints {
    fn in_text(text: &str) -> Self {
        let mut complaints = Self::default();
        let mut in_use = None;
        for line in text.lines() {
            let Some(told) = told(line) else { continue };
            if line.contains("[alert]") {
                complaints.passing = Some(told);
            } else if told.contains("bind()") && told.contains("(98:") {
                // nginx tries five times within 2.5 s before it gives up, and names the address only here.
                complaints.passing = Some(told.clone());
                in_use = Some(told);
            } else if complaints.fatal.is_none() {
                complaints.fatal = match (told.contains("still could not bind"), in_use.take()) {
                    (true, Some(address)) => Some(address),
                    _ => Some(told),
                };
            }
        }
        complaints
    }
}

/// The text of an `[emerg]` or `[alert]` line, without its time and process.
pub(super) fn told(line: &str) -> Option<String> {
    let (_, text) = line.split_once("[emerg]").or_else(|| line.split_once("[alert]"))?;
    // `1234#1234: *5 text` in the log, ` text` on standard error.
    let text = match text.split_once(": ") {
        Some((ids, rest))
            if ids.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'#') =>
        {
            rest
        }
        _ => text,
    };
    Some(text.trim().chars().take(500).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRY: &str = "2026/05/01 10:00:00 [emerg] 12#12: bind() to 127.0.0.1:80 failed (98: Address already in use)";

    #[test]
    fn a_port_in_use_is_fatal_when_nginx_gives_up() {
        let trying =
            Complaints::in_text(&format!("{TRY}\n2026/05/01 [notice] 12#12: try again\n{TRY}\n"));
        assert_eq!(trying.fatal, None);
        assert!(trying.passing.is_some());
        let given_up = Complaints::in_text(&format!(
            "{TRY}\n2026/05/01 [emerg] 12#12: still could not bind()\n"
        ));
        assert_eq!(
            given_up.fatal.as_deref(),
            Some("bind() to 127.0.0.1:80 failed (98: Address already in use)")
        );
    }

    #[test]
    fn a_refused_port_is_fatal_at_once_and_an_alert_is_not() {
        let refused = "x [emerg] 1#1: bind() to 0.0.0.0:80 failed (13: Permission denied)";
        assert!(Complaints::in_text(refused).fatal.is_some());
        let alert = Complaints::in_text("x [alert] 7#7: *5 open socket #3 left in connection 4\n");
        assert_eq!(alert.fatal, None);
        assert!(alert.passing.is_some());
    }

    #[test]
    fn what_stood_there_before_is_not_read_and_a_rotated_log_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        std::fs::write(&path, "x [emerg] 1#1: old\n").unwrap();
        let mark = Mark::now(Some(&path)).unwrap();
        assert_eq!(mark.complaints().unwrap(), Complaints::default());
        std::fs::rename(&path, folder.path().join("error.log.1")).unwrap();
        assert_eq!(mark.complaints().unwrap(), Complaints::default());
        std::fs::write(&path, "x [emerg] 1#1: new\n").unwrap();
        assert_eq!(mark.complaints().unwrap().fatal.as_deref(), Some("new"));
    }
}
