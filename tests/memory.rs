//! Memory that cannot be had costs the connection whose bytes needed it, and nobody else anything: each allocation that a
//! pool makes while it works is refused in turn, then many of them together, then all.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use socketpool::net::sim::Client;
use socketpool::{ConnId, Error, Event, Reason, Sent, SocketPool};
use support::{Pool, Rig, Seen, ms};

/// Refuses some of what a thread asks for while it is watched.
struct Refusing;

thread_local! {
    static REFUSED: Cell<Refused> = const { Cell::new(Refused::None) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
    static REFUSALS: Cell<usize> = const { Cell::new(0) };
}

/// Which allocations are refused, counted from 1.
#[derive(Clone, Copy, Debug)]
enum Refused {
    None,
    Only(usize),
    Every(usize),
    From(usize),
}

fn refuses() -> bool {
    let asked = ASKED.get() + 1;
    let refuses = match REFUSED.get() {
        Refused::None => return false,
        Refused::Only(k) => asked == k,
        Refused::Every(k) => asked.is_multiple_of(k),
        Refused::From(k) => asked >= k,
    };
    ASKED.set(asked);
    REFUSALS.set(REFUSALS.get() + usize::from(refuses));
    refuses
}

// SAFETY: every call is refused, as an allocator may, or handed on unchanged to the system's.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refuses() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if refuses() {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if refuses() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller says that `ptr` came from this allocator with this layout, so it came from the system's.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

/// What `what` comes to while allocations of this thread are refused.
fn short_of_memory<T>(refused: Refused, what: impl FnOnce() -> T) -> T {
    REFUSED.set(refused);
    let result = what();
    REFUSED.set(Refused::None);
    result
}

/// Lets the world and the test have memory in the middle of a shortage.
fn with_memory<T>(what: impl FnOnce() -> T) -> T {
    let refused = REFUSED.replace(Refused::None);
    let result = what();
    REFUSED.set(refused);
    result
}

fn start_counting() {
    ASKED.set(0);
    REFUSALS.set(0);
}

/// Those who use memory, each in another way, and one who needs none.
const HUNGRY: usize = 8;
const PLAIN: usize = HUNGRY;

/// A pool that has prepared little, so that it must ask for more.
struct Scene {
    rig: Rig<()>,
    clients: Vec<Client>,
    ids: Vec<ConnId>,
    seen: Seen,
}

impl Scene {
    fn new() -> Self {
        let builder = SocketPool::builder().max_connections(HUNGRY as u32 + 1).max_input(300_000);
        let mut rig = Rig::new(builder.max_output(400_000));
        let mut seen =
            Seen { closed: Vec::with_capacity(64), opened: Vec::with_capacity(64), ..Seen::default() };
        let mut clients = Vec::new();
        // What the world remembers of connections, it has made room for afterwards.
        for port in 0..=HUNGRY {
            clients.push(rig.world.connect(&format!("192.0.2.1:{}", 1000 + port)));
        }
        rig.settle(seen.echo());
        drop(clients);
        rig.settle(seen.echo());
        let mut clients = Vec::new();
        for port in 0..=HUNGRY {
            clients.push(rig.world.connect(&format!("192.0.2.1:{}", 2000 + port)));
        }
        seen.opened.clear();
        seen.closed.clear();
        rig.settle(seen.echo());
        let ids = seen.opened.clone();
        // And for as many bytes as will ever wait for a client.
        for (client, id) in clients.iter().zip(&ids) {
            for _ in 0..10 {
                assert_eq!(rig.pool.conn(*id).send(&[b'.'; 200_000]), Sent::Now);
            }
            rig.settle(seen.echo());
            let mut all = Vec::new();
            client.take_into(&mut all);
        }
        Self { rig, clients, ids, seen }
    }

    /// Input that is kept and grows, output of every kind that waits, and its way out, while memory is short.
    fn play(&mut self) {
        static LONG: [u8; 70_000] = [b'x'; 70_000];
        let handle = self.rig.pool.handle();
        for round in 0..4 {
            with_memory(|| {
                for (client, len) in self.clients.iter().zip([100, 900, 3_000, 20_000]) {
                    client.send(&LONG[..len]);
                }
                self.clients[PLAIN].send(b"hello\n");
            });
            self.turns();
            for place in 4..HUNGRY {
                self.clients[place].set_window(1_000);
                let Some(mut conn) = self.rig.pool.get(self.ids[place]) else { continue };
                for _ in 0..10 {
                    let _ = match (place + round) % 4 {
                        0 => conn.send(&LONG[..9_000]),
                        1 => conn.send_bytes(Bytes::from_static(&LONG[..700])),
                        2 => conn.queue(&LONG[..15_000]),
                        _ => conn.send(b"short\n"),
                    };
                }
            }
            self.turns();
            self.rig.pool.broadcast(Bytes::from_static(b"news\n"));
            with_memory(|| handle.send(self.ids[4], Bytes::from_static(&LONG[..5_000])).unwrap());
            self.turns();
            for client in &self.clients {
                client.set_window(usize::MAX);
            }
            self.turns();
        }
    }

    fn turns(&mut self) {
        for _ in 0..6 {
            self.rig.step(|pool, event| {
                self.seen.note(&event);
                if let Event::Readable(id) | Event::Writable(id) = event {
                    serve(pool, id, id == self.ids[PLAIN]);
                }
            });
            with_memory(|| self.rig.pool.assert_invariants());
            self.rig.hand.advance(ms(10));
        }
    }

    /// What must be so however much was refused.
    fn check(mut self, what: Refused) -> usize {
        self.turns();
        let reasons = self.seen.reasons();
        assert!(reasons.iter().all(|reason| *reason == Reason::Memory), "{what:?}: {reasons:?}");
        let ended: Vec<ConnId> = self.seen.closed.iter().map(|(id, _)| *id).collect();
        assert!(!ended.contains(&self.ids[PLAIN]), "{what:?} befell one who needed no memory");
        for (client, id) in self.clients.iter().zip(&self.ids) {
            assert_eq!(client.end().is_some(), ended.contains(id), "{what:?} and {id}");
        }
        let answers = self.clients[PLAIN].take();
        let hellos = answers.windows(6).filter(|line| line == b"hello\n").count();
        assert_eq!(hellos, 4, "{what:?}: the others are served");

        // Everything that was lent comes back, and the pool goes on as if nothing had been.
        let Self { mut rig, clients, mut seen, ids } = self;
        drop(clients);
        for id in ids {
            rig.pool.kill(id);
        }
        rig.settle(seen.echo());
        assert!(rig.pool.is_empty(), "{what:?}");
        assert_eq!(rig.pool.snapshot().memory.buffers_lent, 0, "{what:?} leaks");
        rig.pool.assert_invariants();
        let client = rig.world.connect("192.0.2.3:1000");
        client.send(b"hello\n");
        rig.settle(seen.echo());
        assert_eq!(client.take(), b"hello\n");
        drop(rig.pool);
        drop(client);
        rig.world.assert_all_closed();
        ended.len()
    }
}

/// The one who needs no memory is answered; of the others the first byte of each kilobyte is used up.
fn serve(pool: &mut Pool<()>, id: ConnId, answered: bool) {
    let mut conn = pool.conn(id);
    let n = conn.receive();
    if answered {
        return support::answer(pool, id);
    }
    conn.consume(n / 1024);
}

/// How many connections ended when so much was refused, and how often something was.
fn played(refused: Refused) -> (usize, usize) {
    let mut scene = Scene::new();
    start_counting();
    short_of_memory(refused, || scene.play());
    (scene.check(refused), REFUSALS.get())
}

#[test]
fn each_allocation_refused_in_turn_costs_at_most_one_connection() {
    let mut ends = 0;
    let mut k = 1;
    loop {
        let (ended, refusals) = played(Refused::Only(k));
        if refusals == 0 {
            break;
        }
        assert!(ended <= 1, "allocation {k} ended {ended}");
        ends += ended;
        k += 1;
    }
    println!("{} allocations, of which {ends} cost a connection", k - 1);
    assert!(k > 20 && ends > 10, "{k} allocations, {ends} ends: otherwise this tests little");
}

#[test]
fn many_allocations_refused_together_cost_only_those_who_needed_them() {
    for k in 1..6 {
        let (ended, refusals) = played(Refused::Every(k));
        assert!(ended > 0 && ended <= HUNGRY && ended <= refusals, "{ended} ended of {refusals} refusals");
    }
    for k in [1, 2, 3, 5, 8, 13] {
        let (ended, refusals) = played(Refused::From(k));
        assert!(ended > 0 && ended <= HUNGRY && ended <= refusals, "{ended} ended of {refusals} refusals");
    }
}

#[test]
fn with_memory_nobody_is_ended() {
    assert_eq!(played(Refused::None), (0, 0));
}

#[test]
fn a_deadline_for_which_there_is_no_memory_is_an_error_and_changes_nothing() {
    let mut scene = Scene::new();
    let mut conn = scene.rig.pool.conn(scene.ids[0]);
    start_counting();
    let result = short_of_memory(Refused::From(1), || conn.set_idle_timeout(None));
    assert!(matches!(result, Err(Error::Memory { .. })), "{result:?}");
    conn.set_idle_timeout(None).unwrap();
}
