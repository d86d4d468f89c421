//! The executable of a command, found and checked before the first change.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::found;
use crate::action::{ActionError, ErrorKind};
use crate::digest::hex;
use crate::secret::has_marker;

/// A command whose executable is an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    /// The executable.
    pub(super) path: PathBuf,
    /// The arguments after it, which reach the child byte for byte.
    pub(super) arguments: Vec<String>,
    /// The executable's SHA-256 in hexadecimal digits, checked again right before each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
}

/// Checks what can be said about an argument vector offline.
pub(super) fn validate_argv(key: &str, argv: &[String]) -> Result<(), String> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(format!("`{key}` needs an executable as its first item"));
    }
    for argument in argv {
        if argument.contains('\0') {
            return Err(format!("`{key}` holds a NUL character, which no argument can carry"));
        }
        if has_marker(argument) {
            return Err(format!(
                "`{key}` holds a secret, and arguments are public in `ps`; pass it through `env` or `stdin`"
            ));
        }
    }
    Ok(())
}

impl Program {
    /// Finds the executable: as it is when it is a path, else in this program's `PATH`.
    pub(super) fn resolve(
        argv: &[String],
        folder: Option<&Path>,
        sha256: Option<&str>,
    ) -> Result<Self, ActionError> {
        let [name, arguments @ ..] = argv else {
            return Err(ActionError::new(
                ErrorKind::Invalid,
                "run a command without an executable",
            ));
        };
        let path = if let Some(found) = found::lately(name) {
            Some(found)
        } else if name.contains('/') {
            let folder = folder.map_or_else(std::env::current_dir, |folder| Ok(folder.to_owned()));
            let folder = folder.map_err(|error| missing(name).caused_by(&error))?;
            Some(folder.join(name)).filter(|path| is_executable(path))
        } else {
            let search = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&search)
                .filter(|folder| folder.is_absolute())
                .map(|folder| folder.join(name))
                .find(|path| is_executable(path))
        };
        let path = path.ok_or_else(|| missing(name))?;
        found::remember(name, &path);
        let program = Self {
            path,
            arguments: arguments.to_vec(),
            sha256: sha256.map(str::to_ascii_lowercase),
        };
        program.check()?;
        Ok(program)
    }

    /// Compares the executable with its checksum, when one is declared.
    pub(super) fn check(&self) -> Result<(), ActionError> {
        let Some(wanted) = &self.sha256 else { return Ok(()) };
        let found = sha256_of(&self.path).map_err(|error| {
            ActionError::new(ErrorKind::NotFound, format!("read `{}`", self.path.display()))
                .caused_by(&error)
        })?;
        if found == *wanted {
            return Ok(());
        }
        Err(ActionError::new(
            ErrorKind::Conflict,
            format!(
                "trust `{}`: its SHA-256 is {found}, the runbook wants {wanted}",
                self.path.display()
            ),
        )
        .hint("Find out who changed the file before you change `sha256` in the runbook."))
    }

    /// The command as one would type it, at most 200 characters.
    pub(super) fn shown(&self) -> String {
        let words = std::iter::once(self.path.to_string_lossy().into_owned())
            .chain(self.arguments.iter().cloned());
        let line = shell_words::join(words);
        match line.char_indices().nth(200) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

fn missing(name: &str) -> ActionError {
    ActionError::new(ErrorKind::NotFound, format!("find the executable `{name}`"))
        .hint("Install it, mend `PATH`, or write its absolute path in the runbook.")
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hash.update(&buffer[..length]),
        }
    }
    Ok(hex(&hash.finalize()))
}
