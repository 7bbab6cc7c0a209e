//! Random calls, and after each of them everything that can be asked of everything there is.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, c_int, c_void};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::{null_mut, without_provenance_mut};
use std::time::{Duration, Instant};

use socketpool::capi::*;

use super::{calls, numbers, turned};

/// What a step does, to which of those that are there, and three dice for the rest.
pub type Step = (u8, u8, u8, u16);

/// A handle as a number.
pub type Handle = usize;

/// Which things a handle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Arena,
    Pool,
    Connection,
    Socket,
    Buffer,
    Poll,
    Protection,
}

pub fn handle<T>(number: Handle) -> *mut T {
    without_provenance_mut(number)
}

/// Ends that a pool has told: which, what hung on it, and why.
pub type Heard = RefCell<Vec<(Handle, Handle, String)>>;

pub struct Pool {
    pub handle: Handle,
    pub arena: Handle,
    pub most: usize,
    pub bytes: usize,
    pub draining: bool,
    /// The program turns it.
    pub turned: bool,
    /// It drains, and has not told that it is over.
    pub may_tell_drained: bool,
    /// The same, and it is to be told: who drains before he is turned may have drained unheard.
    pub tells_drained: bool,
    /// The connection that was told by its last event, if that was an end.
    pub told_closed: Option<Handle>,
    /// How many may come from one address.
    pub per_address: Option<usize>,
    /// A protection decides about newcomers from addresses.
    pub protected: bool,
    /// How many connections it has had.
    pub added: u64,
    /// What it has received, and sent.
    pub moved: (u64, u64),
    /// How many operations a connection may have, and how many all of them still may.
    pub rates: Option<(u32, Option<u32>)>,
    /// Invariant: it stays where it is as long as the pool lives, whose close callback has its address.
    pub heard: Box<Heard>,
}

pub struct Socket {
    pub handle: Handle,
    pub fd: c_int,
    /// The other side, until it is closed.
    pub peer: Option<UnixStream>,
    /// It comes from 127.0.0.1. Over TCP bytes arrive when they like, so none are sent.
    pub has_address: bool,
    /// What it has sent and we have not received.
    pub coming: VecDeque<u8>,
    /// What we have sent and it has not received.
    pub going: VecDeque<u8>,
    /// What was sent last may never arrive, so many bytes: it waited in the pool.
    pub waits: usize,
    pub in_pool: Option<Pooled>,
}

pub struct Pooled {
    pub pool: Handle,
    pub connection: Handle,
    pub userdata: Handle,
    /// Since when the pool has ended it, and the program has not removed it.
    pub ended: Option<Instant>,
    /// It has made room for another, or has gone in a drain, and the events of its pool are to tell that.
    pub silent: bool,
    /// The program has removed it, when its end was decided already, and the events of its pool are to tell that.
    pub removed: bool,
    /// It has finished what it did in a drain, and the events of its pool are to tell that.
    pub finished: bool,
    /// All were ended at once, and the events of its pool are to tell that.
    pub waits_for_event: bool,
    /// What the pool's own loop has to do with it; `None` if the program drives it.
    pub by_pool: Option<turned::ByPool>,
    /// How many operations its rate has let through.
    pub operations: u32,
    pub input: Bytes,
    pub output: Bytes,
}

impl Pooled {
    /// Whether the pool has it no more.
    pub const fn is_over(&self) -> bool {
        self.ended.is_some() || self.silent
    }

    /// Whether it takes no calls any more.
    pub const fn refuses(&self) -> bool {
        self.is_over() || self.removed || self.finished
    }

    /// Whether the other side hears that. Of what the program drives it does when that is told.
    pub const fn is_shut(&self) -> bool {
        self.ended.is_some() || self.silent && self.by_pool.is_some()
    }
}

/// What a buffer holds.
#[derive(Default)]
pub struct Bytes {
    pub waiting: VecDeque<u8>,
    pub capacity: usize,
}

pub struct Buffer {
    pub handle: Handle,
    pub arena: Handle,
    pub bytes: Bytes,
}

pub struct Poll {
    pub handle: Handle,
    pub most: usize,
    pub members: BTreeMap<c_int, Member>,
}

pub struct Member {
    pub socket: Handle,
    pub wish: u32,
    pub data: Handle,
}

#[derive(Default)]
pub struct Story {
    pub arenas: Vec<Handle>,
    pub pools: Vec<Pool>,
    pub sockets: Vec<Socket>,
    pub buffers: Vec<Buffer>,
    pub polls: Vec<Poll>,
    pub protections: Vec<(Handle, Handle)>,
    /// Handles that name nothing any more.
    pub dead: Vec<(What, Handle)>,
    /// The other sides of sockets that are no more, with what they have still to receive.
    pub left: Vec<(UnixStream, VecDeque<u8>, usize)>,
    /// Ends that were told in this step.
    pub told: Vec<(Handle, String)>,
    next_byte: u8,
    pub next_data: Handle,
}

pub fn run(steps: &[Step]) {
    let mut story = Story::default();
    for step in steps {
        story.step(*step);
        story.look();
    }
    story.end();
}

