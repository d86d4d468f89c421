//! The keys of a server, in databases, and their file: the commands that make them, as Redis' own append-only file has them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

use super::glob;
use super::resp::{encode, parse};
use crate::sandbox::{SandboxError, store};

/// How many databases there are.
pub(super) const DATABASES: usize = 16;

/// Keys by their place in a scan: a walk in this order meets every key once, whatever is removed meanwhile.
type Database = BTreeMap<(u64, Vec<u8>), Vec<u8>>;

/// Everything that a server holds.
#[derive(Debug)]
pub(super) struct Keyspace {
    path: PathBuf,
    databases: [Database; DATABASES],
    changed: bool,
}

/// The place of a key; never 0, which is the beginning and the end of a scan.
fn place(key: &[u8]) -> (u64, Vec<u8>) {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    (hasher.finish().max(1), key.to_vec())
}

impl Keyspace {
    /// The keys in the file at `path`; none when there is no file.
    pub(super) fn open(path: &Path) -> Result<Self, SandboxError> {
        let mut keyspace = Self::empty(path);
        let content = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keyspace),
            read => read.map_err(SandboxError::file("read", path))?,
        };
        let broken = || {
            let error = io::Error::new(io::ErrorKind::InvalidData, "not a command of a keyspace");
            SandboxError::file("read", path)(error)
        };
        let (mut database, mut rest) = (0, content.as_slice());
        while !rest.is_empty() {
            let (command, length) = parse(rest).ok().flatten().ok_or_else(broken)?;
            rest = rest.get(length..).unwrap_or_default();
            match command.as_slice() {
                [select, number] if select == b"SELECT" => {
                    let number = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok());
                    database = number.filter(|n| *n < DATABASES).ok_or_else(broken)?;
                }
                [set, key, value] if set == b"SET" => {
                    keyspace.set(database, key, value.clone());
                }
                _ => return Err(broken()),
            }
        }
        keyspace.changed = false;
        Ok(keyspace)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            databases: std::array::from_fn(|_| Database::new()),
            changed: false,
        }
    }

    /// Replaces everything by these keys of the first database.
    pub(super) fn replace(&mut self, keys: impl Iterator<Item = (String, String)>) {
        *self = Self::empty(&self.path);
        self.changed = true;
        for (key, value) in keys {
            self.set(0, key.as_bytes(), value.into_bytes());
        }
    }

    /// Writes the file if anything has changed since it was written.
    pub(super) fn save(&mut self) -> Result<(), SandboxError> {
        if !self.changed {
            return Ok(());
        }
        let mut content = Vec::new();
        for (number, database) in self.databases.iter().enumerate() {
            if !database.is_empty() {
                encode(&[b"SELECT", number.to_string().as_bytes()], &mut content);
            }
            for ((_, key), value) in database {
                encode(&[b"SET", key, value], &mut content);
            }
        }
        store::replace(&self.path, &content)?;
        self.changed = false;
        Ok(())
    }

    pub(super) fn get(&self, database: usize, key: &[u8]) -> Option<&Vec<u8>> {
        self.databases.get(database)?.get(&place(key))
    }

    pub(super) fn set(&mut self, database: usize, key: &[u8], value: Vec<u8>) {
        if let Some(database) = self.databases.get_mut(database) {
            self.changed = true;
            let _former = database.insert(place(key), value);
        }
    }

    /// Removes a key; whether it was there.
    pub(super) fn remove(&mut self, database: usize, key: &[u8]) -> bool {
        let found = self.databases.get_mut(database).and_then(|keys| keys.remove(&place(key)));
        self.changed |= found.is_some();
        found.is_some()
    }

    /// How many keys a database has.
    pub(super) fn len(&self, database: usize) -> usize {
        self.databases.get(database).map_or(0, BTreeMap::len)
    }

    /// The keys of a database that match a pattern.
    pub(super) fn keys<'a>(
        &'a self,
        database: usize,
        pattern: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        let keys = self.databases.get(database).into_iter().flat_map(BTreeMap::keys);
        keys.map(|(_, key)| key.as_slice()).filter(move |key| glob::matches(pattern, key))
    }

    /// Looks at some `count` keys from a cursor on: where to go on (0 at the end), and those that match.
    pub(super) fn scan(
        &self,
        database: usize,
        cursor: u64,
        pattern: Option<&[u8]>,
        count: usize,
    ) -> (u64, Vec<Vec<u8>>) {
        let mut found = Vec::new();
        let Some(database) = self.databases.get(database) else { return (0, found) };
        let (mut seen, mut last) = (0, 0);
        for (place, key) in
            database.range((cursor, Vec::new())..).map(|(place, _)| (place.0, &place.1))
        {
            // Keys of the same place are never parted: the cursor could not tell them apart.
            if seen >= count && place != last {
                return (place, found);
            }
            (seen, last) = (seen + 1, place);
            if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
                found.push(key.clone());
            }
        }
        (0, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_in_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis.resp");
        let mut keys = Keyspace::open(&path).unwrap();
        keys.set(0, b"a\r\n\xff", b"one".to_vec());
        keys.set(3, b"b", Vec::new());
        keys.save().unwrap();
        let again = Keyspace::open(&path).unwrap();
        assert_eq!(again.get(0, b"a\r\n\xff"), Some(&b"one".to_vec()));
        assert_eq!((again.len(0), again.len(1), again.len(3)), (1, 0, 1));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(Keyspace::open(&path).is_err());
    }

    #[test]
    fn a_scan_meets_every_key_while_others_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keyspace::open(&dir.path().join("redis.resp")).unwrap();
        for number in 0..1000 {
            keys.set(0, format!("a:{number}").as_bytes(), Vec::new());
            keys.set(0, format!("b:{number}").as_bytes(), Vec::new());
        }
        let (mut cursor, mut met) = (0, 0);
        loop {
            let (next, found) = keys.scan(0, cursor, Some(b"a:*"), 100);
            for key in found {
                met += 1;
                assert!(keys.remove(0, &key));
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!((met, keys.len(0)), (1000, 1000));
        assert_eq!(keys.keys(0, b"a:*").count(), 0);
    }
}
