//! A server that is not there: acquires that are tried again, and what its holders say of it.

use std::thread;
use std::time::{Duration, Instant};

use socketpool::{
    BreakerConfig, BreakerState, ConnectPhase, ErrorKind, Health, Pool, PoolBuilder, PoolConfig, PoolError,
    PooledConnection, RetryConfig, Went,
};

use crate::real::wait_until;
use crate::redis::{Redis, Server};
use crate::with_each_server;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Gives up soon, tries again soon, and gives the server a rest that is short.
fn pool(server: &Server) -> PoolBuilder<Redis> {
    let breaker =
        BreakerConfig { failures: 2, open_for: ms(30), first_delay: ms(1), ..BreakerConfig::default() };
    let config =
        PoolConfig { acquire_timeout: Some(ms(20)), breaker: Some(breaker), ..PoolConfig::default() };
    Pool::builder(Redis(server.address())).config(config)
}

fn retry() -> RetryConfig {
    RetryConfig {
        initial_interval: ms(2),
        max_interval: ms(20),
        operational_limit: ms(100),
        ..RetryConfig::default()
    }
}

#[test]
fn a_program_that_starts_before_its_server_waits_for_it_and_later_gives_up() {
    with_each_server(|server| {
        server.take_away();
        let pool = pool(server).starting().build().unwrap();
        let first = thread::spawn({
            let pool = pool.clone();
            move || pool.acquire_retry(&retry()).map(PooledConnection::discard)
        });
        let begun = Instant::now();
        wait_until("more tries than a limit would allow", || {
            begun.elapsed() > 2 * retry().operational_limit && pool.stats().retries.total() > 2
        });
        let Health::Unhealthy { last_error, .. } = pool.health() else { panic!("nothing is connected") };
        assert_eq!(last_error.phase(), ConnectPhase::Connect);
        server.bring_back().unwrap();
        first.join().unwrap().expect("no limit at the start");

        wait_until("it to be closed", || pool.stats().total_connections == 0);
        server.take_away();
        match pool.acquire_retry(&retry()).map(drop) {
            Err(PoolError::RetriesExhausted { attempts, elapsed, last }) => {
                assert!(
                    attempts > 1 && elapsed <= retry().operational_limit + ms(1_000),
                    "{attempts} in {elapsed:?}"
                );
                assert_eq!(last.kind(), Some(ErrorKind::Connect));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_pool_that_is_closed_ends_those_who_try_again() {
    with_each_server(|server| {
        server.take_away();
        let pool = pool(server).starting().build().unwrap();
        let patient = RetryConfig { initial_interval: Duration::from_secs(60), ..RetryConfig::default() };
        let trying = thread::spawn({
            let pool = pool.clone();
            move || pool.acquire_retry(&patient).map(drop)
        });
        wait_until("it to wait for a minute", || pool.stats().retries.total() == 1);
        pool.close();
        assert!(matches!(trying.join().unwrap(), Err(PoolError::Closed)));
        assert!(matches!(pool.acquire_retry(&patient).map(drop), Err(PoolError::Closed)));
        let never = RetryConfig { exponential_base: 0, ..patient };
        assert!(matches!(pool.acquire_retry(&never).map(drop), Err(PoolError::Config(_))));
    });
}

#[test]
fn what_holders_say_of_a_server_opens_the_breaker_and_what_is_idle_stays_usable() {
    with_each_server(|server| {
        let breaker = Some(BreakerConfig { failures: 2, ..BreakerConfig::default() });
        let config = PoolConfig { breaker, ..PoolConfig::default() };
        let pool = Pool::builder(Redis(server.address())).config(config).build().unwrap();
        let mut client = pool.acquire().unwrap();
        for _ in 0..2 {
            client.command(&["NONSENSE"]).expect_err("it knows no such command");
            client.report(Went::Ill);
        }
        assert!(matches!(pool.breaker(), BreakerState::Open { .. }));
        match pool.acquire().map(drop) {
            Err(PoolError::Unavailable { until, last: None }) => assert!(until <= ms(30_000)),
            other => panic!("{other:?}"),
        }
        drop(client);
        let mut client = pool.acquire().expect("it is idle, and its connection was never broken");
        client.command(&["PING"]).unwrap();
        client.report(Went::Well);
        assert!(
            matches!(pool.breaker(), BreakerState::Open { .. }),
            "whether it is back is for a new connect to say"
        );
    });
}

#[test]
fn operations_are_counted_with_their_connection() {
    with_each_server(|server| {
        let pool = pool(server).build().unwrap();
        let id = {
            let mut client = pool.acquire_retry(&retry()).unwrap();
            for _ in 0..3 {
                let begun = Instant::now();
                client.command(&["PING"]).unwrap();
                client.record_op(begun.elapsed());
            }
            client.id()
        };
        let client = pool.acquire().unwrap();
        assert_eq!((client.id(), client.stats().ops, client.use_count()), (id, 3, 2));
        assert!(client.stats().op_time > Duration::ZERO);
    });
}
