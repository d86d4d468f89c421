//! Values by name, in their order.

use std::collections::HashMap;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// From this many on a name is found by a table. Below, one look at each is as fast, and a run of ten thousand steps of one item each needs
/// no ten thousand tables.
const MANY: usize = 16;

/// Values by name, in the order in which they came.
#[derive(Debug, Clone)]
pub struct ByName<T> {
    entries: Vec<(Box<str>, T)>,
    /// Where each name stands; none while they are few.
    #[expect(clippy::box_collection, reason = "most have none, and are thousands")]
    places: Option<Box<HashMap<Box<str>, usize>>>,
}

impl<T> ByName<T> {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.place(name).map(|place| &self.entries[place].1)
    }

    /// The value of this name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.place(name).map(|place| &mut self.entries[place].1)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Adds a name that is not there.
    fn push(&mut self, name: Box<str>, value: T) {
        let place = self.entries.len();
        if let Some(places) = &mut self.places {
            let _new = places.insert(name.clone(), place);
        }
        self.entries.push((name, value));
        if self.entries.len() == MANY {
            let names = self.entries.iter().enumerate();
            let places = names.map(|(place, (name, _))| (name.clone(), place));
            self.places = Some(Box::new(places.collect()));
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.entries.iter().position(|(known, _)| **known == *name),
        }
    }
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: None }
    }
}

impl<T> FromIterator<(Box<str>, T)> for ByName<T> {
    /// A name that comes twice has its later value.
    fn from_iter<I: IntoIterator<Item = (Box<str>, T)>>(named: I) -> Self {
        let named = named.into_iter();
        let mut all = Self { entries: Vec::with_capacity(named.size_hint().0), places: None };
        for (name, value) in named {
            if let Some(known) = all.get_mut(&name) {
                *known = value;
            } else {
                all.push(name, value);
            }
        }
        all
    }
}

impl<T> IntoIterator for ByName<T> {
    type Item = (Box<str>, T);
    type IntoIter = std::vec::IntoIter<(Box<str>, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<T: Serialize> Serialize for ByName<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_many_there_are() {
        for many in [0, 1, 2, MANY - 1, MANY, MANY + 1, 10 * MANY] {
            let named = (0..many).map(|number| (format!("item-{number}").into(), number));
            let mut all: ByName<_> = named.collect();
            assert_eq!(all.len(), many);
            for number in 0..many {
                let name = format!("item-{number}");
                assert_eq!(all.get(&name), Some(&number));
                *all.get_mut(&name).expect("it is there") += many;
            }
            assert_eq!(all.get("item"), None);
            assert!(all.values().copied().eq(many..2 * many), "in their order");
        }
    }

    #[test]
    fn a_name_that_comes_twice_has_its_later_value_at_its_first_place() {
        for more in [0, 2 * MANY] {
            let first = [("a", 0), ("b", 1)].map(|(name, value)| (name.into(), value));
            let others = (0..more).map(|number| (number.to_string().into(), number));
            let all: ByName<_> = first.into_iter().chain(others).chain([("a".into(), 2)]).collect();
            assert_eq!(all.len(), more + 2);
            assert_eq!(all.iter().next(), Some(("a", &2)));
        }
    }
}
