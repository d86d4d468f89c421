//! A text with templates, cut into its parts.

use super::{TemplateError, fault};
use crate::runbook::node::Span;

/// A part of a text.
pub(super) enum Part<'a> {
    /// Stands for itself.
    Literal(&'a str),
    /// What stands between `{{` and `}}`.
    Expression(&'a str),
}

/// Whether a text holds a template, or something that was meant as one.
pub(super) fn has_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Cuts a text at its templates. Quotes inside an expression may hold `}}`.
pub(super) fn split(text: &str, span: Span) -> Result<Vec<Part<'_>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        let (before, opened) = (&rest[..at], &rest[at + 2..]);
        refuse_statement(before, span)?;
        let Some(length) = expression_length(opened) else {
            return Err(fault("template-syntax", "a `{{` is not closed by `}}`", span)
                .about(rest.get(at..).unwrap_or_default().lines().next().unwrap_or_default())
                .hint("A literal `{{` is written as `{{ \"{{\" }}`."));
        };
        if !before.is_empty() {
            parts.push(Part::Literal(before));
        }
        parts.push(Part::Expression(opened[..length].trim()));
        rest = &opened[length + 2..];
    }
    refuse_statement(rest, span)?;
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

fn refuse_statement(literal: &str, span: Span) -> Result<(), TemplateError> {
    if !literal.contains("{%") {
        return Ok(());
    }
    Err(fault(
        "template-statement",
        "templates are expressions: there are no `{% %}` statements",
        span,
    )
    .about("{%")
    .hint("Use `when:` for a condition, `for_each:` for a loop."))
}

/// The bytes up to the closing `}}`, braces and quotes inside respected.
fn expression_length(text: &str) -> Option<usize> {
    let mut quote: Option<u8> = None;
    let mut braces = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, b'{') => braces += 1,
            (None, b'}') if braces > 0 => braces -= 1,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}
