//! What the engine would notice only while it evaluates, or not at all: unknown filters and tests, calls, and the
//! operator `*`, which repeats texts and lists up to 100 million times.

use super::engine::FILTERS;
use super::{TemplateError, fault};
use crate::runbook::node::Span;
use crate::runbook::suggest;

/// Words before a parenthesis that are no function.
const OPERATORS: [&str; 7] = ["and", "else", "if", "in", "is", "not", "or"];
const TESTS: [&str; 2] = ["defined", "none"];

/// A piece of an expression outside of quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(char),
    Quoted,
}

/// Checks an expression that the engine can read.
pub(super) fn check(expression: &str, span: Span) -> Result<(), TemplateError> {
    let tokens = tokens(expression);
    for (position, token) in tokens.iter().enumerate() {
        let next = tokens.get(position + 1);
        match (token, next) {
            (Token::Sign('*'), _) => {
                return Err(fault(
                    "template-syntax",
                    "the operator `*` is not part of the language",
                    span,
                )
                .about(expression)
                .hint("Multiply numbers with `| times(2)`."));
            }
            (Token::Sign('|'), Some(Token::Word(name))) if !FILTERS.contains(name) => {
                return Err(unknown("unknown-filter", "filter", name, &FILTERS, span));
            }
            (Token::Word("is"), Some(Token::Word(name))) => {
                let name = match (*name, tokens.get(position + 2)) {
                    ("not", Some(Token::Word(name))) => name,
                    (name, _) => name,
                };
                if !TESTS.contains(&name) {
                    return Err(unknown("unknown-test", "test", name, &TESTS, span));
                }
            }
            (Token::Word(name), Some(Token::Sign('('))) => {
                let filter = position > 0 && tokens[position - 1] == Token::Sign('|');
                if !filter && !OPERATORS.contains(name) {
                    let message = format!("there is no function `{name}`");
                    return Err(fault("template-syntax", message, span)
                        .about(name)
                        .hint("Templates have filters, such as `| length`, and no functions."));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn unknown(
    code: &'static str,
    what: &str,
    name: &str,
    known: &[&str],
    span: Span,
) -> TemplateError {
    let error = fault(code, format!("there is no {what} `{name}`"), span).about(name);
    match suggest::closest(name, known.iter().copied()) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.hint(format!("known here: {}", suggest::listed(known))),
    }
}

fn tokens(expression: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => {
                tokens.push(Token::Quoted);
                quoted(rest, first)
            }
            _ if is_word(first) => {
                let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
                tokens.push(Token::Word(&rest[..end]));
                end
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of a quoted text with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
