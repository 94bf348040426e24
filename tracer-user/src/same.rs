//! One value for all that are equal: frames of a hundred thousand stacks are some thousands of
//! distinct ones.

use serde::{Serialize, Serializer};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value that others may hold too. Compares by what it is, at once where both are the same one;
/// whoever changes it has one of his own from then on.
#[derive(Debug)]
pub struct Same<T>(Arc<T>);

impl<T> Same<T> {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> From<T> for Same<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

// Derived it would ask for a `T` that can be cloned.
impl<T> Clone for Same<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Same<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Same<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> Borrow<T> for Same<T> {
    fn borrow(&self) -> &T {
        &self.0
    }
}

impl<T: Eq> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || *self.0 == *other.0
    }
}

impl<T: Eq> Eq for Same<T> {}

impl<T: Ord> PartialOrd for Same<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Same<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.is(other) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl<T: Hash> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T: Serialize> Serialize for Same<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn equal_ones_are_found_and_compare_as_what_they_are() {
        let (one, other) = (Same::from("a".to_owned()), Same::from("a".to_owned()));
        assert!(one == other && !one.is(&other));
        assert_eq!(one.cmp(&Same::from("b".to_owned())), Ordering::Less);
        let known: HashSet<Same<String>> = [one.clone()].into();
        assert!(known.get("a".to_owned().borrow() as &String).is_some_and(|found| found.is(&one)));
    }

    #[test]
    fn a_change_is_seen_by_nobody_else() {
        let one = Same::from("a".to_owned());
        let mut mine = one.clone();
        mine.push('b');
        assert_eq!((one.as_str(), mine.as_str()), ("a", "ab"));
    }
}
