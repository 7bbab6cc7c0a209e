//! Many at once: a connection is never with two of them, and none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use socketpool::{Pool, PoolConfig, PoolError};

use crate::closing::threaded;
use crate::fake::{PATIENCE, until};
use crate::scene::{assert_identities, ms, quiet};

#[test]
fn eight_threads_share_three_connections_and_each_count_is_exact() {
    const TURNS: u64 = 100_000;
    let (world, pool) = threaded(quiet(3));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || {
                for _ in 0..TURNS {
                    pool.acquire().unwrap().ops += 1;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = pool.stats();
    assert_identities(&stats);
    assert_eq!((stats.active_connections, stats.idle_connections), (0, stats.total_connections));
    assert!(stats.total_connections <= 3);
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), 8 * TURNS);
}

#[test]
fn two_at_work_at_the_same_time_lose_nothing_to_one_who_waits_a_resize_or_the_close() {
    let (world, pool) = threaded(quiet(2));
    let served = AtomicU64::new(0);
    let work = || {
        loop {
            match pool.acquire_timeout(PATIENCE) {
                Ok(mut lease) => lease.ops += 1,
                Err(PoolError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
            served.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        for turn in 0..300 {
            // So long that the two have met where idle ones lie.
            let before = served.load(Ordering::Relaxed);
            until("both have gone on", || served.load(Ordering::Relaxed) > before + 1_000);
            pool.acquire_timeout(PATIENCE).unwrap().ops += 1;
            served.fetch_add(1, Ordering::Relaxed);
            pool.resize(turn % 2 + 1).unwrap();
        }
        pool.close();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    assert_identities(&pool.stats());
    assert_eq!(pool.stats().active_connections, 0);
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), served.load(Ordering::Relaxed));
}

#[test]
fn thousands_of_discards_from_many_threads_lose_nobody() {
    const TURNS: u64 = 3_000;
    let (world, pool) = threaded(quiet(2));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let pool = pool.clone();
            thread::spawn(move || {
                for turn in 0..TURNS {
                    let mut lease = pool.acquire().unwrap();
                    lease.ops += 1;
                    if (turn + thread) % 3 == 0 {
                        lease.discard();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_identities(&pool.stats());
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), 4 * TURNS);
}

#[test]
fn patience_that_ends_among_grants_loses_no_connection() {
    let (world, pool) = threaded(quiet(2));
    let (served, late) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for turn in 0..1_500_u32 {
                    // Around the time that a wait takes here.
                    match pool.acquire_timeout(std::time::Duration::from_micros(u64::from(turn % 50))) {
                        Ok(mut lease) => {
                            lease.ops += 1;
                            served.fetch_add(1, Ordering::Relaxed);
                            thread::yield_now();
                        }
                        Err(_) => drop(late.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            });
        }
    });
    assert_eq!(served.load(Ordering::Relaxed) + late.load(Ordering::Relaxed), 12_000);
    until("all are back", || pool.stats().active_connections == 0);
    let stats = pool.stats();
    assert_identities(&stats);
    let leases: Vec<_> = (0..2).map(|_| pool.acquire_timeout(PATIENCE).unwrap()).collect();
    drop((leases, stats, pool));
    world.assert_all_closed();
    assert_eq!(world.ops(), served.load(Ordering::Relaxed));
}

#[test]
fn who_was_called_up_in_vain_waits_on_until_he_is_served_or_his_time_is_over() {
    let (world, pool) = threaded(quiet(1));
    let (served, late) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..4 {
            let (pool, served, late) = (&pool, &served, &late);
            scope.spawn(move || {
                for turn in 0..400 {
                    // Some have patience and some have not; the pace is quick until somebody keeps it for long.
                    let patience = if worker == 0 { ms(10) } else { PATIENCE };
                    match pool.acquire_timeout(patience) {
                        Ok(mut lease) => {
                            lease.ops += 1;
                            served.fetch_add(1, Ordering::Relaxed);
                            match turn % 100 {
                                99 => thread::sleep(ms(30)),
                                _ => thread::yield_now(),
                            }
                        }
                        Err(PoolError::Timeout { waited }) => {
                            assert!(worker == 0 && waited >= patience);
                            late.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(served.load(Ordering::Relaxed) + late.load(Ordering::Relaxed), 1_600);
    assert_identities(&pool.stats());
    assert_eq!(pool.stats().idle_connections, 1);
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), served.load(Ordering::Relaxed));
}

#[test]
fn checks_resizes_and_short_lives_among_many_threads_lose_nothing() {
    let config = PoolConfig {
        validate_after: Some(ms(0)),
        health_check_interval: Some(ms(2)),
        idle_timeout: Some(ms(5)),
        max_lifetime: Some(ms(20)),
        max_uses: Some(50),
        min_size: 1,
        ..quiet(4)
    };
    let (world, pool) = threaded(config);
    let over = Arc::new(AtomicBool::new(false));
    let of: Pool<_> = pool.clone();
    let ends = Arc::clone(&over);
    let meddler = thread::spawn(move || {
        let mut size = 1;
        while !ends.load(Ordering::Relaxed) {
            size = size % 4 + 1;
            of.resize(size).unwrap();
            of.check_health();
            of.warm_gradually();
        }
    });
    let served = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (pool, served) = (pool.clone(), Arc::clone(&served));
            thread::spawn(move || {
                for _ in 0..2_000 {
                    pool.acquire_timeout(PATIENCE).unwrap().ops += 1;
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    over.store(true, Ordering::Relaxed);
    meddler.join().unwrap();
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), served.load(Ordering::Relaxed));
}
