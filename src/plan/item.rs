//! An expanded item becomes a planned one: with a name that is unique in its step, and described in words.

use super::PlannedItem;
use crate::action::{ActionError, Item, ResolveContext, Reversal, Verb, Work};

/// Describes an item of a verb. `element` is the name of the `for_each` element it belongs to, or empty.
pub fn planned_item(
    verb: &Verb,
    element: &str,
    item: Item,
    cx: &ResolveContext,
) -> Result<PlannedItem, ActionError> {
    let (does, undo) = match verb.make(item.args.clone(), cx)? {
        Work::Action(action) => {
            let words = action.describe();
            match action.reversal() {
                Reversal::Automatic => (words.apply, words.undo),
                Reversal::Irreversible { .. } => (words.apply, String::new()),
            }
        }
        Work::Probe(probe) => (probe.describe().apply, String::new()),
        Work::Manual(question) => (format!("ask: {}", question.text), String::new()),
    };
    let name = match (element, item.name.as_str()) {
        ("", name) => name.to_owned(),
        (element, "") => element.to_owned(),
        (element, name) => format!("{element}/{name}"),
    };
    Ok(PlannedItem { name, args: item.args, does, undo })
}
