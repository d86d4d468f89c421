//! `script.run`: an argument vector.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::action::{Script, ScriptItem};
use super::child::Surroundings;
use super::found;
use super::process::MARK_VARIABLE;
use super::program::{Program, validate_argv};
use crate::action::{ActionError, ErrorKind, Repeat, ResolveContext, VerbArgs, VerbKind, Work};
use crate::value::Lasting;

/// The most that is kept of an output.
const MOST_OUTPUT: usize = 1024 * 1024;

/// May the command be run again when nobody knows whether it has run?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RepeatArg {
    /// Yes: twice is the same as once.
    Safe,
    /// Only after `check` has said that it has not happened.
    AfterInspect,
    /// No: a person has to look.
    Never,
}

impl From<RepeatArg> for Repeat {
    fn from(repeat: RepeatArg) -> Self {
        match repeat {
            RepeatArg::Safe => Self::Safe,
            RepeatArg::AfterInspect => Self::AfterInspect,
            RepeatArg::Never => Self::Never,
        }
    }
}

fn default_exit() -> Vec<i32> {
    vec![0]
}

pub(super) fn default_output_limit() -> usize {
    64 * 1024
}

pub(super) fn default_grace() -> Lasting {
    Lasting(Duration::from_secs(10))
}

/// Runs a command without a shell.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunArgs {
    /// The executable and its arguments, each passed on byte for byte. Must not hold secrets: arguments are public.
    #[schemars(length(min = 1))]
    pub(super) argv: Vec<String>,
    /// Variables of the child; the place for values and secrets. The rest of the environment is cleared, except for
    /// PATH, HOME, USER, LOGNAME, LANG, `LC_ALL`, `LC_CTYPE`, TZ, TMPDIR and `inherit`.
    #[serde(default)]
    pub(super) env: IndexMap<String, String>,
    /// Names of further variables that the child gets from this program's environment.
    #[serde(default)]
    pub(super) inherit: Vec<String>,
    /// The working directory, an absolute path.
    #[serde(default)]
    pub(super) cwd: Option<PathBuf>,
    /// The exit codes that mean success.
    #[serde(default = "default_exit")]
    #[schemars(length(min = 1), inner(range(min = 0, max = 255)))]
    pub(super) expect_exit: Vec<i32>,
    /// Text for the standard input, which is empty otherwise. May be a secret.
    #[serde(default)]
    pub(super) stdin: Option<String>,
    /// How many bytes are kept of each output, half from its beginning, half from its end.
    #[serde(default = "default_output_limit")]
    #[schemars(range(min = 1, max = MOST_OUTPUT))]
    pub(super) output_limit: usize,
    /// The SHA-256 of the executable, in hexadecimal digits.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub(super) sha256: Option<String>,
    /// The command that takes the change back; without one the change is irreversible.
    #[serde(default)]
    pub(super) undo: Option<Vec<String>>,
    /// A read-only command that ends with 0 when the change has happened already.
    #[serde(default)]
    pub(super) check: Option<Vec<String>>,
    /// Whether to run it again when its outcome is unknown: `never`, or `after-inspect` when there is a `check`.
    #[serde(default)]
    pub(super) repeat: Option<RepeatArg>,
    /// The time between SIGTERM and SIGKILL when the step's time is up; at most a fifth of that time.
    #[serde(default = "default_grace")]
    pub(super) grace: Lasting,
}

impl RunArgs {
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            env: self.env.clone(),
            inherit: self.inherit.clone(),
            cwd: self.cwd.clone(),
            stdin: self.stdin.clone(),
            output_limit: self.output_limit,
            grace: self.grace,
        }
    }

    fn repeat(&self) -> Repeat {
        match (self.repeat, &self.check) {
            (Some(repeat), _) => repeat.into(),
            (None, Some(_)) => Repeat::AfterInspect,
            (None, None) => Repeat::Never,
        }
    }

    fn resolve(self) -> Result<ScriptItem, ActionError> {
        let around = self.surroundings();
        let folder = resolve_surroundings(&around)?;
        let other = |argv: &Option<Vec<String>>| {
            argv.as_ref().map(|argv| Program::resolve(argv, folder, None)).transpose()
        };
        Ok(ScriptItem {
            program: Program::resolve(&self.argv, folder, self.sha256.as_deref())?,
            undo: other(&self.undo)?,
            check: other(&self.check)?,
            expect_exit: self.expect_exit.clone(),
            repeat: self.repeat(),
            surroundings: around,
        })
    }
}