impl Poll {
    /// The end of a connection in a pool's own loop is told: now it is in no poll. If it was `silent` before, its number may
    /// be somebody else's.
    pub fn is_told(&mut self, fd: c_int, silent: bool) {
        if !silent {
            self.members.remove(&fd);
        }
    }
}

/// Whether a socket is that connection.
pub fn is_it(socket: &Socket, connection: Handle) -> bool {
    socket.in_pool.as_ref().is_some_and(|pooled| pooled.connection == connection)
}

unsafe extern "C-unwind" fn closed(
    connection: Connection_T,
    userdata: *mut c_void,
    reason: c_int,
    argument: *mut c_void,
) {
    // SAFETY: a pool of the story outlives its calls, and was given this address of its own.
    let heard = unsafe { &*argument.cast::<Heard>() };
    assert_eq!(Connection_isactive(connection), 1, "it answers until this returns");
    assert_eq!(Connection_userdata(connection), userdata);
    heard.borrow_mut().push((connection.addr(), userdata.addr(), text(sp_reason_name(reason))));
}

/// A text of the library's.
pub fn text(text: *const std::ffi::c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: it is not NULL, and the library says that it ends with NUL.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

impl Story {
    fn step(&mut self, (act, which, how, much): Step) {
        let (which, how, much) = (usize::from(which), usize::from(how), usize::from(much));
        self.told.clear();
        match act % 40 {
            0 => self.make_arena(),
            1 => self.dispose_arena(which, how),
            2 | 3 => self.make_pool(how, much),
            4 => self.free_pool(which, how),
            5..=7 => self.make_socket(how),
            8..=11 => self.add(which, how),
            12 => self.remove(which, how),
            13 => self.free_socket(which),
            14 | 15 => self.peer_sends(which, much % 100),
            16 => self.receive(which, much % 120),
            17 => self.send(which, much % 100),
            18 => self.peer_receives(which),
            19 => self.close_peer(which),
            20 => self.make_buffer(how, much),
            21 => self.release_buffer(which),
            22..=24 => self.use_buffer(which, how, much),
            25 => self.make_poll(how),
            26 | 27 => self.register(which, how, much),
            28 => self.wait(which),
            29 => self.set_pool(which, how, much),
            30 => self.make_protection(how),
            31 => calls::with_a_wrong_handle(self, which, how, much),
            32 => self.turn(which),
            33 | 34 => self.pull_some(which, how, much),
            35 => self.settle(which, how),
            36 | 37 => self.on_turned(which, how, much),
            38 => self.set_rates(which, how, much),
            _ => self.check_rate(which, how, much),
        }
    }

    /// One of so many, if there is any.
    pub fn pick<T>(things: &[T], which: usize) -> Option<usize> {
        (!things.is_empty()).then(|| which % things.len())
    }

    fn some_arena(&self, how: usize) -> Handle {
        match how % 3 {
            0 => 0,
            _ => Self::pick(&self.arenas, how / 3).map_or(0, |at| self.arenas[at]),
        }
    }

    fn make_arena(&mut self) {
        if self.arenas.len() < 3 {
            let made = Arena_new();
            assert!(!made.is_null());
            self.arenas.push(made.addr());
        }
    }

    fn dispose_arena(&mut self, which: usize, how: usize) {
        let Some(at) = Self::pick(&self.arenas, which).filter(|_| how < 64) else { return };
        let gone = self.arenas.swap_remove(at);
        let mut place = handle(gone);
        // SAFETY: the place is ours.
        unsafe { Arena_dispose(&raw mut place) };
        assert!(place.is_null());
        self.dead.push((What::Arena, gone));
        let pools: Vec<_> =
            self.pools.iter().filter(|pool| pool.arena == gone).map(|pool| pool.handle).collect();
        pools.into_iter().for_each(|pool| self.pool_is_free(pool));
        for buffer in self.buffers.extract_if(.., |buffer| buffer.arena == gone) {
            self.dead.push((What::Buffer, buffer.handle));
        }
        for (protection, _) in self.protections.extract_if(.., |(_, arena)| *arena == gone) {
            self.dead.push((What::Protection, protection));
        }
    }

    fn make_pool(&mut self, how: usize, much: usize) {
        if self.pools.len() >= 3 {
            return;
        }
        let (arena, most, bytes) = (self.some_arena(how), how % 5 + 1, 64 + much % 200);
        let made = SocketPool_new(handle(arena), most, bytes);
        assert!(!made.is_null(), "{}", text(Socket_GetLastError()));
        let heard = Box::new(Heard::default());
        let argument = (&raw const *heard).cast_mut().cast();
        assert_eq!(SocketPool_set_close_callback(made, Some(closed), argument), 0);
        self.pools.push(Pool {
            handle: made.addr(),
            arena,
            most,
            bytes,
            draining: false,
            turned: false,
            may_tell_drained: false,
            tells_drained: false,
            told_closed: None,
            per_address: None,
            protected: false,
            added: 0,
            moved: (0, 0),
            rates: None,
            heard,
        });
    }

    fn free_pool(&mut self, which: usize, how: usize) {
        let Some(at) = Self::pick(&self.pools, which).filter(|_| how < 128) else { return };
        let gone = self.pools[at].handle;
        let mut place = handle(gone);
        // SAFETY: the place is ours.
        unsafe { SocketPool_free(&raw mut place) };
        assert!(place.is_null());
        self.pool_is_free(gone);
    }

    fn pool_is_free(&mut self, gone: Handle) {
        self.listen();
        let at = self.pools.iter().position(|pool| pool.handle == gone).unwrap();
        // Nobody asks for its events any more.
        let pooled = self.sockets.iter_mut().filter_map(|socket| socket.in_pool.as_mut());
        pooled.filter(|pooled| pooled.pool == gone).for_each(|pooled| pooled.waits_for_event = false);
        self.everybody_is_gone(gone);
        self.pools.swap_remove(at);
        self.dead.push((What::Pool, gone));
    }

    /// Every connection of a pool was ended at once.
    fn everybody_is_gone(&mut self, pool: Handle) {
        let is_its = |socket: &Socket| {
            let pooled = socket.in_pool.as_ref().filter(|pooled| pooled.pool == pool);
            pooled.is_some_and(|pooled| !pooled.waits_for_event)
        };
        while let Some(at) = self.sockets.iter().position(is_its) {
            let pooled = self.sockets[at].in_pool.as_ref().unwrap();
            assert!(pooled.ended.is_some(), "its end was told");
            self.socket_is_gone(at);
        }
    }

    fn make_socket(&mut self, how: usize) {
        if self.sockets.len() >= 10 {
            return;
        }
        let has_address = how % 8 == 7;
        let (ours, theirs) = if has_address { pair_with_address() } else { UnixStream::pair().unwrap() };
        theirs.set_nonblocking(true).unwrap();
        let fd = ours.into_raw_fd();
        let made = Socket_new_from_fd(fd);
        assert!(!made.is_null());
        // Who is registered by a descriptor that was closed is nobody's any more.
        self.sockets.push(Socket {
            handle: made.addr(),
            fd,
            peer: Some(theirs),
            has_address,
            coming: VecDeque::new(),
            going: VecDeque::new(),
            waits: 0,
            in_pool: None,
        });
    }

    fn add(&mut self, which: usize, how: usize) {
        let (Some(socket), Some(pool)) = (Self::pick(&self.sockets, which), Self::pick(&self.pools, how))
        else {
            return;
        };
        let count = self.count(self.pools[pool].handle);
        let turned = self.pools[pool].turned;
        let added = SocketPool_add(handle(self.pools[pool].handle), handle(self.sockets[socket].handle));
        self.listen();
        let Pool { handle: name, bytes, most, draining, per_address, protected, .. } = self.pools[pool];
        let from_address = self.with_address(name);
        let unclear = self.unclear(name);
        self.pools[pool].added += u64::from(!added.is_null());
        let socket = &mut self.sockets[socket];
        let must = socket.peer.is_some() && socket.in_pool.is_none() && !draining && count < most;
        let per_address = per_address.filter(|_| socket.has_address);
        let must = must && per_address.is_none_or(|most| from_address < most);
        let must = must && !(socket.has_address && protected);
        let may = socket.in_pool.is_none() && !draining;
        let may = may && per_address.is_none_or(|most| from_address < most + unclear);
        assert!(!added.is_null() || !must, "{}", text(Socket_GetLastError()));
        assert!(added.is_null() || may);
        if added.is_null() {
            return;
        }
        let side = || Bytes { capacity: bytes, ..Default::default() };
        socket.in_pool = Some(Pooled {
            pool: name,
            connection: added.addr(),
            userdata: 0,
            ended: None,
            silent: false,
            removed: false,
            finished: false,
            waits_for_event: false,
            by_pool: turned.then(turned::ByPool::default),
            operations: 0,
            input: side(),
            output: side(),
        });
        if turned && count == most {
            let gone = self.note_silent(name);
            assert!(gone == 1 || gone == 0 && self.unclear(name) > 0, "one for one");
        }
        let socket = self.sockets.iter().find(|socket| is_it(socket, added.addr())).unwrap();
        // In every poll that has it, it is known by its name from now on.
        for poll in &mut self.polls {
            if let Some(member) = poll.members.get_mut(&socket.fd) {
                member.socket = socket.handle;
            }
        }
    }

    /// How many connections a pool has that it has not ended.
    pub fn count(&self, pool: Handle) -> usize {
        let lives = |pooled: &&Pooled| pooled.pool == pool && !pooled.is_over();
        self.sockets.iter().filter_map(|socket| socket.in_pool.as_ref()).filter(lives).count()
    }

    /// How many connections of a pool come from an address.
    fn with_address(&self, pool: Handle) -> usize {
        let is_it = |socket: &&Socket| {
            let pooled = socket.in_pool.as_ref();
            socket.has_address && pooled.is_some_and(|pooled| pooled.pool == pool && !pooled.is_over())
        };
        self.sockets.iter().filter(is_it).count()
    }

    /// How many of them may have gone already: who was removed before his end was told does not say.
    fn unclear(&self, pool: Handle) -> usize {
        let is_unclear = |pooled: &&Pooled| pooled.pool == pool && pooled.removed && !pooled.is_over();
        self.sockets.iter().filter_map(|socket| socket.in_pool.as_ref()).filter(is_unclear).count()
    }

    fn remove(&mut self, which: usize, how: usize) {
        let (Some(at), Some(pool)) = (Self::pick(&self.sockets, which), Self::pick(&self.pools, how)) else {
            return;
        };
        let (socket, pool) = (&self.sockets[at], self.pools[pool].handle);
        let Some(pooled) = &socket.in_pool else {
            assert_eq!(sp_pool_remove_socket(handle(pool), handle(socket.handle)), -1);
            return;
        };
        let (is_its, was_told) = (pooled.pool == pool, pooled.ended.is_some());
        let removed = match how % 2 {
            0 => sp_pool_remove_connection(handle(pool), handle(pooled.connection)),
            _ => sp_pool_remove_socket(handle(pool), handle(socket.handle)),
        };
        let is_its = is_its && !pooled.removed;
        assert_eq!(removed, if is_its { 0 } else { -1 });
        if is_its {
            self.is_removed(at, was_told);
        } else {
            self.listen();
        }
    }

    fn is_removed(&mut self, at: usize, was_told: bool) {
        self.listen();
        let connection = self.sockets[at].in_pool.as_ref().unwrap().connection;
        let told = self.told.iter().filter(|(other, _)| *other == connection).count();
        if told == 0 && !was_told && self.ends_by_event(at) {
            return;
        }
        assert_eq!(told, usize::from(!was_told), "once");
        self.socket_is_gone(at);
    }

    fn free_socket(&mut self, which: usize) {
        let Some(at) = Self::pick(&self.sockets, which) else { return };
        let mut place = handle(self.sockets[at].handle);
        // SAFETY: the place is ours.
        unsafe { Socket_free(&raw mut place) };
        assert!(place.is_null());
        match &self.sockets[at].in_pool {
            Some(pooled) if pooled.removed => self.listen(),
            Some(pooled) => self.is_removed(at, pooled.ended.is_some()),
            None => self.socket_is_gone(at),
        }
    }

    pub fn socket_is_gone(&mut self, at: usize) {
        let socket = self.sockets.swap_remove(at);
        self.dead.push((What::Socket, socket.handle));
        if let Some(pooled) = socket.in_pool {
            self.dead.push((What::Connection, pooled.connection));
            if pooled.by_pool.is_none() {
                for poll in &mut self.polls {
                    poll.members.remove(&socket.fd);
                }
            }
        } else {
            // The program's own sockets it takes out itself.
            for poll in &mut self.polls {
                if poll.members.remove(&socket.fd).is_some() {
                    sp_poll_del_fd(handle(poll.handle), socket.fd);
                }
            }
        }
        let peer = socket.peer.filter(|_| !socket.has_address);
        self.left.extend(peer.map(|peer| (peer, socket.going, socket.waits)));
    }

    /// Takes note of the ends that were told.
    pub fn listen(&mut self) {
        for pool in &self.pools {
            for (connection, userdata, reason) in pool.heard.take() {
                let mut all = self.sockets.iter_mut();
                let socket = all.find(|socket| is_it(socket, connection)).expect("one that is there");
                let (has_peer, pooled) = (socket.peer.is_some(), socket.in_pool.as_mut().unwrap());
                if pooled.by_pool.is_some() && !pooled.removed {
                    self.polls.iter_mut().for_each(|poll| poll.is_told(socket.fd, pooled.silent));
                }
                assert_eq!((pooled.pool, pooled.userdata), (pool.handle, userdata));
                assert!(pooled.ended.is_none(), "told twice");
                pooled.ended = Some(Instant::now());
                pooled.waits_for_event = false;
                let may = match reason.as_str() {
                    "closed" | "forced" | "evicted" => true,
                    "drained" => pool.draining,
                    "peer" | "error" => pooled.by_pool.is_some() && !has_peer,
                    _ => false,
                };
                assert!(may, "for {reason}");
                self.told.push((connection, reason));
            }
            if pool.turned && pool.draining {
                // Whoever has finished is listed no more.
                let listed = numbers::listed(pool.handle);
                let its = self.sockets.iter_mut().filter_map(|socket| socket.in_pool.as_mut());
                let its = its.filter(|pooled| pooled.pool == pool.handle && pooled.by_pool.is_none());
                for pooled in its.filter(|pooled| !pooled.is_over()) {
                    pooled.finished = !listed.contains(&pooled.connection);
                }
            }
        }
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let next = self.next_byte;
        self.next_byte = next.wrapping_add(count as u8);
        (0..count).map(|at| next.wrapping_add(at as u8) % 61).collect()
    }

    fn peer_sends(&mut self, which: usize, count: usize) {
        let Some(at) = Self::pick(&self.sockets, which) else { return };
        let bytes = self.bytes(count);
        let socket = &mut self.sockets[at];
        let ended = socket.in_pool.as_ref().is_some_and(Pooled::refuses);
        let Some(peer) = socket.peer.as_mut().filter(|_| !ended && !socket.has_address) else { return };
        assert_eq!(peer.write(&bytes).unwrap(), count);
        socket.coming.extend(bytes);
    }

    fn receive(&mut self, which: usize, count: usize) {
        let Some(at) = Self::pick(&self.sockets, which) else { return };
        let socket = &mut self.sockets[at];
        let mut into = vec![0; count];
        // SAFETY: it points at so many bytes of ours.
        let received = unsafe { Socket_recv(handle(socket.handle), into.as_mut_ptr().cast(), count, 0) };
        let ended = socket.in_pool.as_ref().is_some_and(Pooled::refuses);
        let by_pool = socket.in_pool.as_ref().is_some_and(|pooled| pooled.by_pool.is_some());
        let expected = match (count, socket.coming.len()) {
            (0, _) => -1,
            _ if ended => 0,
            // The pool's own loop moves its bytes.
            _ if by_pool => -1,
            (_, 0) => -isize::from(socket.peer.is_some()),
            (count, there) => count.min(there).cast_signed(),
        };
        assert_eq!(received, expected, "{}", text(Socket_GetLastError()));
        if let Ok(n) = usize::try_from(received) {
            assert!(into[..n].iter().copied().eq(socket.coming.drain(..n)));
            let name = socket.in_pool.as_ref().map(|pooled| pooled.pool);
            let pool = self.pools.iter_mut().find(|pool| Some(pool.handle) == name);
            pool.into_iter().for_each(|pool| pool.moved.0 += n as u64);
        }
    }

    fn send(&mut self, which: usize, count: usize) {
        let Some(at) = Self::pick(&self.sockets, which).filter(|at| !self.sockets[*at].has_address) else {
            return;
        };
        let bytes = self.bytes(count);
        let socket = &mut self.sockets[at];
        // SAFETY: it points at so many bytes of ours.
        let sent = unsafe { Socket_send(handle(socket.handle), bytes.as_ptr().cast(), count, 0) };
        let ended = socket.in_pool.as_ref().is_some_and(Pooled::refuses);
        if socket.peer.is_none() && count == 0 && !ended {
            assert!(sent <= 0);
            return;
        }
        let by_pool = socket.in_pool.as_ref().is_some_and(|pooled| pooled.by_pool.is_some());
        let gone = socket.peer.is_none() || ended || by_pool;
        assert_eq!(sent, if gone { -1 } else { count.cast_signed() });
        if !gone {
            socket.going.extend(bytes);
            let name = socket.in_pool.as_ref().map(|pooled| pooled.pool);
            let pool = self.pools.iter_mut().find(|pool| Some(pool.handle) == name);
            pool.into_iter().for_each(|pool| pool.moved.1 += count as u64);
        }
    }

    fn peer_receives(&mut self, which: usize) {
        let Some(at) = Self::pick(&self.sockets, which).filter(|at| !self.sockets[*at].has_address) else {
            return;
        };
        let socket = &mut self.sockets[at];
        let ended = socket.in_pool.as_ref().is_some_and(Pooled::is_shut);
        // What the pool's own loop ends may have ended for the other side before that is told.
        let may_end = socket.in_pool.as_ref().is_some_and(|pooled| pooled.by_pool.is_some());
        if let Some(peer) = &mut socket.peer {
            let ends = all_arrives(peer, &mut socket.going, &mut socket.waits, ended);
            assert!(ends == ended || ends && may_end, "the socket is closed");
        }
    }

    fn close_peer(&mut self, which: usize) {
        let Some(at) = Self::pick(&self.sockets, which).filter(|at| !self.sockets[*at].has_address) else {
            return;
        };
        // What it has not read would be a reset, of which the kernel tells once only.
        self.peer_receives(which);
        self.sockets[at].peer = None;
    }

    fn set_pool(&mut self, which: usize, how: usize, much: usize) {
        let Some(at) = Self::pick(&self.pools, which) else { return };
        let pool = &mut self.pools[at];
        let name = handle(pool.handle);
        match how % 11 {
            0 => {
                pool.drains();
                assert_eq!(SocketPool_drain(name), 0);
            }
            1 => {
                pool.drains();
                assert_eq!(SocketPool_force_close_all(name), 0);
                let name = pool.handle;
                self.listen();
                self.leave_to_events(name);
                self.everybody_is_gone(name);
            }
            2 => {
                pool.most = much % 6 + 1;
                assert_eq!(SocketPool_resize(name, pool.most), 0);
            }
            3 => {
                pool.bytes = much % 200 + 64;
                assert_eq!(SocketPool_set_bufsize(name, pool.bytes), 0);
                let (pool, bytes) = (pool.handle, pool.bytes);
                let pooled = self.sockets.iter_mut().filter_map(|socket| socket.in_pool.as_mut());
                for pooled in pooled.filter(|pooled| pooled.pool == pool) {
                    pooled.input.capacity = bytes;
                    pooled.output.capacity = bytes;
                }
            }
            4 => assert_eq!(SocketPool_prewarm(name, (much % 101) as c_int), 0),
            5 => assert_eq!(SocketPool_set_idle_timeout(name, 1_000_000), 0),
            6 => {
                let protection = Self::pick(&self.protections, much).map_or(0, |at| self.protections[at].0);
                // One that blocks would make who is let in depend on it.
                if much.is_multiple_of(3) {
                    pool.protected = true;
                    assert_eq!(SocketPool_set_syn_protection(name, handle(protection)), 0);
                }
            }
            7 => assert!(SocketPool_tick(name) >= -1),
            8 => {
                let refused = [
                    SocketPool_resize(name, 0),
                    SocketPool_resize(name, usize::MAX - much),
                    SocketPool_set_bufsize(name, much % 64),
                    SocketPool_set_idle_timeout(name, -1 - much as i64),
                    SocketPool_prewarm(name, 101 + much as c_int),
                    SocketPool_setconnrate(name, 1, 0),
                ];
                assert_eq!(refused, [-1; 6]);
            }
            9 if pool.added == 0 => {
                let most = much % 3 + 1;
                pool.per_address = Some(most);
                assert_eq!(SocketPool_setmaxperip(name, c_int::try_from(most).unwrap()), 0);
            }
            _ => {
                self.next_data += 1;
                let data = self.next_data;
                let pooled = self.sockets.iter_mut().filter_map(|socket| socket.in_pool.as_mut()).nth(which);
                if let Some(pooled) = pooled {
                    assert_eq!(Connection_set_userdata(handle(pooled.connection), handle(data)), 0);
                    // What a told end hung on it has been compared already.
                    pooled.userdata = data;
                }
            }
        }
        self.listen();
    }

    fn make_buffer(&mut self, how: usize, much: usize) {
        if self.buffers.len() >= 6 {
            return;
        }
        let (arena, capacity) = (self.some_arena(how), 64 + much % 300);
        let made = SocketBuf_new(handle(arena), capacity);
        assert!(!made.is_null());
        let bytes = Bytes { capacity, ..Default::default() };
        self.buffers.push(Buffer { handle: made.addr(), arena, bytes });
    }

    fn release_buffer(&mut self, which: usize) {
        let Some(at) = Self::pick(&self.buffers, which) else { return };
        let gone = self.buffers.swap_remove(at).handle;
        let mut place = handle(gone);
        // SAFETY: the place is ours.
        unsafe { SocketBuf_release(&raw mut place) };
        assert!(place.is_null());
        self.dead.push((What::Buffer, gone));
    }

    fn use_buffer(&mut self, which: usize, how: usize, much: usize) {
        let fresh = self.bytes(much % 150);
        if which.is_multiple_of(2) {
            let Some(at) = Self::pick(&self.buffers, which / 2) else { return };
            let Buffer { handle, bytes, .. } = &mut self.buffers[at];
            calls::on_buffer(*handle, bytes, calls::Kind::Alone, how, &fresh);
            return;
        }
        let pooled = self.sockets.iter_mut().filter(|socket| socket.in_pool.is_some());
        let mut pooled: Vec<_> = pooled.collect();
        let Some(at) = Self::pick(&pooled, which / 4) else { return };
        let (fd, pooled) = (pooled[at].fd, pooled[at].in_pool.as_mut().unwrap());
        let connection = handle(pooled.connection);
        if pooled.by_pool.is_some() {
            calls::buffer_refuses(Connection_inbuf(connection).addr());
            calls::buffer_refuses(Connection_outbuf(connection).addr());
            return self.listen();
        }
        let is_over = pooled.refuses();
        let (name, bytes) = match which / 2 % 2 {
            0 => (Connection_inbuf(connection), &mut pooled.input),
            _ => (Connection_outbuf(connection), &mut pooled.output),
        };
        if is_over {
            *bytes = Bytes::default();
        }
        let before = bytes.waiting.len();
        let drains = self.pools.iter().any(|pool| pool.handle == pooled.pool && pool.draining);
        let kind = if drains { calls::Kind::Draining } else { calls::Kind::Pooled };
        calls::on_buffer(name.addr(), bytes, kind, how, &fresh);
        if which / 2 % 2 == 1 && bytes.waiting.len() > before {
            for poll in &mut self.polls {
                poll.members.entry(fd).and_modify(|member| member.wish |= 2);
            }
        }
        self.listen();
    }

    fn make_poll(&mut self, how: usize) {
        match self.polls.len() {
            0..2 => {
                let most = if how < 200 { 32 } else { how % 3 + 1 };
                let made = SocketPoll_new(most as c_int);
                assert!(!made.is_null());
                self.polls.push(Poll { handle: made.addr(), most, members: BTreeMap::new() });
            }
            _ => {
                let gone = self.polls.swap_remove(how % 2).handle;
                let mut place = handle(gone);
                // SAFETY: the place is ours.
                unsafe { SocketPoll_free(&raw mut place) };
                self.dead.push((What::Poll, gone));
            }
        }
    }

    fn register(&mut self, which: usize, how: usize, much: usize) {
        self.next_data += 1;
        let (Some(at), Some(poll)) = (Self::pick(&self.sockets, which), Self::pick(&self.polls, how)) else {
            return;
        };
        let (socket, poll) = (&self.sockets[at], &mut self.polls[poll]);
        if socket.in_pool.as_ref().is_some_and(|pooled| pooled.by_pool.is_some() && pooled.refuses()) {
            if socket.in_pool.as_ref().is_some_and(|pooled| pooled.ended.is_none()) {
                // Whether its descriptor is closed yet is the loop's business.
                return;
            }
            // Its number is anybody's, and its name good for nothing.
            let (name, set) = (handle(socket.handle), handle(poll.handle));
            let did = [
                sp_poll_add_socket(set, name, 1, null_mut()),
                sp_poll_mod_socket(set, name, 1, null_mut()),
                sp_poll_del_socket(set, name),
                Socket_setnonblocking(name),
            ];
            assert_eq!(did, [-1; 4]);
            return;
        }
        let (fd, name, set) = (socket.fd, handle(socket.handle), handle(poll.handle));
        let (wish, data) = ((much % 4) as u32, handle(self.next_data));
        let (by_fd, is_in) = ((much / 4).is_multiple_of(2), poll.members.contains_key(&fd));
        let did = match (much / 8 % 4, by_fd) {
            (0 | 1, true) => sp_poll_add_fd(set, fd, wish, data),
            (0 | 1, false) => sp_poll_add_socket(set, name, wish, data),
            (2, true) => sp_poll_mod_fd(set, fd, wish, data),
            (2, false) => sp_poll_mod_socket(set, name, wish, data),
            (_, true) => sp_poll_del_fd(set, fd),
            (_, false) => sp_poll_del_socket(set, name),
        };
        let adds = much / 8 % 4 < 2;
        assert_eq!(did, if adds == is_in { -1 } else { 0 }, "{}", text(Socket_GetLastError()));
        if did == -1 {
            return;
        }
        match much / 8 % 4 {
            0 | 1 => {
                let known = !by_fd || socket.in_pool.is_some();
                let socket = if known { socket.handle } else { 0 };
                poll.members.insert(fd, Member { socket, wish, data: self.next_data });
            }
            2 => {
                let member = poll.members.get_mut(&fd).unwrap();
                member.wish = wish;
                member.data = self.next_data;
            }
            _ => drop(poll.members.remove(&fd)),
        }
    }

    fn wait(&mut self, which: usize) {
        let Some(at) = Self::pick(&self.polls, which) else { return };
        let ended: Vec<_> = self.ended();
        let mut events = null_mut();
        // SAFETY: the place is ours.
        let n = unsafe { SocketPoll_wait(handle(self.polls[at].handle), &raw mut events, 0) };
        self.listen();
        let unclear = ended != self.ended();
        let poll = &self.polls[at];
        let n = usize::try_from(n).unwrap();
        assert!(n <= poll.most);
        // SAFETY: the poll says that so many are there.
        let events = if n == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(events, n) } };
        let by_data = |data| poll.members.iter().find(|(_, member)| member.data == data);
        for event in events.iter().filter(|event| event.events != 0) {
            let (_, member) = by_data(event.data.addr()).expect("it is registered");
            assert_eq!(event.socket.addr(), member.socket);
            assert_eq!(event.events & 3 & !member.wish, 0, "nothing that was not wished for");
        }
        if poll.members.len() > poll.most || unclear {
            return;
        }
        for socket in &self.sockets {
            let Some(member) = poll.members.get(&socket.fd) else { continue };
            if socket.in_pool.as_ref().is_some_and(|pooled| pooled.by_pool.is_some()) {
                // The pool's own loop may have read it already, or owns its number no more.
                continue;
            }
            let told = events.iter().find(|event| event.data.addr() == member.data);
            let told = told.map_or(0, |event| event.events);
            let ended = socket.in_pool.as_ref().is_some_and(Pooled::is_shut);
            let readable = !socket.coming.is_empty() || socket.peer.is_none() || ended;
            let expected = u32::from(readable) | 2;
            assert_eq!(told & 3, expected & member.wish, "{} is told", socket.fd);
        }
    }

    fn ended(&self) -> Vec<Handle> {
        let pooled = self.sockets.iter().filter_map(|socket| socket.in_pool.as_ref());
        pooled.filter(|pooled| pooled.ended.is_some()).map(|pooled| pooled.connection).collect()
    }

    fn make_protection(&mut self, how: usize) {
        if self.protections.len() >= 2 {
            let gone = self.protections.swap_remove(how % 2).0;
            let mut place = handle(gone);
            // SAFETY: the place is ours.
            unsafe { SocketSYNProtect_free(&raw mut place) };
            self.dead.push((What::Protection, gone));
            return;
        }
        let arena = self.some_arena(how);
        let made = SocketSYNProtect_new(handle(arena), 1_000_000, 10_000);
        assert!(!made.is_null());
        self.protections.push((made.addr(), arena));
    }

    /// Asks everything of everything there is.
    fn look(&mut self) {
        for at in 0..self.pools.len() {
            let name = handle(self.pools[at].handle);
            // What is due first, as every question does it.
            let _ = SocketPool_count(name);
            self.listen();
            let most = self.count(self.pools[at].handle);
            let expected = SocketPool_count(name);
            assert!(expected <= most && expected + self.unclear(self.pools[at].handle) >= most);
            let state = SocketPool_state(name);
            self.listen();
            assert_eq!(most, self.count(self.pools[at].handle));
            let drains = if expected == 0 { 2 } else { 1 };
            if self.pools[at].turned {
                // It notices in its turns that the last one has gone.
                assert!(if self.pools[at].draining { state == drains || state == 1 } else { state == 0 });
            } else {
                assert_eq!(state, if self.pools[at].draining { drains } else { 0 });
            }
            assert_eq!(SocketPool_is_drained(name), c_int::from(state == 2));
            assert_eq!(SocketPoolHealth_total_count(SocketPool_health(name)), expected as c_int);
            numbers::look(self, at, expected);
        }
        let mut gone = Vec::new();
        for (at, socket) in self.sockets.iter().enumerate() {
            let name = handle(socket.handle);
            let Some(pooled) = &socket.in_pool else {
                assert_eq!(Socket_fd(name), socket.fd);
                continue;
            };
            let connection = handle(pooled.connection);
            if Connection_isactive(connection) == 0 {
                // The program has not removed it in time.
                let since = pooled.ended.filter(|_| pooled.by_pool.is_none());
                assert!(since.is_some_and(|ended| ended.elapsed() > Duration::from_millis(900)));
                gone.push(at);
                continue;
            }
            let may_be_closed = pooled.by_pool.is_some() && pooled.refuses();
            let is_open = Socket_fd(name) == socket.fd;
            assert!(is_open || may_be_closed && Socket_fd(name) == -1);
            assert!(!is_open || pooled.by_pool.is_none() || pooled.ended.is_none());
            assert_eq!(Connection_fd(connection), socket.fd);
            assert_eq!(Connection_userdata(connection).addr(), pooled.userdata);
            assert_eq!(Connection_socket(connection).addr(), socket.handle);
            for pool in &self.pools {
                let expected = if pool.handle == pooled.pool { pooled.connection } else { 0 };
                assert_eq!(SocketPool_get(handle(pool.handle), name).addr(), expected);
            }
        }
        gone.into_iter().rev().for_each(|at| self.socket_is_gone(at));
        for poll in &self.polls {
            assert_eq!(SocketPoll_getregisteredcount(handle(poll.handle)), poll.members.len() as c_int);
        }
        for buffer in &self.buffers {
            assert_eq!(SocketBuf_readable(handle(buffer.handle)), buffer.bytes.waiting.len());
        }
    }

    /// Frees everything, after which nothing answers, and everybody on the other side has heard of it.
    fn end(&mut self) {
        while !self.arenas.is_empty() {
            self.dispose_arena(0, 0);
        }
        while !self.pools.is_empty() {
            self.free_pool(0, 0);
        }
        while !self.sockets.is_empty() {
            self.free_socket(0);
        }
        while !self.buffers.is_empty() {
            self.release_buffer(0);
        }
        for poll in self.polls.drain(..) {
            assert_eq!(SocketPoll_getregisteredcount(handle(poll.handle)), 0);
            let mut place = handle(poll.handle);
            // SAFETY: the place is ours.
            unsafe { SocketPoll_free(&raw mut place) };
        }
        for (protection, _) in self.protections.drain(..) {
            let mut place = handle(protection);
            // SAFETY: the place is ours.
            unsafe { SocketSYNProtect_free(&raw mut place) };
        }
        for (peer, going, waits) in &mut self.left {
            assert!(all_arrives(peer, going, waits, true), "the socket is closed");
        }
        for (what, name) in &self.dead {
            calls::names_nothing(*what, *name);
        }
    }
}

