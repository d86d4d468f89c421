//! `--inject`: from what was typed to faults of systems and steps that exist.

use crate::cli::error::{CliError, USAGE};
use crate::cli::open::Opened;
use crate::engine::fault::{Fault, FaultError};
use crate::runbook::suggest;

/// Reads the faults as they were typed.
pub(super) fn read(typed: &[String]) -> Result<Vec<Fault>, CliError> {
    let read = |text: &String| {
        text.parse()
            .map_err(|error: FaultError| wrong(text, &error.to_string()).hint(FaultError::HINT))
    };
    typed.iter().map(read).collect()
}

/// Refuses a fault that nothing could ever meet.
pub(super) fn check(faults: &[Fault], opened: &Opened) -> Result<(), CliError> {
    let registry = &opened.resolve.registry;
    for fault in faults {
        let typed = fault.to_string();
        let systems = || registry.systems().iter().map(|system| system.name);
        let Some(system) = registry.system(&fault.system) else {
            let meant = suggest::closest(&fault.system, systems());
            let known: Vec<&str> = systems().collect();
            return Err(wrong(&typed, &format!("find the system `{}`", fault.system))
                .hints(meant.map(|meant| format!("Did you mean `{meant}`?")))
                .hint(format!("The systems are {}.", known.join(", "))));
        };
        let verbs = || system.verbs.iter().filter_map(|verb| Some(verb.name.split_once('.')?.1));
        if let Some(verb) = fault.verb.as_deref().filter(|verb| !verbs().any(|name| name == *verb))
        {
            let meant = suggest::closest(verb, verbs());
            return Err(wrong(&typed, &format!("find the verb `{}.{verb}`", fault.system))
                .hints(meant.map(|meant| format!("Did you mean `{}.{meant}`?", fault.system))));
        }
        step_exists(fault, opened)?;
    }
    Ok(())
}

fn step_exists(fault: &Fault, opened: &Opened) -> Result<(), CliError> {
    let Some(step) = &fault.step else { return Ok(()) };
    let phases = &opened.loaded.runbook.phases;
    let steps: Vec<String> = phases
        .iter()
        .flat_map(|phase| phase.steps.iter().map(move |step| format!("{}/{}", phase.id, step.id)))
        .collect();
    if steps.contains(step) {
        return Ok(());
    }
    let by_its_end = steps.iter().find(|known| known.split('/').nth(1) == Some(step.as_str()));
    let closest = || suggest::closest(step, steps.iter().map(String::as_str));
    let meant = by_its_end.map(String::as_str).or_else(closest);
    Err(wrong(&fault.to_string(), &format!("find the step `{step}`"))
        .hints(meant.map(|meant| format!("Did you mean `step={meant}`?")))
        .hint("Name it as `phase/step`; `rollback plan` lists them."))
}

fn wrong(typed: &str, why: &str) -> CliError {
    CliError::new(USAGE, format!("inject `{typed}`: failed to {why}"))
}
