//! The messages of a run beside its steps: the escalation ladder, and how the run ended.
//!
//! They are on no path to anything, so what cannot be resolved is left out with a warning, and each reason is told once.

use std::collections::HashMap;

use super::items::{Resolver, expand};
use super::notices;
use crate::action::{ActionError, ErrorKind, Item};
use crate::plan::{Concern, Plan, PlannedMessage, PlannedRung};
use crate::runbook::node::Node;
use crate::runbook::{Runbook, Rung, VerbCall};

/// Plans the messages of a runbook; what is left out, and why.
pub(super) async fn plan(
    plan: &mut Plan,
    runbook: &Runbook,
    resolver: &Resolver<'_>,
) -> Vec<Concern> {
    let mut left_out = Vec::new();
    for rung in runbook.escalation.iter().filter(|rung| notices::wants(rung, runbook)) {
        plan.escalation.push(planned(rung, runbook, resolver, &mut left_out).await);
    }
    let wanted = |verb: &&String| notices::unwanted(verb, runbook, resolver).is_none();
    for verb in runbook.closing.iter().filter(wanted) {
        match usable(verb, resolver) {
            Ok(()) => plan.closing.push(verb.clone()),
            Err(error) => note(&mut left_out, "the closing message", error),
        }
    }
    left_out
}

async fn planned(
    rung: &Rung,
    runbook: &Runbook,
    resolver: &Resolver<'_>,
    left_out: &mut Vec<Concern>,
) -> PlannedRung {
    let mut messages = Vec::new();
    let wanted = |call: &&VerbCall| notices::unwanted(&call.verb, runbook, resolver).is_none();
    for call in rung.tell.iter().filter(wanted) {
        match message(call, resolver).await {
            Ok(found) => messages.extend(found),
            Err(error) => note(left_out, "the escalation", error),
        }
    }
    let phone = match rung.phone.as_ref().map(|phone| text(phone, resolver)).transpose() {
        Ok(phone) => phone,
        Err(error) => {
            note(left_out, "the escalation", error);
            None
        }
    };
    let (level, who) = (rung.level.clone(), rung.who.clone());
    PlannedRung { level, who, after: rung.after, phone, messages: told_apart(messages) }
}

/// One reason, once.
fn note(left_out: &mut Vec<Concern>, about: &str, error: ActionError) {
    let concern = Concern { about: about.to_owned(), step: None, error };
    if !left_out.contains(&concern) {
        left_out.push(concern);
    }
}

fn text(node: &Node, resolver: &Resolver<'_>) -> Result<String, ActionError> {
    let value = resolver.evaluate(node, &resolver.scope)?;
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

async fn message(
    call: &VerbCall,
    resolver: &Resolver<'_>,
) -> Result<Vec<PlannedMessage>, ActionError> {
    usable(&call.verb, resolver)?;
    let verb = resolver.verb(&call.verb)?;
    let args = resolver.evaluate(&call.args, &resolver.scope)?;
    // A message goes out beside the run, where nobody would see it refused.
    (verb.validate)(args.clone()).map_err(|why| {
        ActionError::new(ErrorKind::Invalid, format!("use `{}`: {why}", verb.name))
    })?;
    let args = [Item { name: String::new(), args: args.into() }];
    let items = expand(verb, &args, resolver.cx, resolver.deadline).await?;
    let named = |item: crate::plan::PlannedItem| PlannedMessage {
        name: match item.name.as_str() {
            "" => call.verb.clone(),
            recipient => format!("{}/{recipient}", call.verb),
        },
        verb: call.verb.clone(),
        args: item.args,
    };
    Ok(items.into_iter().map(named).collect())
}

/// Numbers those that would be called the same: what became of each is kept by its name.
fn told_apart(mut messages: Vec<PlannedMessage>) -> Vec<PlannedMessage> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for message in &mut messages {
        let count = seen.entry(message.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            message.name = format!("{}-{count}", message.name);
        }
    }
    messages
}

/// Whether the environment has the connection of a verb.
fn usable(verb: &str, resolver: &Resolver<'_>) -> Result<(), ActionError> {
    let connections = &resolver.cx.connections;
    match resolver.verb(verb)?.connection {
        Some(key) if !connections.has(key) => {
            let environment = connections.environment();
            let text = format!("use `{verb}`: environment `{environment}` has no `{key}`");
            Err(ActionError::new(ErrorKind::NotFound, text))
        }
        _ => Ok(()),
    }
}
