//! A disk that loses power: what a flush has not covered may be there, be missing, or be there in part.

use std::path::Path;

use super::trace::Event;
use crate::support::dice::Dice;

/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

/// What becomes of something that no flush has covered.
pub(super) enum Luck {
    /// Nothing of it is there: the worst case for whoever relies on it.
    Worst,
    /// Chance decides.
    Chance(Dice),
}

impl Luck {
    fn holds(&mut self) -> bool {
        match self {
            Self::Worst => false,
            Self::Chance(dice) => dice.below(2) == 1,
        }
    }

    /// Puts bytes into a file as far as they have come.
    fn put(&mut self, content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let Self::Chance(dice) = self else { return };
        match dice.below(4) {
            0 => {}
            1 => write(content, offset, bytes),
            2 => write(content, offset, &bytes[..dice.below(bytes.len().max(1))]),
            // In any order, so that a hole of zeros may stay before the end.
            _ => {
                let mut at = 0;
                while at < bytes.len() {
                    let length = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
                    if dice.below(2) == 1 {
                        write(content, offset + at, &bytes[at..at + length]);
                    }
                    at += length;
                }
            }
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    content.resize(content.len().max(end), 0);
    content[offset..end].copy_from_slice(bytes);
}

/// Whether a flush of `path` covers the event with this number.
fn is_covered(events: &[Event], path: &str, number: usize) -> bool {
    events.iter().any(
        |event| matches!(event, Event::Flushed { path: flushed, since } if flushed == path && *since > number),
    )
}

/// What is left of a file when the power fails after these events; `None` when it, or a folder around it, has lost its name.
pub(super) fn left_of(file: &str, events: &[Event], luck: &mut Luck) -> Option<Vec<u8>> {
    let mut exists = false;
    let mut content = Vec::new();
    for (number, event) in events.iter().enumerate() {
        match event {
            Event::Named { path } if Path::new(file).starts_with(path) => {
                let folder = Path::new(path).parent().expect("a folder around it");
                let folder = folder.to_string_lossy();
                if !is_covered(events, &folder, number) && !luck.holds() {
                    return None;
                }
                exists |= path == file;
            }
            Event::Write { path, offset, bytes } if path == file => {
                if is_covered(events, file, number) {
                    write(&mut content, *offset, bytes);
                } else {
                    luck.put(&mut content, *offset, bytes);
                }
            }
            Event::Cut { path, length }
                if path == file && (is_covered(events, file, number) || luck.holds()) =>
            {
                content.resize(*length, 0);
            }
            _ => {}
        }
    }
    exists.then_some(content)
}
