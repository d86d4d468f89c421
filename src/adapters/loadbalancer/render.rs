//! `loadbalancer.render`: a configuration file from a template and values, proved live.
//!
//! The template is evaluated when the plan is made, so that the plan holds the very text that will be written. It is an
//! expression language without loading, including or calling out, and a value cannot become syntax: text that
//! holds white space or a character with a meaning in nginx's configuration is refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::change::Change;
use super::connection::check_proof;
use super::files;
use super::nginx::Nginx;
use super::proof::Proof;
use crate::action::{
    ActionError, Description, ErrorKind, ResolveContext, VerbArgs, VerbKind, Work,
};
use crate::secret::has_marker;

/// Steps that a template may take: enough for tens of thousands of lines.
const FUEL: u64 = 1_000_000;

/// The arguments of `loadbalancer.render`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Render {
    /// The template's file, with `{{ names }}`, `{% for %}` and `{% if %}`.
    pub template: PathBuf,
    /// The file that is written; nginx includes it.
    pub to: PathBuf,
    /// What the template's names stand for.
    #[serde(default)]
    pub values: IndexMap<String, Value>,
    /// A free address on loopback. The file then also gets a small server that answers there with the configuration's
    /// hash, for which nginx must include the file inside `http`. Without it, the proof is that nginx has started new workers.
    pub proof: Option<SocketAddr>,
}

/// A rendered file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderItem {
    to: PathBuf,
    text: String,
    proof: Option<SocketAddr>,
}

#[async_trait]
impl VerbArgs for Render {
    const NAME: &'static str = "loadbalancer.render";
    const SUMMARY: &'static str = "Write nginx configuration from a template, proved live";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = RenderItem;

    fn validate(&self) -> Result<(), String> {
        if !self.to.is_absolute() {
            return Err("`to` must be an absolute path".to_owned());
        }
        self.proof.map_or(Ok(()), check_proof)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, RenderItem)>, ActionError> {
        let source = read_template(&self.template)?;
        let text = render(&source, &self.values).map_err(|problem| {
            let to = self.to.display();
            ActionError::new(ErrorKind::Invalid, format!("render {to}: {problem}"))
        })?;
        Ok(vec![(String::new(), RenderItem { to: self.to, text, proof: self.proof })])
    }

    fn make(item: RenderItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let RenderItem { to, mut text, proof } = item;
        let proof = proof.map(|address| {
            Proof::new(address, "render", "rendered", &Sha256::new_with_prefix(&text))
        });
        if let Some(proof) = &proof {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&proof.server_block());
        }
        Ok(Work::Action(Box::new(Change {
            nginx: Nginx::shared(&cx.connections)?,
            text,
            proof,
            description: Description::new(
                format!("write {} from its template, and reload nginx", to.display()),
                format!("put the former {} back, and reload nginx", to.display()),
            ),
            outcome: format!("{} is live", to.display()),
            prediction: None,
            file: to,
        })))
    }
}

fn read_template(path: &Path) -> Result<String, ActionError> {
    files::read(path)?.ok_or_else(|| {
        ActionError::new(ErrorKind::NotFound, format!("find the template {}", path.display()))
    })
}

fn render(source: &str, values: &IndexMap<String, Value>) -> Result<String, String> {
    if has_marker(source) {
        return Err(SECRET.to_owned());
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(
        SyntaxConfig::builder()
            .keep_trailing_newline(true)
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| error.to_string())?,
    );
    environment.set_formatter(|out, _, value| {
        let text = value.to_string();
        check_value(&text)
            .map_err(|problem| minijinja::Error::new(minijinja::ErrorKind::BadEscape, problem))?;
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    let text = environment.render_str(source, Serde(values)).map_err(|error| error.to_string())?;
    if text.len() as u64 > files::MOST_BYTES {
        return Err("the result is longer than 1 MiB".to_owned());
    }
    Ok(text)
}

const SECRET: &str =
    "a secret cannot be rendered into a configuration file; let nginx include a file that holds it";

/// Refuses what would end a value and begin something else in nginx's configuration.
fn check_value(text: &str) -> Result<(), String> {
    if has_marker(text) {
        return Err(SECRET.to_owned());
    }
    let special = |letter: char| {
        letter.is_whitespace() || letter.is_control() || ";{}\"'\\#$".contains(letter)
    };
    match text.chars().find(|letter| special(*letter)) {
        Some(letter) => {
            Err(format!("the value {text:?} holds {letter:?}, which is syntax to nginx"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(source: &str, values: &Value) -> Result<String, String> {
        let values = values.as_object().unwrap().clone().into_iter().collect();
        render(source, &values)
    }

    #[test]
    fn a_list_becomes_lines() {
        let source = "upstream a {\n{% for server in servers %}\n    server {{ server }};\n{% endfor %}\n}\n";
        let values = serde_json::json!({"servers": ["10.0.0.1:80", "10.0.0.2:80"]});
        assert_eq!(
            with(source, &values).unwrap(),
            "upstream a {\n    server 10.0.0.1:80;\n    server 10.0.0.2:80;\n}\n"
        );
    }

    #[test]
    fn a_value_cannot_become_syntax() {
        for bad in ["a;", "a }", "a\nb", "\"", "a#b", "$host", "a b", "\u{E000}key\u{E001}"] {
            let result = with("server {{ name }};", &serde_json::json!({"name": bad}));
            assert!(result.is_err(), "{bad:?} became {result:?}");
            // Not by marking it as safe, either.
            assert!(with("{{ name|safe }}", &serde_json::json!({"name": bad})).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_undefined_name_and_an_endless_loop_end_in_an_error() {
        assert!(with("{{ missing }}", &serde_json::json!({})).is_err());
        let endless =
            "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        assert!(with(endless, &serde_json::json!({})).is_err());
    }
}
