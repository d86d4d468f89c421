//! The few queries that are understood.

use super::store::Labels;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Query {
    /// `name{label="value"}`.
    Select(Selector),
    /// `time() - timestamp(name{label="value"})`.
    Ages(Selector),
    /// `0.5`.
    Number(f64),
    /// `"text"`.
    Text(String),
}

impl Query {
    /// Reads a query; `None` when it is none of these.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        if let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            return (!inner.contains(['"', '\\'])).then(|| Self::Text(inner.to_owned()));
        }
        let ages = text.strip_prefix("time() - timestamp(").and_then(|rest| rest.strip_suffix(')'));
        match ages {
            Some(selector) => Selector::read(selector).map(Self::Ages),
            None => Selector::read(text).map(Self::Select),
        }
    }
}

/// A metric's name with labels that must be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector(Labels);

impl Selector {
    /// Reads `name` or `name{label="value", …}`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
        let name = name.trim_end();
        if !is_name(name) {
            return None;
        }
        let mut labels = Labels::from([("__name__".to_owned(), name.to_owned())]);
        if !rest.is_empty() {
            read_pairs(rest.strip_prefix('{')?.strip_suffix('}')?, &mut labels)?;
        }
        Some(Self(labels))
    }

    /// Whether a series has the name and the labels.
    pub(super) fn admits(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// The series of exactly these labels.
    pub(super) fn into_labels(self) -> Labels {
        self.0
    }
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        && text.starts_with(|c: char| !c.is_ascii_digit())
}

/// Reads `a="1", b="x y"`; a value has no escapes.
fn read_pairs(text: &str, labels: &mut Labels) -> Option<()> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=')?;
        let (value, tail) = tail.trim_start().strip_prefix('"')?.split_once('"')?;
        if !is_name(name.trim()) || value.contains('\\') {
            return None;
        }
        let _former = labels.insert(name.trim().to_owned(), value.to_owned());
        rest = match tail.trim_start().strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if tail.trim().is_empty() => "",
            None => return None,
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_few_queries_are_read_and_all_others_are_not() {
        let selector = |text: &str| Selector::read(text).unwrap();
        assert_eq!(Query::read(" up "), Some(Query::Select(selector("up"))));
        assert_eq!(
            Query::read("time() - timestamp(up{a=\"b\"})"),
            Some(Query::Ages(selector("up{a=\"b\"}")))
        );
        assert_eq!(Query::read("-1.5"), Some(Query::Number(-1.5)));
        assert_eq!(Query::read("\"text\""), Some(Query::Text("text".into())));
        for other in [
            "",
            "sum(up)",
            "up > 1",
            "up[5m]",
            "up{a=~\"b\"}",
            "up{a=b}",
            "up{",
            "1 + 1",
            "\"a\" \"b\"",
        ] {
            assert_eq!(Query::read(other), None, "{other}");
        }
    }

    #[test]
    fn labels_are_read_with_spaces_and_commas_in_them() {
        let read = Selector::read("m { a = \"x, y\" , b=\"{}\",}").unwrap();
        assert_eq!(read.0["a"], "x, y");
        assert_eq!(read.0["b"], "{}");
    }
}
