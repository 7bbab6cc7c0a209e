//! Settings by name: for kinds of load, for troubles, for environments. What a preset does not name is the default.

use std::time::Duration;

use crate::client::{PoolConfig, RetryConfig};

impl PoolConfig {
    /// For a service with many requests at a time: up to 500 connections, 50 of them kept, idle for up to 2 minutes; a
    /// connect gets 3 s.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig::high_traffic();
    /// assert_eq!((config.max_size, config.min_size), (500, 50));
    /// ```
    #[must_use]
    pub fn high_traffic() -> Self {
        Self {
            max_size: 500,
            min_size: 50,
            idle_timeout: secs(120),
            connect_timeout: secs(3),
            ..Self::default()
        }
    }

    /// For a service whose answers must come fast: up to 200 connections, 20 of them kept, idle for up to a minute and
    /// looked at every 10 s; a connect gets 1 s.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig::low_latency();
    /// assert_eq!(config.connect_timeout, Some(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn low_latency() -> Self {
        Self {
            max_size: 200,
            min_size: 20,
            idle_timeout: secs(60),
            connect_timeout: secs(1),
            health_check_interval: secs(10),
            ..Self::default()
        }
    }

    /// For a small machine, or a far server: up to 20 connections, none kept, idle for up to 30 s; a connect gets 10 s.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig::resource_constrained();
    /// assert_eq!((config.max_size, config.min_size), (20, 0));
    /// ```
    #[must_use]
    pub fn resource_constrained() -> Self {
        Self {
            max_size: 20,
            min_size: 0,
            idle_timeout: secs(30),
            connect_timeout: secs(10),
            ..Self::default()
        }
    }

    /// For connections whose handshake is dear: up to 50, idle for up to a minute.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// assert_eq!(PoolConfig::tls().max_size, 50);
    /// ```
    #[must_use]
    pub fn tls() -> Self {
        Self { max_size: 50, idle_timeout: secs(60), ..Self::default() }
    }

    /// For a steady stream of requests to one server: up to 100 connections, 10 of them in reserve, idle for up to 10
    /// minutes; an acquire waits 5 s.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig::high_throughput();
    /// assert_eq!((config.max_size, config.min_size, config.min_idle), (100, 10, 10));
    /// ```
    #[must_use]
    pub fn high_throughput() -> Self {
        Self {
            max_size: 100,
            idle_timeout: secs(600),
            acquire_timeout: secs(5),
            ..Self::default().with_spare(10)
        }
    }

    /// For a client that hardly costs its server anything: up to 5 connections, one of them in reserve, idle for up to
    /// 30 s.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig::small();
    /// assert_eq!((config.max_size, config.min_size, config.min_idle), (5, 1, 1));
    /// ```
    #[must_use]
    pub fn small() -> Self {
        Self { max_size: 5, idle_timeout: secs(30), ..Self::default().with_spare(1) }
    }

    /// Against connections that come and go all the time: 5 are kept in reserve, idle for up to 5 minutes.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig { max_size: 30, ..PoolConfig::against_churn() };
    /// assert_eq!((config.min_size, config.min_idle), (5, 5));
    /// ```
    #[must_use]
    pub fn against_churn() -> Self {
        Self { idle_timeout: secs(300), ..Self::default().with_spare(5) }
    }

    /// Against connections that have died unnoticed: looked at every 15 s, none older than 30 minutes.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig { max_size: 30, ..PoolConfig::against_stale() };
    /// assert_eq!(config.health_check_interval, Some(Duration::from_secs(15)));
    /// ```
    #[must_use]
    pub fn against_stale() -> Self {
        Self { health_check_interval: secs(15), max_lifetime: secs(1_800), ..Self::default() }
    }

    /// For a developer's machine: up to 10 connections, 2 of them kept, idle for up to 5 minutes, none older than an
    /// hour.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// assert_eq!(PoolConfig::development(), PoolConfig::for_environment("development"));
    /// ```
    #[must_use]
    pub fn development() -> Self {
        Self {
            max_size: 10,
            min_size: 2,
            idle_timeout: secs(300),
            max_lifetime: secs(3_600),
            ..Self::default()
        }
    }

    /// For a service in earnest: up to 100 connections, 10 of them kept, idle for up to a minute, none older than 30
    /// minutes.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// assert_eq!(PoolConfig::production(), PoolConfig::for_environment("production"));
    /// ```
    #[must_use]
    pub fn production() -> Self {
        Self {
            max_size: 100,
            min_size: 10,
            idle_timeout: secs(60),
            max_lifetime: secs(1_800),
            ..Self::default()
        }
    }

    /// [`development`](Self::development) or [`production`](Self::production), by exactly this name; by any other the
    /// default.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// assert_eq!(PoolConfig::for_environment("production").max_size, 100);
    /// assert_eq!(PoolConfig::for_environment("Production"), PoolConfig::default());
    /// ```
    #[must_use]
    pub fn for_environment(name: &str) -> Self {
        match name {
            "development" => Self::development(),
            "production" => Self::production(),
            _ => Self::default(),
        }
    }

    /// For a server whose sessions grow with use: a connection is replaced after 1,000 uses.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// assert_eq!(PoolConfig::limited_uses().max_uses, Some(1_000));
    /// ```
    #[must_use]
    pub fn limited_uses() -> Self {
        Self { max_uses: Some(1_000), ..Self::default() }
    }

    /// No part of a request lasts without end: an acquire waits 5 s, an operation may take 30 s, and a connection is
    /// idle for up to 5 minutes.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig { max_size: 30, ..PoolConfig::bounded() };
    /// assert_eq!(config.op_timeout, Some(Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub fn bounded() -> Self {
        Self { acquire_timeout: secs(5), op_timeout: secs(30), idle_timeout: secs(300), ..Self::default() }
    }

    /// For a database used now and then: up to 10 connections, 2 of them kept; an acquire waits 5 s.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig::basic();
    /// assert_eq!((config.max_size, config.min_size), (10, 2));
    /// ```
    #[must_use]
    pub fn basic() -> Self {
        Self { max_size: 10, min_size: 2, acquire_timeout: secs(5), ..Self::default() }
    }

    /// For the one database of an application that answers requests: up to 20 connections, 5 of them kept; an acquire
    /// waits 5 s.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// let config = PoolConfig::application();
    /// assert_eq!((config.max_size, config.min_size), (20, 5));
    /// ```
    #[must_use]
    pub fn application() -> Self {
        Self { max_size: 20, min_size: 5, acquire_timeout: secs(5), ..Self::default() }
    }

    /// Keeps so many idle ones, and so many in all as well: with nobody there the reserve is all there is.
    const fn with_spare(self, connections: u32) -> Self {
        Self { min_size: connections, min_idle: connections, ..self }
    }
}

