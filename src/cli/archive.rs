//! One archive of evidence: what is in it, what is missing, and the proof that nobody has changed it since.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use tar::{Builder, Header};

use crate::digest::sha256;

/// The most bytes that all pieces together may have.
const MOST: usize = 256 << 20;

/// What goes into an archive.
#[derive(Debug, Default)]
pub(super) struct Archive {
    pieces: Vec<(String, Vec<u8>)>,
    size: usize,
    /// The pieces as the manifest lists them.
    pub(super) members: Vec<Member>,
    /// What could not be had, and why.
    pub(super) missing: BTreeMap<String, String>,
}

/// A piece in the manifest.
#[derive(Debug, Serialize)]
pub(super) struct Member {
    name: String,
    bytes: usize,
    sha256: String,
    /// How many bytes before its beginning were left out.
    #[serde(skip_serializing_if = "is_zero")]
    left_out_bytes: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl Archive {
    /// Adds a piece, if there is room for it.
    pub(super) fn add(&mut self, name: &str, content: Vec<u8>, left_out: usize) {
        let name = plain(name);
        if self.size + content.len() > MOST {
            let reason = format!("the archive is full: it holds at most {} MiB", MOST >> 20);
            let _former = self.missing.insert(name, reason);
            return;
        }
        self.size += content.len();
        self.members.push(Member {
            name: name.clone(),
            bytes: content.len(),
            sha256: sha256(&content),
            left_out_bytes: left_out,
        });
        self.pieces.push((name, content));
    }

    /// The pieces with their content.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pieces.iter().map(|(name, content)| (name.as_str(), content.as_slice()))
    }

    /// Writes everything below `folder` into a file that appears complete, readable by its owner alone. Returns its SHA-256.
    pub(super) fn write(&self, path: &Path, folder: &str, manifest: &[u8]) -> io::Result<String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let written = self.write_new(&new, folder, manifest);
        let written = written.and_then(|()| std::fs::rename(&new, path));
        if let Err(error) = written {
            // What is half is of no use; that there is nothing to remove is fine.
            let _removed = std::fs::remove_file(&new);
            return Err(error);
        }
        Ok(sha256(std::fs::read(path)?))
    }

    fn write_new(&self, new: &Path, folder: &str, manifest: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        let mut tar = Builder::new(GzEncoder::new(file, Compression::default()));
        let pieces = std::iter::once(("manifest.json", manifest)).chain(self.pieces());
        for (name, content) in pieces {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(u64::try_from(crate::clock::now().as_second()).unwrap_or(0));
            tar.append_data(&mut header, format!("{folder}/{name}"), content)?;
        }
        let mut file: File = tar.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()
    }
}

/// A name that leads nowhere else when the archive is unpacked, and that any system can hold.
fn plain(name: &str) -> String {
    let safe = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() || "._-/".contains(letter) => letter,
        _ => '_',
    };
    let parts = name.split('/').filter(|part| !part.trim_matches('.').is_empty());
    let parts: Vec<String> = parts.map(|part| part.chars().map(safe).collect()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_archive_holds_what_its_manifest_says_and_stays_in_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("evidence.tar.gz");
        let mut archive = Archive::default();
        archive.add("docker/../../etc/passwd", b"one".to_vec(), 7);
        archive.add("logs/a b\u{1b}.log", b"two".to_vec(), 0);
        archive.add("huge", vec![0; MOST], 0);
        let told = archive.write(&path, "run", b"{}").expect("it is written");
        let bytes = std::fs::read(&path).expect("it can be read");
        assert_eq!(told, sha256(&bytes));
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let entries = tar.entries().expect("an archive").map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            let _length = entry.read_to_string(&mut text).expect("a text");
            (entry.path().expect("a path").display().to_string(), text)
        });
        let entries: Vec<_> = entries.collect();
        let wanted = [
            ("run/manifest.json", "{}"),
            ("run/docker/etc/passwd", "one"),
            ("run/logs/a_b_.log", "two"),
        ];
        assert_eq!(entries, wanted.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(archive.members[0].left_out_bytes, 7);
        assert!(archive.missing["huge"].contains("full"), "{:?}", archive.missing);
    }
}
