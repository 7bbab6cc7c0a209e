//! Once a pool is built and listens, it asks the allocator for nothing: not to accept, read, keep half a message, write,
//! keep output that the peer does not take, or close.
#![allow(unsafe_code)]

mod real;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use socketpool::{Event, Sent, SocketPool};

/// Counts what a thread asks for while it is watched.
struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

impl Counting {
    fn count(layout: Layout) {
        if WATCHED.replace(false) {
            ASKED.set(ASKED.get() + 1);
            if std::env::var_os("SOCKETPOOL_SHOW_ALLOCATIONS").is_some() {
                eprintln!("{layout:?} asked for by\n{}", std::backtrace::Backtrace::force_capture());
            }
            WATCHED.set(true);
        }
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator; counting touches no memory that it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::count(layout);
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

const CLIENTS: usize = 200;

#[test]
fn the_counting_allocator_counts() {
    assert!(allocations(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100)))) > 0);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn from_accept_to_close_nothing_is_allocated() {
    let mut pool = SocketPool::<u64>::builder().max_connections(1_000).max_per_ip(500).build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    for round in 0..3 {
        let mut clients: Vec<TcpStream> =
            (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        let opening = work(&mut pool, |pool| pool.len() == CLIENTS);
        assert_eq!(opening, 0, "allocations to accept, round {round}");

        say(&mut clients, "half a li");
        let half = work(&mut pool, |pool| pool.snapshot().active == CLIENTS);
        assert_eq!(half, 0, "allocations to keep half a message, round {round}");

        say(&mut clients, "ne\n");
        let answering = work(&mut pool, |pool| pool.snapshot().active == 0);
        assert_eq!(answering, 0, "allocations to answer, round {round}");
        for client in &mut clients {
            let mut answer = [0; 12];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"half a line\n");
        }

        drop(clients);
        let closing = work(&mut pool, |pool| pool.is_empty());
        assert_eq!(closing, 0, "allocations to close, round {round}");
    }
    assert_eq!(pool.snapshot().closed_total(), 3 * CLIENTS as u64);
}

#[test]
fn output_that_nobody_takes_is_kept_without_an_allocation() {
    let mut pool = SocketPool::<u64>::builder().max_connections(1_000).build().unwrap();
    let payload = Bytes::from_static(&[b'x'; 100]);
    for round in 0..3 {
        let (mut clients, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..CLIENTS {
            let (ours, theirs) = UnixStream::pair().unwrap();
            SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
            clients.push(theirs);
            streams.push(ours);
        }
        let mut sent = 0;
        let adding = allocations(|| {
            for stream in streams.drain(..) {
                let id = pool.add(stream).unwrap();
                let mut conn = pool.get(id).unwrap();
                while conn.send(&payload) == Sent::Now {
                    sent += payload.len();
                }
                // Of one copied and one shared, the first waits in a buffer of the pool's and the second in its own.
                assert_eq!(conn.send_bytes(payload.clone()), Sent::Queued);
                sent += 2 * payload.len();
            }
        });
        assert_eq!(adding, 0, "allocations to keep output, round {round}");
        assert!(pool.snapshot().buffers.now > 0, "output waits");

        let mut got = 0;
        let mut bytes = [0; 8192];
        while got < sent {
            for client in &mut clients {
                client.set_nonblocking(true).unwrap();
                got += client.read(&mut bytes).unwrap_or(0);
            }
            let sending = work(&mut pool, |_| true);
            assert_eq!(sending, 0, "allocations to send what waited, round {round}");
        }
        drop(clients);
        let closing = work(&mut pool, |pool| pool.is_empty());
        assert_eq!(closing, 0, "allocations to close, round {round}");
    }
}

/// Long messages need buffers that are made when first needed; the next who needs one gets the same.
#[test]
fn long_messages_allocate_once_and_never_again() {
    let mut pool = SocketPool::<u64>::builder().max_connections(1_000).build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    let half = "x".repeat(3_000);
    for round in 0..4 {
        let mut clients: Vec<TcpStream> =
            (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        say(&mut clients, &half);
        let keeping =
            work(&mut pool, |pool| pool.snapshot().counters.received_bytes == (round + 1) * RECEIVED);
        drop(clients);
        let closing = work(&mut pool, |pool| pool.is_empty());
        if round == 0 {
            assert!(keeping > 0, "otherwise this tests nothing");
        } else {
            assert_eq!((keeping, closing), (0, 0), "allocations in round {round}");
        }
    }
}

const RECEIVED: u64 = 3_000 * CLIENTS as u64;

fn say(clients: &mut [TcpStream], what: &str) {
    for client in clients {
        client.write_all(what.as_bytes()).unwrap();
    }
}

/// What the pool allocates until `done` says so.
fn work(pool: &mut SocketPool<u64>, mut done: impl FnMut(&mut SocketPool<u64>) -> bool) -> usize {
    let mut sum = 0;
    for _ in 0..10_000 {
        sum += allocations(|| {
            pool.turn(Some(Duration::from_millis(1))).unwrap();
            while let Some(event) = pool.next_event() {
                match event {
                    Event::Opened(id) => assert_eq!(pool.conn(id).set_userdata(7), None),
                    Event::Readable(id) => real::echo_lines(&mut pool.conn(id)),
                    _ => {}
                }
            }
        });
        if done(pool) {
            return sum;
        }
    }
    panic!("not done: {}", pool.snapshot());
}

/// How often `what` asks for memory.
fn allocations(what: impl FnOnce()) -> usize {
    ASKED.set(0);
    WATCHED.set(true);
    what();
    WATCHED.set(false);
    ASKED.get()
}
