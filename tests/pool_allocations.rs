//! Who takes what is idle asks the allocator for nothing, and neither does who gives a connection back, whatever becomes
//! of it: kept, granted to somebody who waits, discarded, or closed because the pool is.
#![allow(unsafe_code)]

#[path = "pool/fake.rs"]
mod fake;
#[path = "pool/waiters.rs"]
mod waiters;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use fake::{Call, Does, Fake, PATIENCE, World, until};
use socketpool::{Pool, PoolConfig};
use waiters::{ByHand, KINDS, Waiter};

/// Counts what a thread asks for and gives back while it is watched.
struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

impl Counting {
    fn count() {
        if WATCHED.get() {
            ASKED.set(ASKED.get() + 1);
        }
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator; counting touches no memory that it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller says that `ptr` came from this allocator with this layout, so it came from the system's.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread asks for memory in `work`.
fn allocations(work: impl FnOnce()) -> usize {
    ASKED.set(0);
    WATCHED.set(true);
    work();
    WATCHED.set(false);
    ASKED.get()
}

fn pool(max_size: u32) -> (World, Pool<Fake>) {
    let world = World::default();
    let config = PoolConfig { max_size, acquire_timeout: Some(PATIENCE), ..PoolConfig::default() };
    (world.clone(), Pool::builder(world.manager()).config(config).build().unwrap())
}

#[test]
fn the_counting_allocator_counts() {
    assert!(allocations(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100)))) > 0);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn a_hit_and_its_release_allocate_nothing() {
    let (_world, pool) = pool(4);
    drop((pool.acquire().unwrap(), pool.acquire().unwrap()));
    let asked = allocations(|| {
        for _ in 0..100 {
            let one = pool.acquire().unwrap();
            let mut other = pool.try_acquire().unwrap();
            other.record_op(Duration::from_micros(1));
            drop((one, other));
        }
    });
    assert_eq!(asked, 0);
}

#[test]
fn a_future_that_hits_allocates_nothing() {
    let (_world, pool) = pool(4);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        drop(pool.acquire_async().await.unwrap());
        for _ in 0..100 {
            // Watched from poll to poll: an executor may allocate in between.
            let lease = pool.acquire_async();
            WATCHED.set(true);
            ASKED.set(0);
            let lease = lease.await;
            WATCHED.set(false);
            assert_eq!(ASKED.get(), 0);
            assert_eq!(allocations(|| drop(lease)), 0);
        }
    });
}

#[test]
fn a_release_that_grants_allocates_nothing() {
    for kind in KINDS {
        let (world, pool) = pool(1);
        let held = pool.acquire().unwrap();
        let waiters: Vec<_> = (0..10).map(|_| Waiter::enter(&pool, kind)).collect();
        let mut held = Some(held);
        for waiter in waiters {
            let lease = held.take();
            assert_eq!(allocations(|| drop(lease)), 0, "granting to a {kind:?}");
            held = Some(waiter.get().unwrap());
        }
        drop((held, pool));
        world.assert_all_closed();
    }
}

#[test]
fn a_release_that_discards_allocates_nothing() {
    let (world, pool) = pool(50);
    let leases: Vec<_> = (0..50).map(|_| pool.acquire().unwrap()).collect();
    for mut lease in leases {
        lease.invalidate();
        assert_eq!(allocations(|| drop(lease)), 0);
    }
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn a_release_that_discards_before_those_in_line_allocates_nothing() {
    for kind in KINDS {
        let (world, pool) = pool(4);
        let leases: Vec<_> = (0..4).map(|_| pool.acquire().unwrap()).collect();
        let waiters: Vec<_> = (0..4).map(|_| Waiter::enter(&pool, kind)).collect();
        for mut lease in leases {
            lease.invalidate();
            assert_eq!(allocations(|| drop(lease)), 0, "before a {kind:?}");
        }
        for waiter in waiters {
            drop(waiter.get().unwrap());
        }
        drop(pool);
        world.assert_all_closed();
    }
}

#[test]
fn a_release_to_a_pool_that_is_closed_allocates_nothing() {
    let (world, pool) = pool(50);
    let leases: Vec<_> = (0..50).map(|_| pool.acquire().unwrap()).collect();
    pool.close();
    drop(pool);
    for lease in leases {
        assert_eq!(allocations(|| drop(lease)), 0);
    }
    world.assert_all_closed();
}

#[test]
fn a_future_that_gives_up_allocates_nothing() {
    let (world, pool) = pool(1);
    let held = pool.acquire().unwrap();
    let (granted, in_line) = (
        ByHand::in_line(pool.acquire_async().into_owned()),
        ByHand::in_line(pool.acquire_async().into_owned()),
    );
    drop(held);
    assert_eq!(allocations(|| drop(granted)), 0, "it passes its grant on");
    assert_eq!(in_line.rung(), 1);
    assert_eq!(allocations(|| drop(in_line)), 0);
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn releases_of_many_pools_at_once_allocate_nothing_while_every_thread_hangs() {
    // More pools than wait for a thread elsewhere, and all threads of the process are at work.
    let pools: Vec<_> = (0..40).map(|_| pool(1)).collect();
    let leases: Vec<_> = pools.iter().map(|(_, pool)| pool.acquire().unwrap()).collect();
    let hung: Vec<_> = (0..2).map(|_| pool(4)).collect();
    let waiters: Vec<_> = hung
        .iter()
        .flat_map(|(world, pool)| {
            world.set(Call::Connect, Does::Hang);
            (0..4).map(|_| Waiter::ask(pool, waiters::Kind::Callback))
        })
        .collect();
    until("no thread has time", || hung.iter().map(|(world, _)| world.hanging()).sum::<u32>() == 8);
    for mut lease in leases {
        lease.invalidate();
        assert_eq!(allocations(|| drop(lease)), 0);
    }
    for (world, _) in &hung {
        world.set(Call::Connect, Does::Work);
    }
    for waiter in waiters {
        drop(waiter.get().unwrap());
    }
    for (world, pool) in pools.into_iter().chain(hung) {
        drop(pool);
        world.assert_all_closed();
    }
}
