//! A value that the clones of its owner share: it is copied when one of them changes it while another still has it.

use std::fmt;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// Cheap to clone; to borrow it mutably copies it where it is shared. Stored as the value itself.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Shared<T>(Arc<T>);

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

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::Shared;

    #[test]
    fn a_clone_keeps_what_it_had_and_only_what_is_shared_is_copied() {
        let mut one = Shared::from(vec![1, 2]);
        let alone = one.as_ptr();
        *one.first_mut().unwrap() = 3;
        assert_eq!(one.as_ptr(), alone);
        let other = one.clone();
        assert_eq!(other.as_ptr(), alone);
        *one.first_mut().unwrap() = 4;
        assert_eq!((&*one, &*other), (&vec![4, 2], &vec![3, 2]));
    }

    #[test]
    fn it_is_stored_as_the_value_itself() {
        let stored = postcard::to_stdvec(&Shared::from(vec![1_u16, 300])).unwrap();
        assert_eq!(stored, postcard::to_stdvec(&[1_u16, 300].to_vec()).unwrap());
        assert_eq!(postcard::from_bytes::<Shared<Vec<u16>>>(&stored).unwrap(), Shared::from(vec![1, 300]));
    }
}
