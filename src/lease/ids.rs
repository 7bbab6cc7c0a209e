//! The names of what stands in the core: a place in a table and how often that place has been used. A name goes stale
//! with what it named and never answers for what comes after.

use std::fmt;

macro_rules! id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name {
            pub(super) index: u32,
            pub(super) generation: u32,
        }

        impl $name {
            /// The place in the table: what a shell keeps beside it goes by this number.
            #[inline]
            pub(crate) const fn index(self) -> usize {
                self.index as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.index, self.generation)
            }
        }
    };
}

id! {
    /// One destination with its own line, limits and statistics.
    KeyId
}
id! {
    /// One resource, from the moment in which its connect begins until its close has been carried out.
    SlotId
}
id! {
    /// One who stands in line, or who has an outcome to collect.
    WaiterId
}

impl SlotId {
    /// The name of what is in a place under a generation, for those who wrote both down.
    #[inline]
    pub(crate) const fn of(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// How many resources the place has held before this one and with it: the second half of a connection's name.
    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }
}
