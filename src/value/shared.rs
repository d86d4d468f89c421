//! A value that many hold and few change.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A value with any number of owners: a clone is the same value, until one of them changes it and has its own from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shared<T>(Arc<T>);

impl<T: PartialEq> Shared<T> {
    /// The same as the other one, if the two are equal: then one of them can go.
    #[must_use]
    pub fn same_as(self, other: Option<&Self>) -> Self {
        match other {
            Some(other) if *other == self => Self(Arc::clone(&other.0)),
            _ => self,
        }
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_its_owner_alone() {
        let first = Shared::from(vec![1]);
        let mut second = Shared::from(vec![1]).same_as(Some(&first));
        assert!(std::ptr::eq(&raw const *first, &raw const *second), "equal ones are one");
        second.push(2);
        assert_eq!((first.as_slice(), second.as_slice()), (&[1][..], &[1, 2][..]));
        assert_eq!(*Shared::from(vec![3]).same_as(Some(&first)), [3]);
    }
}
