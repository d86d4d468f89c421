//! One of several schemas: the one that was probably meant decides which problems are shown.

use serde_json::Value;

use super::{Place, Walk, scalar};
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::node::{Node, NodeValue};
use crate::runbook::suggest;

impl<'a> Walk<'a> {
    pub(super) fn choice(&mut self, node: &Node, choices: &'a [Value], place: Place<'_>) {
        let real: Vec<&'a Value> = choices
            .iter()
            .map(|choice| self.catalog.resolve(choice))
            .filter(|choice| choice.get("type").and_then(Value::as_str) != Some("null"))
            .collect();
        if let [only] = real.as_slice() {
            return self.value(node, only, place);
        }
        let words: Vec<&str> = real.iter().flat_map(|choice| scalar::words(choice)).collect();
        if let (Some(text), false) = (node.as_text(), words.is_empty()) {
            let only_words = real
                .iter()
                .all(|choice| !scalar::words(choice).is_empty() || !scalar::has_type(node, choice));
            if words.contains(&text) {
                return;
            }
            if only_words {
                return self.unknown_word(node, text, &words, place);
            }
        }
        let fitting: Vec<&'a Value> =
            real.iter().copied().filter(|choice| scalar::has_type(node, choice)).collect();
        match fitting.as_slice() {
            [] => {
                let wanted: Vec<String> =
                    real.iter().map(|choice| scalar::describe(choice)).collect();
                self.wrong_choice(node, &wanted, place);
            }
            [only] => self.value(node, only, place),
            several => self.best_of(node, several, place),
        }
    }

    /// Tries every schema; when none accepts, the one whose keys fit best explains why.
    fn best_of(&mut self, node: &Node, several: &[&'a Value], place: Place<'_>) {
        let common = |schema: &Value| match (&node.value, schema.get("properties")) {
            (NodeValue::Map(entries), Some(Value::Object(known))) => {
                entries.iter().filter(|(key, _)| known.contains_key(&key.name)).count()
            }
            _ => 0,
        };
        let before = self.problems.len();
        let mut best: Option<(usize, Vec<Diagnostic>)> = None;
        for schema in several {
            self.value(node, schema, place);
            let found = self.problems.split_off(before);
            if found.is_empty() {
                return;
            }
            let fit = common(schema);
            if best.as_ref().is_none_or(|(former, _)| fit > *former) {
                best = Some((fit, found));
            }
        }
        self.problems.extend(best.map(|(_, found)| found).unwrap_or_default());
    }

    fn wrong_choice(&mut self, node: &Node, wanted: &[String], place: Place<'_>) {
        let message = format!(
            "{} must be {}, not {}",
            place.what,
            scalar::either(wanted),
            scalar::found(node)
        );
        self.problems.push(Diagnostic::error("wrong-type", message).at(node.span));
    }

    pub(super) fn unknown_word(
        &mut self,
        node: &Node,
        text: &str,
        words: &[&str],
        place: Place<'_>,
    ) {
        let message = format!("{} cannot be `{}`", place.what, suggest::visible(text));
        let mut problem = Diagnostic::error("unknown-value", message).at(node.span);
        problem.hints.extend(suggest::hint(text, words.iter().copied()));
        self.problems.push(problem);
    }
}