/// The other side has got what was sent to it, and nothing else: of the last bytes, that waited in the pool, as many as have
/// left. Returns whether it has heard that there is no more.
fn all_arrives(peer: &mut UnixStream, going: &mut VecDeque<u8>, waits: &mut usize, is_over: bool) -> bool {
    let mut got = Vec::new();
    let end = peer.read_to_end(&mut got);
    assert!(got.len() + *waits >= going.len() && got.len() <= going.len(), "so much has arrived");
    assert!(going.drain(..got.len()).eq(got));
    *waits = going.len();
    match end {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        // It has sent what nobody has received.
        Err(error) => {
            assert!(error.kind() == ErrorKind::ConnectionReset, "{error}");
            assert!(is_over);
            true
        }
    }
}

/// A stream and its peer over TCP, which leaves nothing behind in the machine when it is closed.
fn pair_with_address() -> (UnixStream, UnixStream) {
    thread_local!(static LISTENER: TcpListener = TcpListener::bind("127.0.0.1:0").unwrap());
    LISTENER.with(|listener| {
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        let (ours, _) = listener.accept().unwrap();
        (OwnedFd::from(ours).into(), OwnedFd::from(theirs).into())
    })
}

/// The steps that bytes spell.
pub fn spelled(bytes: &[u8]) -> Vec<Step> {
    let (steps, _) = bytes.as_chunks::<5>();
    steps
        .iter()
        .map(|&[act, which, how, low, high]| (act, which, how, u16::from_le_bytes([low, high])))
        .collect()
}
