//! References to secrets: `{variable: NAME}`, `{file: PATH}`, `{command: [argv]}`, and how each is read.
//!
//! Commands get no shell, no terminal, a clean environment and five seconds, and run in their own process group, which is
//! killed when the time is up. What a command prints on standard error is not shown: it may hold what should stay hidden.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretString;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::node::{Node, NodeValue};

/// The longest secret.
const LARGEST: u64 = 64 * 1024;
/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// What a command may know of our own environment: enough to find programs, its home and its agents.
const INHERITED: [&str; 11] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "GNUPGHOME",
];

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// An environment variable.
    Variable(String),
    /// A file; a relative path starts at the environment file's folder.
    File(PathBuf),
    /// The standard output of a program.
    Command(Vec<String>),
}

/// A secret that was read, and what is worth saying about it.
pub(super) struct Read {
    /// The secret, or why there is none, as a lower-case fragment.
    pub(super) value: Result<SecretString, String>,
    /// A sentence, when the secret lies open.
    pub(super) warning: Option<String>,
}

impl Reference {
    /// The reference that a node is, if it is one: a mapping whose only key is `variable`, `file` or `command`.
    pub(super) fn recognise(node: &Node) -> Option<Result<Self, Diagnostic>> {
        let NodeValue::Map(entries) = &node.value else { return None };
        let [(key, value)] = entries.as_slice() else { return None };
        let malformed = |wanted: &str| {
            Diagnostic::error("secret-reference", format!("`{}` needs {wanted}", key.name))
                .at(value.span)
        };
        match key.name.as_str() {
            "variable" => Some(match value.as_text() {
                Some(name) if is_variable(name) => Ok(Self::Variable(name.to_owned())),
                _ => Err(malformed("the name of an environment variable")),
            }),
            "file" => Some(match value.as_text() {
                Some(path) if !path.is_empty() => Ok(Self::File(path.into())),
                _ => Err(malformed("a path")),
            }),
            "command" => Some(arguments(value).map(Self::Command).ok_or_else(|| {
                malformed("a list: the program and its arguments")
                    .hint("Write `command: [pass, show, production/token]`; no shell is involved.")
            })),
            _ => None,
        }
    }

