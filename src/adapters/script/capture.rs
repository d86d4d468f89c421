//! A child's output, bounded: both ends are kept, the middle is counted.

use std::collections::VecDeque;

use crate::secret::Secrets;

/// A secret that straddles the cut would escape redaction, so this much more is captured on both sides of the cut
/// and dropped after redaction. Longer secrets than this are not expected.
const GUARD: usize = 4096;

/// Takes any amount of bytes and remembers the first and the last of them.
#[derive(Debug)]
pub(super) struct Capture {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

/// Captured output as text, with secrets redacted. It is still untrusted: it may hold control sequences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Captured {
    /// The kept text, with a line in place of what was dropped.
    pub(super) text: String,
    /// Bytes that were dropped from the middle.
    pub(super) dropped: u64,
}

impl Capture {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { half: limit.div_ceil(2), head: Vec::new(), tail: VecDeque::new(), total: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = (self.half + GUARD).saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        let most = self.half + GUARD;
        let rest = &rest[rest.len().saturating_sub(most)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(most);
        drop(self.tail.drain(..surplus));
        self.tail.extend(rest);
    }

    /// The text, without secrets.
    pub(super) fn finish(&self, secrets: &Secrets) -> Captured {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let kept = (self.head.len() + tail.len()) as u64;
        if kept == self.total && self.head.len() + tail.len() <= 2 * self.half {
            let whole = [self.head.as_slice(), &tail].concat();
            let text = secrets.redact(&String::from_utf8_lossy(&whole));
            return Captured { text, dropped: 0 };
        }
        let (before, after) = if kept == self.total {
            // Nothing is lost yet, but more is held than was asked for: redact as a whole, then cut.
            let whole = [self.head.as_slice(), &tail].concat();
            let clean = secrets.redact(&String::from_utf8_lossy(&whole)).into_bytes();
            (first(&clean, self.half), last(&clean, self.half))
        } else {
            let head = secrets.redact(&String::from_utf8_lossy(&self.head)).into_bytes();
            let tail = secrets.redact(&String::from_utf8_lossy(&tail)).into_bytes();
            (
                first(&head, head.len().saturating_sub(GUARD)),
                last(&tail, tail.len().saturating_sub(GUARD)),
            )
        };
        let dropped = self.total.saturating_sub((before.len() + after.len()) as u64);
        Captured { text: format!("{before}\n[… {dropped} bytes left out …]\n{after}"), dropped }
    }
}

fn first(bytes: &[u8], length: usize) -> String {
    String::from_utf8_lossy(&bytes[..length.min(bytes.len())]).into_owned()
}

fn last(bytes: &[u8], length: usize) -> String {
    String::from_utf8_lossy(&bytes[bytes.len() - length.min(bytes.len())..]).into_owned()
}

impl Captured {
    /// At most the last `limit` bytes, for an error message.
    pub(super) fn ending(&self, limit: usize) -> String {
        last(self.text.trim_end().as_bytes(), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(limit: usize, chunks: &[&[u8]], secrets: &Secrets) -> Captured {
        let mut capture = Capture::new(limit);
        for chunk in chunks {
            capture.push(chunk);
        }
        capture.finish(secrets)
    }

    #[test]
    fn short_output_is_kept_whole() {
        let all = captured(64, &[b"one\n", b"two\n"], &Secrets::default());
        assert_eq!(all, Captured { text: "one\ntwo\n".into(), dropped: 0 });
    }

    #[test]
    fn long_output_keeps_both_ends_and_counts_the_rest() {
        let middle = vec![b'.'; 1_000_000];
        let all = captured(20, &[b"BEGINNING!", &middle, b"THE ENDING"], &Secrets::default());
        assert!(all.text.starts_with("BEGINNING!\n[…"), "{}", all.text);
        assert!(all.text.ends_with("…]\nTHE ENDING"), "{}", all.text);
        assert_eq!(all.dropped, 1_000_000);
    }

    #[test]
    fn memory_is_bounded() {
        let mut capture = Capture::new(1000);
        for _ in 0..10_000 {
            capture.push(&[b'x'; 8192]);
        }
        assert!(capture.head.len() + capture.tail.len() <= 1000 + 2 * GUARD);
    }

    #[test]
    fn a_secret_leaves_no_part_at_the_cut() {
        let mut secrets = Secrets::default();
        let _marker = secrets.insert("key", "SUPERSECRETVALUE".to_owned().into());
        for offset in 0..40 {
            let lead = vec![b'a'; 4096 + 50 - offset];
            let rest = vec![b'b'; 30_000 + offset];
            let text = captured(100, &[&lead, b"SUPERSECRETVALUE", &rest], &secrets).text;
            assert!(!text.contains("SUP") && !text.contains("ALUE"), "offset {offset}: {text}");
        }
    }

    #[test]
    fn a_secret_split_across_chunks_is_redacted() {
        let mut secrets = Secrets::default();
        let _marker = secrets.insert("key", "SUPERSECRETVALUE".to_owned().into());
        let all = captured(1000, &[b"x SUPERSEC", b"RETVALUE y"], &secrets);
        assert_eq!(all.text, "x [secret] y");
    }
}