impl RetryConfig {
    /// For a service in earnest: waits from 1 s to 60 s, doubling, and no end while the program starts. Once it runs, the
    /// operational limit of 30 s is the end.
    ///
    /// ```
    /// # use {socketpool::*, std::time::Duration};
    /// assert_eq!(RetryConfig::for_production().max_elapsed_time, None);
    /// ```
    #[must_use]
    pub fn for_production() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            exponential_base: 2,
            max_elapsed_time: None,
            ..Self::default()
        }
    }
}

const fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A preset, and what it says: max, min, idle, acquire and connect timeout, lifetime, health check, in seconds.
    type Row = (&'static str, PoolConfig, (u32, u32), [u64; 5]);

    #[test]
    fn every_value_of_every_preset_is_the_published_one() {
        let table: [Row; 15] = [
            ("high traffic", PoolConfig::high_traffic(), (500, 50), [120, 5, 3, 1_800, 30]),
            ("low latency", PoolConfig::low_latency(), (200, 20), [60, 5, 1, 1_800, 10]),
            ("resource constrained", PoolConfig::resource_constrained(), (20, 0), [30, 5, 10, 1_800, 30]),
            ("tls", PoolConfig::tls(), (50, 0), [60, 5, 5, 1_800, 30]),
            ("high throughput", PoolConfig::high_throughput(), (100, 10), [600, 5, 5, 1_800, 30]),
            ("small", PoolConfig::small(), (5, 1), [30, 5, 5, 1_800, 30]),
            ("against churn", PoolConfig::against_churn(), (10, 5), [300, 5, 5, 1_800, 30]),
            ("against stale", PoolConfig::against_stale(), (10, 0), [300, 5, 5, 1_800, 15]),
            ("development", PoolConfig::development(), (10, 2), [300, 5, 5, 3_600, 30]),
            ("production", PoolConfig::production(), (100, 10), [60, 5, 5, 1_800, 30]),
            ("limited uses", PoolConfig::limited_uses(), (10, 0), [300, 5, 5, 1_800, 30]),
            ("bounded", PoolConfig::bounded(), (10, 0), [300, 5, 5, 1_800, 30]),
            ("basic", PoolConfig::basic(), (10, 2), [300, 5, 5, 1_800, 30]),
            ("application", PoolConfig::application(), (20, 5), [300, 5, 5, 1_800, 30]),
            ("default", PoolConfig::for_environment("staging"), (10, 0), [300, 5, 5, 1_800, 30]),
        ];
        for (name, config, (max_size, min_size), [idle, acquire, connect, lifetime, health]) in table {
            let spare = matches!(name, "high throughput" | "small" | "against churn");
            let expected = PoolConfig {
                max_size,
                min_size,
                min_idle: if spare { min_size } else { 0 },
                idle_timeout: secs(idle),
                acquire_timeout: secs(acquire),
                connect_timeout: secs(connect),
                max_lifetime: secs(lifetime),
                health_check_interval: secs(health),
                max_uses: (name == "limited uses").then_some(1_000),
                op_timeout: secs(30).filter(|_| name == "bounded"),
                ..PoolConfig::default()
            };
            assert_eq!(config, expected, "{name}");
            assert_eq!(config.validate(), Ok(()), "{name}");
        }
    }

    #[test]
    fn environments_go_by_their_exact_names() {
        assert_eq!(PoolConfig::for_environment("development"), PoolConfig::development());
        assert_eq!(PoolConfig::for_environment("production"), PoolConfig::production());
        for other in ["", "Production", "production ", "test"] {
            assert_eq!(PoolConfig::for_environment(other), PoolConfig::default());
        }
    }

    #[test]
    fn production_retries_as_published() {
        let retry = RetryConfig::for_production();
        assert_eq!((retry.initial_interval.as_secs(), retry.max_interval.as_secs()), (1, 60));
        assert_eq!((retry.exponential_base, retry.max_elapsed_time), (2, None));
        assert_eq!((retry.operational_limit.as_secs(), retry.jitter), (30, 0.25));
    }
}
