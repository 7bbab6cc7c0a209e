//! Pools that are told apart by what they are for: reading, writing, administering. Decides nothing, it only knows
//! which is which.

use std::fmt;

use super::acquire::Leased;
use super::backend::Backend;
use super::error::PoolError;
use super::pool::Pool;
use crate::error::ConfigError;

/// Several pools under the values of an enum, such as one for reading and one for writing.
///
/// All have the same type of manager; what makes them differ is in the manager and in their settings. Pools of
/// different types belong in a struct with a field for each. A clone is one of the same pools.
///
/// ```
/// # use socketpool::{Manager, Pool, PoolConfig, PoolSet, Timeouts};
/// #[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// enum For {
///     Reading,
///     Writing,
/// }
///
/// struct Database(For);
///
/// impl Manager for Database {
///     type Connection = String;
///     type Error = std::convert::Infallible;
///
///     fn connect(&self, _: &Timeouts) -> Result<String, Self::Error> {
///         Ok(format!("{:?}", self.0))
///     }
/// }
///
/// let writers = PoolConfig { max_size: 2, ..PoolConfig::default() };
/// let pools = PoolSet::new([
///     (For::Reading, Pool::new(Database(For::Reading))),
///     (For::Writing, Pool::builder(Database(For::Writing)).config(writers).build()?),
/// ])?;
/// assert_eq!(*pools.acquire(For::Writing)?, "Writing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PoolSet<K, B: Backend>(Vec<(K, Pool<B>)>);

impl<K: PartialEq + fmt::Debug, B: Backend> PoolSet<K, B> {
    /// These pools, in this order.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let twice = PoolSet::new(["read", "read"].map(|key| (key, Pool::new(Numbers))));
    /// assert_eq!(twice.unwrap_err().to_string(), r#"key is "read", must be given once"#);
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a key that is given twice.
    pub fn new(pools: impl IntoIterator<Item = (K, Pool<B>)>) -> Result<Self, ConfigError> {
        let mut set = Self(Vec::new());
        for (key, pool) in pools {
            if set.pool(&key).is_some() {
                return Err(ConfigError::new("key", format_args!("{key:?}"), "given once"));
            }
            set.0.push((key, pool));
        }
        Ok(set)
    }

    /// A connection of the pool under `key`, as [`Pool::acquire`] gives it.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::acquire`]; [`PoolError::Config`] when nothing is under `key`.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// assert_eq!(*pools.acquire("read")?, 7);
    /// let error = pools.acquire("admin").unwrap_err();
    /// assert_eq!(error.to_string(), r#"key is "admin", must be one of "read", "write""#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire(&self, key: K) -> Leased<B> {
        match self.pool(&key) {
            Some(pool) => pool.acquire(),
            None => Err(PoolError::Config(self.unknown(&key))),
        }
    }

    /// The pool under `key`; `None` when nothing is.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers))])?;
    /// assert!(pools.pool(&"read").is_some_and(|pool| pool.try_acquire().is_none()), "nothing is idle");
    /// assert!(pools.pool(&"write").is_none());
    /// # Ok::<(), socketpool::ConfigError>(())
    /// ```
    #[must_use]
    pub fn pool(&self, key: &K) -> Option<&Pool<B>> {
        self.0.iter().find(|(other, _)| other == key).map(|(_, pool)| pool)
    }

    #[cold]
    fn unknown(&self, key: &K) -> ConfigError {
        let keys: Vec<String> = self.0.iter().map(|(key, _)| format!("{key:?}")).collect();
        ConfigError::new("key", format_args!("{key:?}"), format!("one of {}", keys.join(", ")))
    }
}

impl<K, B: Backend> PoolSet<K, B> {
    /// Every pool with its key, in the order in which they were given.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// for (key, pool) in pools.iter() {
    ///     println!("{key}: {}", pool.stats());
    /// }
    /// # assert_eq!(pools.iter().count(), 2);
    /// # Ok::<(), socketpool::ConfigError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Pool<B>)> {
        self.0.iter().map(|(key, pool)| (key, pool))
    }

    /// [Closes](Pool::close) all of them.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolError, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// pools.close();
    /// assert!(matches!(pools.acquire("write"), Err(PoolError::Closed)));
    /// # Ok::<(), socketpool::ConfigError>(())
    /// ```
    pub fn close(&self) {
        self.iter().for_each(|(_, pool)| pool.close());
    }
}

impl<K: Clone, B: Backend> Clone for PoolSet<K, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: fmt::Debug, B: Backend> fmt::Debug for PoolSet<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Manager, Timeouts};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum For {
        Reading,
        Writing,
        Administering,
    }

    /// Its connections know what they are for.
    struct Database(For);

    impl Manager for Database {
        type Connection = For;
        type Error = std::convert::Infallible;

        fn connect(&self, _: &Timeouts) -> Result<For, Self::Error> {
            Ok(self.0)
        }
    }

    fn set(keys: &[For]) -> Result<PoolSet<For, Database>, ConfigError> {
        PoolSet::new(keys.iter().map(|&key| (key, Pool::new(Database(key)))))
    }

    #[test]
    fn each_key_has_the_connections_of_its_own_pool() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        assert_eq!(*pools.acquire(For::Reading).unwrap(), For::Reading);
        assert_eq!(*pools.acquire(For::Writing).unwrap(), For::Writing);
        let _held = pools.acquire(For::Writing).unwrap();
        let active = pools.iter().map(|(&key, pool)| (key, pool.stats().active_connections));
        assert_eq!(active.collect::<Vec<_>>(), [(For::Reading, 0), (For::Writing, 1)]);
    }

    #[test]
    fn a_key_without_a_pool_is_an_error_that_names_the_others() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        assert!(pools.pool(&For::Administering).is_none());
        let error = pools.acquire(For::Administering).unwrap_err();
        assert_eq!(error.to_string(), "key is Administering, must be one of Reading, Writing");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let error = set(&[For::Reading, For::Writing, For::Reading]).unwrap_err();
        assert_eq!(error.to_string(), "key is Reading, must be given once");
    }

    #[test]
    fn a_clone_is_one_of_the_same_pools_and_closing_closes_all() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        let clone = pools.clone();
        assert!(format!("{clone:?}").starts_with("{Reading: Pool"));
        clone.close();
        for key in [For::Reading, For::Writing] {
            assert!(matches!(pools.acquire(key), Err(PoolError::Closed)));
        }
    }
}