    /// Reads the secret. Never fails as a whole: a missing secret stops only those who need it.
    pub(super) async fn read(
        &self,
        folder: &Path,
        variables: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Read {
        match self {
            Self::Variable(name) => {
                let value =
                    variables(name).ok_or_else(|| format!("the variable {name} is not set"));
                Read { value: value.and_then(|value| usable(value, name)), warning: None }
            }
            Self::File(path) => read_file(&absolute(path, folder, variables)),
            Self::Command(argv) => {
                Read { value: run(argv, folder, variables).await, warning: None }
            }
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn arguments(node: &Node) -> Option<Vec<String>> {
    let NodeValue::List(arguments) = &node.value else { return None };
    let arguments: Option<Vec<String>> =
        arguments.iter().map(|argument| argument.as_text().map(str::to_owned)).collect();
    arguments.filter(|arguments| arguments.first().is_some_and(|program| !program.is_empty()))
}

/// A secret without the line break that editors and programs add.
fn usable(mut value: String, source: &str) -> Result<SecretString, String> {
    if value.ends_with('\n') {
        value.truncate(value.trim_end_matches(['\n', '\r']).len());
    }
    if value.is_empty() {
        return Err(format!("{source} is empty"));
    }
    Ok(value.into())
}

/// `~/…` starts at the home folder, other relative paths at `folder`.
pub(super) fn absolute(
    path: &Path,
    folder: &Path,
    variables: &(dyn Fn(&str) -> Option<String> + Sync),
) -> PathBuf {
    match (path.strip_prefix("~"), variables("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    }
}

fn read_file(path: &Path) -> Read {
    let shown = path.display();
    let mut warning = None;
    let value = open(path).and_then(|(file, mode)| {
        if mode & 0o077 != 0 {
            warning = Some(format!(
                "the secret file {shown} is open to others (mode {:04o}); type `chmod 600 {shown}`",
                mode & 0o7777
            ));
        }
        let mut bytes = Vec::new();
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| format!("{shown} cannot be read: {error}"))?;
        text(bytes, &shown.to_string())
    });
    Read { value, warning }
}

/// Opens a regular file and tells its mode. Without `NONBLOCK`, opening a named pipe waits for a writer.
fn open(path: &Path) -> Result<(std::fs::File, u32), String> {
    let shown = path.display();
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| format!("{shown} cannot be opened: {error}"))?;
    let about = file.metadata().map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if !about.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    Ok((file, about.permissions().mode()))
}

fn text(bytes: Vec<u8>, source: &str) -> Result<SecretString, String> {
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{source} gives more than {} KiB", LARGEST / 1024));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{source} is not text"))?;
    usable(text, source)
}

async fn run(
    argv: &[String],
    folder: &Path,
    variables: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<SecretString, String> {
    let [program, arguments @ ..] = argv else { return Err("the command is empty".to_owned()) };
    let inherited = INHERITED.iter().filter_map(|name| Some((*name, variables(name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(inherited)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    // The child leads its own group, so its id names the group until it has been waited for.
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let outcome = tokio::time::timeout(COMMAND_TIMEOUT, output(&mut child, program)).await;
    outcome.unwrap_or_else(|_| {
        let killed = group.map(|group| kill_process_group(group, Signal::KILL));
        match killed {
            Some(Err(error)) => {
                Err(format!("`{program}` took too long, and does not end: {error}"))
            }
            _ => Err(format!("`{program}` took longer than {} s", COMMAND_TIMEOUT.as_secs())),
        }
    })
}

async fn output(child: &mut Child, program: &str) -> Result<SecretString, String> {
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(LARGEST + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("`{program}` cannot be read: {error}"))?;
    }
    let status =
        child.wait().await.map_err(|error| format!("`{program}` cannot be waited for: {error}"))?;
    if !status.success() {
        return Err(format!("`{program}` ended with {status}"));
    }
    text(bytes, &format!("`{program}`"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;
    use crate::plan::testing::node;

    fn variables(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("s3cret\n".into()),
            "EMPTY" => Some(String::new()),
            "PATH" => std::env::var("PATH").ok(),
            _ => None,
        }
    }

    async fn value(reference: serde_json::Value, folder: &Path) -> Result<String, String> {
        let reference = Reference::recognise(&node(&reference)).expect("is one").expect("is valid");
        let read = reference.read(folder, &variables).await;
        read.value.map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn only_a_mapping_with_one_known_key_is_a_reference() {
        for other in [json!("x"), json!({"host": "x"}), json!({"file": "a", "mode": 1}), json!({})]
        {
            assert!(Reference::recognise(&node(&other)).is_none(), "{other}");
        }
        for malformed in [
            json!({"variable": "A B"}),
            json!({"command": "pass show"}),
            json!({"command": []}),
            json!({"file": 3}),
        ] {
            let recognised = Reference::recognise(&node(&malformed)).expect("is one");
            assert!(recognised.is_err(), "{malformed}");
        }
    }

    #[tokio::test]
    async fn variables_lose_their_line_break_and_must_not_be_empty() {
        let here = Path::new("/");
        assert_eq!(value(json!({"variable": "TOKEN"}), here).await, Ok("s3cret".into()));
        let unset = value(json!({"variable": "NONE"}), here).await.expect_err("not set");
        assert_eq!(unset, "the variable NONE is not set");
        let empty = value(json!({"variable": "EMPTY"}), here).await.expect_err("empty");
        assert_eq!(empty, "EMPTY is empty");
    }

    #[tokio::test]
    async fn files_are_read_and_open_ones_are_warned_about() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "abc\r\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("opened");
        let read = Reference::File("token".into()).read(folder.path(), &variables).await;
        assert_eq!(read.value.expect("read").expose_secret(), "abc");
        assert!(read.warning.expect("a warning").contains("mode 0644"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("closed");
        let read = Reference::File("token".into()).read(folder.path(), &variables).await;
        assert_eq!(read.warning, None);
    }

    #[tokio::test]
    async fn a_pipe_a_folder_and_a_device_are_no_secret_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let read = Reference::File(path.into()).read(folder.path(), &variables).await;
            let reason = read.value.map(drop).expect_err("refused");
            assert!(reason.contains("is not a regular file"), "{reason}");
        }
    }

    #[tokio::test]
    async fn commands_get_argv_without_a_shell_and_a_clean_environment() {
        let here = Path::new("/");
        let echoed = value(json!({"command": ["printf", "%s", "$HOME; `id`"]}), here).await;
        assert_eq!(echoed, Ok("$HOME; `id`".into()));
        let known = value(json!({"command": ["env"]}), here).await.expect("has a path");
        assert!(known.lines().all(|line| line.starts_with("PATH=")), "{known}");
        let failed = value(json!({"command": ["false"]}), here).await.expect_err("fails");
        assert!(failed.contains("exit status: 1"), "{failed}");
        let missing = value(json!({"command": ["/no/such/program"]}), here).await;
        assert!(missing.expect_err("missing").contains("cannot be started"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_end_is_killed() {
        let started = tokio::time::Instant::now();
        let slow = value(json!({"command": ["sleep", "1000"]}), Path::new("/")).await;
        assert_eq!(slow, Err("`sleep` took longer than 5 s".to_owned()));
        assert_eq!(started.elapsed(), COMMAND_TIMEOUT);
    }

    #[tokio::test]
    async fn a_command_that_prints_without_end_is_cut_off() {
        let endless = value(json!({"command": ["cat", "/dev/zero"]}), Path::new("/")).await;
        assert!(endless.is_err());
    }
}
