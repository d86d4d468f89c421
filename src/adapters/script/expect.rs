//! `script.expect`: a command as a question.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{ending, told};
use super::child::{self, Surroundings};
use super::process::Part;
use super::program::{Program, validate_argv};
use super::run::{
    blocking, default_grace, default_output_limit, is_known, resolve_surroundings, validate_sha256,
    validate_surroundings,
};
use crate::action::{
    ActionError, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext, VerbArgs,
    VerbKind, Verdict, Work,
};
use crate::secret::Secrets;

/// What an output should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputExpectation {
    /// Text that it must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contains: Option<String>,
    /// The text that it must be, apart from white space at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    equals: Option<String>,
}

/// Asks a read-only command.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectArgs {
    /// The executable and its arguments; it must not change anything.
    #[schemars(length(min = 1))]
    argv: Vec<String>,
    /// Variables of the child, as for `script.run`.
    #[serde(default)]
    env: IndexMap<String, String>,
    /// Names of further variables that the child gets from this program's environment.
    #[serde(default)]
    inherit: Vec<String>,
    /// The working directory, an absolute path.
    #[serde(default)]
    cwd: Option<PathBuf>,
    /// The SHA-256 of the executable, in hexadecimal digits.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    sha256: Option<String>,
    /// The exit code that means yes.
    #[serde(default)]
    #[schemars(range(min = 0, max = 255))]
    exit: i32,
    /// What its standard output should be.
    #[serde(default)]
    stdout: Option<OutputExpectation>,
}

impl ExpectArgs {
    fn surroundings(&self) -> Surroundings {
        Surroundings {
            env: self.env.clone(),
            inherit: self.inherit.clone(),
            cwd: self.cwd.clone(),
            stdin: None,
            output_limit: default_output_limit(),
            grace: default_grace(),
        }
    }
}

/// A resolved question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ExpectItem {
    program: Program,
    surroundings: Surroundings,
    exit: i32,
    stdout: OutputExpectation,
}

#[async_trait]
impl VerbArgs for ExpectArgs {
    const NAME: &'static str = "script.expect";
    const SUMMARY: &'static str = "Asks a read-only command by its exit code and output";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Item = ExpectItem;

    fn validate(&self) -> Result<(), String> {
        validate_argv("argv", &self.argv)?;
        validate_surroundings(&self.surroundings())?;
        validate_sha256(self.sha256.as_deref())?;
        if !(0..=255).contains(&self.exit) {
            return Err(format!("`exit` is {}; exit codes go from 0 to 255", self.exit));
        }
        match &self.stdout {
            Some(OutputExpectation { contains: None, equals: None }) => {
                Err("`stdout` needs `contains` or `equals`".into())
            }
            _ => Ok(()),
        }
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, ExpectItem)>, ActionError> {
        let known = is_known(&self.argv, self.cwd.as_deref()) && self.sha256.is_none();
        let look = move || {
            let surroundings = self.surroundings();
            let folder = resolve_surroundings(&surroundings)?;
            let program = Program::resolve(&self.argv, folder, self.sha256.as_deref())?;
            let stdout = self.stdout.unwrap_or_default();
            Ok(ExpectItem { program, surroundings, exit: self.exit, stdout })
        };
        let item = if known { look()? } else { blocking(look).await? };
        Ok(vec![(String::new(), item)])
    }

    fn make(item: ExpectItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let secrets = cx.connections.secrets().clone();
        Ok(Work::Probe(Box::new(Expect { item, secrets })))
    }
}

struct Expect {
    item: ExpectItem,
    secrets: Arc<Secrets>,
}

#[async_trait]
impl Probe for Expect {
    fn describe(&self) -> Description {
        let ExpectItem { program, exit, stdout: OutputExpectation { contains, equals }, .. } =
            &self.item;
        let contains = contains.as_ref().map(|text| format!(" and prints {text:?}"));
        let equals = equals.as_ref().map(|text| format!(" and prints exactly {text:?}"));
        let (contains, equals) = (contains.unwrap_or_default(), equals.unwrap_or_default());
        Description::question(format!("{} ends with {exit}{contains}{equals}", program.shown()))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let ExpectItem { program, surroundings, exit, stdout: wanted } = &self.item;
        let ended = child::run(cx, program, surroundings, &self.secrets, Part::Look).await?;
        let status = ending(program, &ended)?;
        if status.code() != Some(*exit) {
            let quote = ended.stderr.ending(500);
            let quote = if quote.is_empty() { String::new() } else { format!(": {quote}") };
            return Ok(Verdict::not_yet(format!("{}{quote}", told(status))));
        }
        if ended.stdout.dropped > 0 && *wanted != OutputExpectation::default() {
            return Err(ActionError::new(
                ErrorKind::Failed,
                format!("judge the output of `{}`: it is too long", program.path.display()),
            )
            .hint("Let the command print less than 64 KiB, or tell by its exit code."));
        }
        let text = &ended.stdout.text;
        let as_wanted = wanted.contains.as_ref().is_none_or(|part| text.contains(part))
            && wanted.equals.as_ref().is_none_or(|all| text.trim_end() == all.trim_end());
        if !as_wanted {
            return Ok(Verdict::not_yet(format!("it printed {:?}", ended.stdout.ending(500))));
        }
        let summary = format!("{} ended with {}", program.path.display(), told(status));
        Ok(Verdict::Holds { evidence: Evidence::new(summary) })
    }
}
