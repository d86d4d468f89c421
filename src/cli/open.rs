//! From words on the command line to a runbook in an environment, ready to be planned.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::Context;
use super::error::{self, CliError, NO_TERMINAL, UNEXPECTED, USAGE};
use super::{panic, prompt};
use crate::action::{Registry, ResolveContext};
use crate::environment::runbooks::{self, Found, FoundRunbook};
use crate::environment::{Config, Environment, EnvironmentFile, locate};
use crate::journal::{Holder, Store};
use crate::report::style::{DOUBT, FAINT, paint};
use crate::report::text::sanitize;
use crate::runbook::{Loaded, Phase, Runbook, Scenario, load};
use crate::sandbox::process as sandbox;

/// Which runbook is meant.
pub(super) enum Which {
    /// A name or a path.
    Runbook(String),
    /// A scenario's, perhaps narrowed by name.
    Scenario {
        /// The scenario.
        scenario: Scenario,
        /// The name that the flag carries.
        name: Option<String>,
        /// `--runbook`.
        runbook: Option<String>,
    },
}

/// A runbook in an environment.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) loaded: Loaded,
    pub(super) path: PathBuf,
    pub(super) environment: Environment,
    pub(super) resolve: Arc<ResolveContext>,
    /// The input whose value the scenario's flag carries, with that value.
    pub(super) argument: Option<(String, String)>,
}

impl Opened {
    /// The same with nothing to do but this phase, which only a drill does: it proves no target and wakes nobody.
    pub(super) fn drill_part(&self, phase: &Phase) -> Self {
        let mut part = self.clone();
        let runbook = &mut part.loaded.runbook;
        runbook.phases = vec![phase.clone()];
        runbook.targets.clear();
        runbook.escalation.clear();
        runbook.closing.clear();
        runbook.approval = None;
        part
    }

    /// What a run needs of it. The rest goes.
    pub(super) fn planned(self) -> (Arc<ResolveContext>, Store) {
        (self.resolve, self.store)
    }
}

/// Finds, loads and resolves.
pub(super) async fn open(
    cx: &Context,
    which: &Which,
    env: Option<&str>,
) -> Result<Opened, CliError> {
    let config = cx.config.clone();
    let (path, carried) = find(cx, which, env, &config).await?;
    let registry = Arc::new(crate::adapters::registry());
    let loaded = load_runbook(cx, &path, &registry)?;
    if let Which::Scenario { scenario, .. } = which
        && loaded.runbook.scenario != *scenario
    {
        return Err(CliError::new(
            USAGE,
            format!("run {} for this scenario: it is written for another", path.display()),
        )
        .hint(format!("Run it as it is with `rollback run {}`.", path.display())));
    }
    let argument = carried.map(|value| argument(&loaded.runbook, value)).transpose()?;
    let choice = locate::locate(env, &path, &config)
        .map_err(|error| CliError::new(USAGE, error.to_string()).hints(error.hints()))?;
    let (environment, resolve) = enter(cx, &choice.path, registry, &config).await?;
    let store = store(cx, &config)?;
    Ok(Opened { config, store, loaded, path, environment, resolve, argument })
}

/// The runs of this user.
pub(super) fn store(cx: &Context, config: &Config) -> Result<Store, CliError> {
    let store = Store::open(cx.state_dir.as_deref().or(config.state_dir.as_deref()))?;
    panic::keep_in(store.dir());
    Ok(store)
}

/// The runs of this user, to be looked at only.
pub(super) fn store_to_read(cx: &Context) -> Result<Store, CliError> {
    Ok(Store::open_to_read(cx.state_dir.as_deref().or(cx.config.state_dir.as_deref()))?)
}

fn load_runbook(cx: &Context, path: &Path, registry: &Registry) -> Result<Loaded, CliError> {
    let loaded = load(path, registry).map_err(|found| error::invalid(&found, cx.output.color))?;
    if loaded.warnings.count(crate::runbook::diagnostic::Severity::Warning) > 0 {
        cx.output.progress(loaded.warnings.render(cx.output.color).trim_end());
    }
    Ok(loaded)
}

/// Reads an environment file and makes its connections; starts the sandbox when it is the sandbox's.
pub(super) async fn enter(
    cx: &Context,
    path: &Path,
    registry: Arc<Registry>,
    config: &Config,
) -> Result<(Environment, Arc<ResolveContext>), CliError> {
    let invalid = |problems| error::invalid(&problems, cx.output.color);
    let file = EnvironmentFile::read(path, &registry).map_err(invalid)?;
    let mut lacks = Vec::new();
    let world = if file.sandbox {
        let info = sandbox::ensure_running(store(cx, config)?.dir()).await.map_err(|error| {
            CliError::new(UNEXPECTED, "start the sandbox")
                .caused_by(&error)
                .hint("Start it in the foreground to see why: `rollback sandbox serve`.")
        })?;
        lacks.clone_from(&info.lacks);
        let value = serde_json::to_value(info)
            .map_err(|error| CliError::new(UNEXPECTED, "describe the sandbox").caused_by(&error))?;
        Some(value)
    } else {
        None
    };
    let environment = file.resolve(world.as_ref()).await.map_err(invalid)?;
    if environment.absent.is_empty() {
        lacks.clear();
    }
    for warning in lacks.iter().chain(&environment.warnings) {
        cx.output.progress(format!("{} {}", paint(DOUBT, "!"), sanitize(warning)));
    }
    let connections = environment.connections.clone();
    panic::hide(connections.secrets());
    Ok((environment, Arc::new(ResolveContext { connections, registry })))
}

