//! What a request means: which kind of objects, which one, which part of it, and what is to be done.

use std::collections::HashMap;

use axum::http::{Method, Uri};
use url::form_urlencoded;

use super::access::Deed;
use super::failure::Failure;
use super::resources::{self, Resource};

/// The options behind the question mark.
pub(super) type Options = HashMap<String, String>;

/// A request about objects.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// None when the server has no such kind.
    pub(super) resource: Option<&'static Resource>,
    pub(super) group: &'a str,
    pub(super) plural: &'a str,
    pub(super) namespace: &'a str,
    /// Empty for all of them.
    pub(super) name: &'a str,
    /// `scale`, `status`, or empty for the object itself.
    pub(super) below: &'a str,
}

impl<'a> Target<'a> {
    /// What a path leads to; none when it has not the form of one that leads to objects.
    pub(super) fn read(path: &'a str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, plural, rest @ ..]
                if !resources::NAMESPACES.subresources.contains(plural) =>
            {
                (*namespace, [&[*plural], rest].concat())
            }
            rest => ("", rest.to_vec()),
        };
        let (plural, name, below) = match rest.as_slice() {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, below] => (*plural, *name, *below),
            _ => return None,
        };
        let resource = resources::ALL.into_iter().find(|resource| {
            (resource.group, resource.version, resource.plural) == (group, version, plural)
                && (below.is_empty() || resource.subresources.contains(&below))
                && (namespace.is_empty() || resource.namespaced)
        });
        Some(Self { resource, group, plural, namespace, name, below })
    }

    /// Whether the server has anything of its group.
    pub(super) fn has_group(&self) -> bool {
        resources::ALL.into_iter().any(|resource| resource.group == self.group)
    }

    /// The verb that access rules know it by.
    pub(super) fn verb(&self, method: &Method, options: &Options) -> &'static str {
        let one = !self.name.is_empty();
        match method.as_str() {
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if one => "delete",
            "DELETE" => "deletecollection",
            _ if one => "get",
            _ if options.get("watch").is_some_and(|watch| is_true(watch)) => "watch",
            _ => "list",
        }
    }

    /// `deployments/scale`.
    pub(super) fn path(&self) -> String {
        match self.below {
            "" => self.plural.to_owned(),
            below => format!("{}/{below}", self.plural),
        }
    }

    pub(super) fn deed(&'a self, verb: &'a str, path: &'a str) -> Deed<'a> {
        let (namespace, name) = match self.plural {
            // A namespace is within itself.
            "namespaces" => (self.name, self.name),
            _ => (self.namespace, self.name),
        };
        Deed { verb, group: self.group, resource: path, namespace, name }
    }
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "true" | "")
}

pub(super) fn options(uri: &Uri) -> Options {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// Whether a request is only tried.
pub(super) fn is_dry(options: &Options) -> Result<bool, Failure> {
    match options.get("dryRun").map(String::as_str) {
        None | Some("") => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(Failure::bad_request(format!(
            "dryRun: Unsupported value: \"{other}\": supported values: \"All\""
        ))),
    }
}