#[async_trait]
impl VerbArgs for RunArgs {
    const NAME: &'static str = "script.run";
    const SUMMARY: &'static str = "Runs a command without a shell";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = ScriptItem;

    fn validate(&self) -> Result<(), String> {
        validate_argv("argv", &self.argv)?;
        for (key, argv) in [("undo", &self.undo), ("check", &self.check)] {
            if let Some(argv) = argv {
                validate_argv(key, argv)?;
            }
        }
        validate_surroundings(&self.surroundings())?;
        if self.expect_exit.is_empty() {
            return Err("`expect_exit` needs at least one exit code".into());
        }
        if let Some(code) = self.expect_exit.iter().find(|code| !(0..=255).contains(*code)) {
            return Err(format!("`expect_exit` holds {code}; exit codes go from 0 to 255"));
        }
        if self.repeat == Some(RepeatArg::AfterInspect) && self.check.is_none() {
            return Err("`repeat: after-inspect` needs a `check` that can tell".into());
        }
        validate_sha256(self.sha256.as_deref())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, ScriptItem)>, ActionError> {
        let others = self.undo.iter().chain(&self.check);
        let known = others.chain([&self.argv]).all(|argv| is_known(argv, self.cwd.as_deref()))
            && self.sha256.is_none();
        let item = if known { self.resolve()? } else { blocking(move || self.resolve()).await? };
        Ok(vec![(String::new(), item)])
    }

    fn make(item: ScriptItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Script::new(item, cx.connections.secrets().clone()))))
    }
}

/// Checks what can be said about the surroundings offline.
pub(super) fn validate_surroundings(around: &Surroundings) -> Result<(), String> {
    for (name, value) in &around.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("`env` holds the name {name:?}, which no variable can have"));
        }
        if value.contains('\0') {
            return Err(format!("the variable `{name}` holds a NUL character"));
        }
    }
    if around.env.contains_key(MARK_VARIABLE) {
        return Err(format!("`env` must not set `{MARK_VARIABLE}`, by which children are found"));
    }
    if around.cwd.as_deref().is_some_and(Path::is_relative) {
        return Err("`cwd` must be an absolute path".into());
    }
    if !(1..=MOST_OUTPUT).contains(&around.output_limit) {
        return Err(format!("`output_limit` must be from 1 to {MOST_OUTPUT} bytes"));
    }
    Ok(())
}

/// Checks the form of a SHA-256.
pub(super) fn validate_sha256(sha256: Option<&str>) -> Result<(), String> {
    let well_formed =
        |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match sha256 {
        Some(text) if !well_formed(text) => Err("`sha256` must be 64 hexadecimal digits".into()),
        _ => Ok(()),
    }
}

/// Looks for what the surroundings need, and returns the working directory.
pub(super) fn resolve_surroundings(around: &Surroundings) -> Result<Option<&Path>, ActionError> {
    if let Some(name) = around.inherit.iter().find(|name| std::env::var_os(name).is_none()) {
        return Err(ActionError::new(
            ErrorKind::NotFound,
            format!("inherit the variable `{name}`, which is not set"),
        )
        .hint(format!("Set it with `export {name}=…`, or remove it from `inherit`.")));
    }
    if let Some(folder) = around.cwd.as_deref().filter(|folder| !folder.is_dir()) {
        return Err(ActionError::new(
            ErrorKind::NotFound,
            format!("find the working directory `{}`", folder.display()),
        ));
    }
    Ok(around.cwd.as_deref())
}

/// Whether a command can be resolved without a look at a file system: its executable was found a moment ago, and needs no working directory.
pub(super) fn is_known(argv: &[String], cwd: Option<&Path>) -> bool {
    cwd.is_none() && argv.first().is_some_and(|name| found::lately(name).is_some())
}

/// Runs file system work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ActionError> + Send + 'static,
) -> Result<T, ActionError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(ActionError::new(ErrorKind::Failed, "look for the command").caused_by(&error))
    })
}