/// The input that a NAME behind the scenario's flag is for.
fn argument(runbook: &Runbook, value: String) -> Result<(String, String), CliError> {
    match runbook.argument() {
        Some(input) => Ok((input.to_owned(), value)),
        None => Err(CliError::new(
            USAGE,
            format!("give `{value}` to the runbook `{}`: it takes no name", runbook.name),
        )
        .hint(format!("Run it as it is with `rollback run {}`.", runbook.name))),
    }
}

/// The runbook, and what of the command line is for its argument: the NAME of a scenario's flag is a runbook's name where there is such
/// a runbook of that scenario, else it is for the scenario's runbook.
async fn find(
    cx: &Context,
    which: &Which,
    env: Option<&str>,
    config: &Config,
) -> Result<(PathBuf, Option<String>), CliError> {
    let folder = std::env::current_dir()
        .map_err(|error| CliError::new(UNEXPECTED, "find the current folder").caused_by(&error))?;
    let (said, carried) = match which {
        Which::Runbook(name) => (Some(name), None),
        Which::Scenario { runbook, name, .. } => (runbook.as_ref(), name.clone()),
    };
    // A file that is named need not be read to know that it is meant: a long one takes its time.
    if let Some(path) = said.map(|said| folder.join(said)).filter(|path| path.is_file()) {
        return Ok((path, carried));
    }
    let (found, carried, wanted) = match which {
        Which::Runbook(name) => {
            (runbooks::named(name, &folder, config), None, format!("the runbook `{name}`"))
        }
        Which::Scenario { runbook: Some(runbook), name, .. } => {
            let wanted = format!("the runbook `{runbook}`");
            (runbooks::named(runbook, &folder, config), name.clone(), wanted)
        }
        Which::Scenario { scenario, name, .. } => {
            let wanted = format!("a runbook for the scenario {}", scenario_name(*scenario));
            let all = runbooks::of_scenario(*scenario, &folder, config);
            match name.as_deref().map(|name| (name, runbooks::named(name, &folder, config))) {
                // What is there of this name is another scenario's, or what is meant is misspelt.
                Some((name, named)) if matches!(all, Found::None { .. }) => {
                    (named, None, format!("the runbook `{name}`"))
                }
                Some((_, named)) if is_of(&named, *scenario) => (named, None, wanted),
                _ => (all, name.clone(), wanted),
            }
        }
    };
    match found.with_environment(env, config) {
        Found::One(found) => Ok((found.path, carried)),
        Found::Several(found) => Ok((choose(cx, which, found, &wanted).await?.path, carried)),
        Found::None { hints, .. } => {
            Err(CliError::new(USAGE, format!("find {wanted}")).hints(hints))
        }
    }
}

/// Whether all that was found is of a scenario.
fn is_of(found: &Found, scenario: Scenario) -> bool {
    let found = match found {
        Found::One(one) => std::slice::from_ref(one),
        Found::Several(several) => several.as_slice(),
        Found::None { .. } => return false,
    };
    found.iter().all(|found| found.scenario == Some(scenario))
}

async fn choose(
    cx: &Context,
    which: &Which,
    mut found: Vec<FoundRunbook>,
    wanted: &str,
) -> Result<FoundRunbook, CliError> {
    for (index, runbook) in found.iter().enumerate() {
        let title = runbook.title.as_deref().map(sanitize).unwrap_or_default();
        let (name, path) = (sanitize(&runbook.name), sanitize(&runbook.path.display().to_string()));
        cx.output.progress(format!("  {}  {name:<28} {title}  {}", index + 1, paint(FAINT, path)));
    }
    let several = || {
        CliError::new(USAGE, format!("choose {wanted}: there are several")).hint(match which {
            Which::Scenario { .. } => {
                "Name one with `--runbook NAME`, or its file with `--runbook PATH`."
            }
            Which::Runbook(_) => "Name its file instead.",
        })
    };
    if !cx.output.interactive {
        return Err(several());
    }
    let answer = prompt::ask(&cx.output, "Which one? ").await?;
    let index: usize = answer.trim().parse().map_err(|_| several())?;
    if index == 0 || index > found.len() {
        return Err(several());
    }
    Ok(found.swap_remove(index - 1))
}

/// The scenario as its flag says it.
pub(super) fn scenario_name(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Emergency => "emergency",
        Scenario::Graceful => "graceful",
        Scenario::Partial => "partial",
        Scenario::KnowledgeBase => "knowledge-base",
        Scenario::Validation => "validation",
        Scenario::Prevention => "prevention",
    }
}

/// A runbook as the holder of a lock names it, see [`is_emergency`].
pub(super) fn holder_name(runbook: &str, scenario: Scenario) -> String {
    format!("{runbook} ({})", scenario_name(scenario))
}

/// Whether the holder of a lock says that it is an emergency, which nobody may take over.
pub(super) fn is_emergency(holder: &Holder) -> bool {
    holder.runbook.ends_with(&format!("({})", scenario_name(Scenario::Emergency)))
}

/// The error for a question that nobody can be asked.
pub(super) fn nobody_to_ask(what: &str) -> CliError {
    CliError::new(NO_TERMINAL, format!("ask {what}: there is no terminal"))
}
