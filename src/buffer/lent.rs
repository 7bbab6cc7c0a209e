//! A box whose allocation may fail, which the standard library has not on stable. Knows nothing of what lies in it.

use std::collections::TryReserveError;
use std::ops::{Deref, DerefMut};

/// What a store lends: moves by its pointer, as a `Box<T>`. The array is what a vector of one element turns into.
#[derive(Debug)]
pub(crate) struct Lent<T>(Box<[T; 1]>);

impl<T> Lent<T> {
    /// Puts `value` into memory of its own.
    pub(crate) fn try_new(value: T) -> Result<Self, TryReserveError> {
        let mut place = Vec::new();
        place.try_reserve_exact(1)?;
        place.push(value);
        let place = Box::<[T; 1]>::try_from(place.into_boxed_slice());
        Ok(Self(place.unwrap_or_else(|_| unreachable!("one was pushed"))))
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T> DerefMut for Lent<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_a_pointer_that_is_never_null() {
        assert_eq!(size_of::<Option<Lent<[u64; 9]>>>(), size_of::<usize>());
        let mut lent = Lent::try_new([7; 9]).unwrap();
        lent[8] = 1;
        assert_eq!(lent[7..], [7, 1]);
    }
}
