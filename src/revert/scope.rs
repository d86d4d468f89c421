//! Which changes may have touched the same thing.

use super::Change;
use crate::action::{ResolveContext, Touches, Work};

/// What a change may have touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// These resources.
    Resources(Vec<String>),
    /// Anything of a system.
    System(String),
    /// Anything.
    Anything,
}

impl Scope {
    /// The scope of a change. One that cannot be made any more counts as its whole system.
    pub(super) fn of(change: &Change, cx: &ResolveContext) -> Self {
        let verb = &change.step.verb;
        let system = || Self::System(verb.split('.').next().unwrap_or_default().to_owned());
        let work = cx.registry.verb(verb).and_then(|verb| verb.make(&change.item.args, cx).ok());
        let Some(Work::Action(action)) = work else { return system() };
        match action.touches() {
            Touches::Anything => Self::Anything,
            Touches::Only(resources) => {
                Self::Resources(resources.into_iter().chain(change.predicted.clone()).collect())
            }
            Touches::System if change.predicted.is_empty() => system(),
            Touches::System => Self::Resources(change.predicted.clone()),
        }
    }

    /// Whether both may have touched the same thing.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anything, _) | (_, Self::Anything) => true,
            (Self::System(one), Self::System(two)) => one == two,
            (Self::System(system), Self::Resources(resources))
            | (Self::Resources(resources), Self::System(system)) => {
                resources.iter().any(|resource| {
                    resource.split_once(':').is_some_and(|(prefix, _)| prefix == system)
                })
            }
            (Self::Resources(one), Self::Resources(two)) => {
                one.iter().any(|one| two.iter().any(|two| same_or_below(one, two)))
            }
        }
    }
}

fn same_or_below(one: &str, two: &str) -> bool {
    let below = |inner: &str, outer: &str| {
        inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    };
    one == two || below(one, two) || below(two, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_overlap_where_the_same_thing_may_be_touched() {
        let named = |name: &str| Scope::Resources(vec![name.to_owned()]);
        let system = |name: &str| Scope::System(name.to_owned());
        for (one, two, wanted) in [
            (named("file:/a/b"), named("file:/a/b"), true),
            (named("file:/a/b"), named("file:/a"), true),
            (named("file:/a/b"), named("file:/a/bc"), false),
            (named("docker:legacy/a-1"), named("docker:legacy/a-11"), false),
            (named("file:/a"), system("file"), true),
            (named("file:/a"), system("docker"), false),
            (system("postgres"), system("postgres"), true),
            (system("postgres"), system("redis"), false),
            (Scope::Anything, named("file:/a"), true),
        ] {
            assert_eq!(one.overlaps(&two), wanted, "{one:?} {two:?}");
            assert_eq!(two.overlaps(&one), wanted, "{two:?} {one:?}");
        }
    }
}
