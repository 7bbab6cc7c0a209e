//! Pools that the program turns: whatever the turns do, each connection is told of in order, its bytes come whole, and its
//! end is told once. When such a pool rests, nothing is left to be done.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::slice;

use socketpool::capi::*;

use super::story::{Handle, Pool, Pooled, Socket, Story, handle, is_it, text};

/// What is between a connection and the pool's own loop.
#[derive(Default)]
pub struct ByPool {
    /// Its beginning was told.
    pub opened: bool,
    /// That its peer has sent its last byte was told.
    pub read_closed: bool,
    /// The program has ended it, or all, at once or when it has sent all: its end is still to be told.
    pub is_over: bool,
    /// Something was consumed since the last answer: it owes one. What is sent while all of the input stays is none, unless
    /// it is consumed in the same event.
    pub owes: bool,
    /// So much of the input is shown no more, its end being decided. Who was shown it before may still say that it is used up.
    pub hidden: usize,
}

impl Story {
    /// Takes the place among the sockets of a connection that the pool's loop drives.
    fn turned(&self, which: usize) -> Option<usize> {
        let is_it = |at: &usize| self.sockets[*at].in_pool.as_ref().is_some_and(|it| it.by_pool.is_some());
        let all: Vec<_> = (0..self.sockets.len()).filter(is_it).collect();
        Self::pick(&all, which).map(|at| all[at])
    }

    /// One turn, which does not wait.
    pub fn turn(&mut self, which: usize) {
        let Some(at) = Self::pick(&self.pools, which) else { return };
        assert_eq!(SocketPool_turn(handle(self.pools[at].handle), 0), 0);
        self.pools[at].turned = true;
        self.listen();
        assert!(self.told.is_empty(), "what ends is told with the events");
        if self.pools[at].draining {
            // Only then do they go in a turn. To ask is a call with them, which changes who may be evicted next.
            self.note_silent(self.pools[at].handle);
        }
    }

    /// A few events, and the program does something at some of them.
    pub fn pull_some(&mut self, which: usize, how: usize, much: usize) {
        let Some(at) = Self::pick(&self.pools, which) else { return };
        for nth in 0..how % 4 + 1 {
            let Some((kind, connection)) = self.pull(at) else { return };
            let (SP_EVENT_OPENED..=SP_EVENT_READ_CLOSED, Some(socket)) = (kind, self.place_of(connection))
            else {
                continue;
            };
            if how >> (2 + nth) & 1 == 1 {
                self.call(socket, how >> 4, much);
            }
        }
    }

    /// The next event, of which everything is checked that is known.
    fn pull(&mut self, at: usize) -> Option<(c_int, Handle)> {
        let mut event = MaybeUninit::<sp_event>::uninit();
        let pool = handle(self.pools[at].handle);
        // SAFETY: it points at a local, which is written in any case.
        let (n, event) = unsafe { (SocketPool_next_event(pool, event.as_mut_ptr()), event.assume_init()) };
        assert!(n == 0 || n == 1);
        // The name of whose end was told before ends now.
        if let Some(gone) = self.pools[at].told_closed.take()
            && let Some(gone) = self.place_of(gone)
        {
            self.socket_is_gone(gone);
        }
        let before = self.told.len();
        self.listen();
        // Who is driven by the program and was removed before his end was told is gone with that.
        let is_gone = |socket: &Socket| {
            let pooled = socket.in_pool.as_ref().filter(|pooled| pooled.by_pool.is_none() && pooled.removed);
            pooled.is_some_and(|pooled| pooled.ended.is_some())
        };
        while let Some(gone) = self.sockets.iter().position(is_gone) {
            self.socket_is_gone(gone);
        }
        let connection = event.connection.addr();
        if n == 0 {
            assert_eq!((event.kind, connection, event.userdata.is_null()), (0, 0, true));
            return None;
        }
        assert_eq!(event.kind == SP_EVENT_CLOSED, event.reason != 0);
        if event.kind == SP_EVENT_DRAINED {
            assert_eq!((connection, self.count(self.pools[at].handle)), (0, 0));
            let pool = &mut self.pools[at];
            assert!(std::mem::take(&mut pool.may_tell_drained), "it is told once");
            pool.tells_drained = false;
            return Some((event.kind, connection));
        }
        let socket = self.place_of(connection).expect("it is of a connection");
        let has_peer = self.sockets[socket].peer.is_some();
        let pooled = self.sockets[socket].in_pool.as_mut().unwrap();
        assert_eq!((pooled.pool, pooled.userdata), (self.pools[at].handle, event.userdata.addr()));
        let by_pool = pooled.by_pool.as_mut().expect("the program drives none of those that are told of");
        assert_eq!(event.kind == SP_EVENT_OPENED, !by_pool.opened, "its beginning is told first, and once");
        by_pool.opened = true;
        assert_eq!(event.kind == SP_EVENT_CLOSED, pooled.ended.is_some());
        match event.kind {
            SP_EVENT_CLOSED => {
                let told = &self.told[before..];
                let its = told.iter().filter(|(other, _)| *other == connection);
                let reasons: Vec<_> = its.map(|(_, reason)| reason.clone()).collect();
                assert_eq!(reasons, [text(sp_reason_name(event.reason))], "told once, by both");
                self.pools[at].told_closed = Some(connection);
            }
            SP_EVENT_READ_CLOSED => {
                assert!(!has_peer && !std::mem::replace(&mut by_pool.read_closed, true));
            }
            _ => assert!([SP_EVENT_OPENED, SP_EVENT_READABLE, SP_EVENT_WRITABLE].contains(&event.kind)),
        }
        Some((event.kind, connection))
    }

    fn place_of(&self, connection: Handle) -> Option<usize> {
        self.sockets.iter().position(|socket| is_it(socket, connection))
    }

    /// A call on a connection of a pool that is turned, in between.
    pub fn on_turned(&mut self, which: usize, how: usize, much: usize) {
        if let Some(at) = self.turned(which) {
            self.call(at, how, much);
        }
    }

    fn call(&mut self, socket: usize, how: usize, much: usize) {
        let name = self.sockets[socket].in_pool.as_ref().unwrap().connection;
        match how % 12 {
            0..=3 => drop(self.receive_turned(socket)),
            4 | 5 => self.consume(socket, much % 120),
            6..=9 => drop(self.send_turned(socket, much % 100)),
            end => {
                let pooled = self.sockets[socket].in_pool.as_mut().unwrap();
                let did = match end {
                    10 => sp_connection_close(handle(name)),
                    _ => sp_connection_close_when_done(handle(name)),
                };
                assert_eq!(did == SP_OK, !pooled.refuses());
                let by_pool = pooled.by_pool.as_mut().unwrap();
                by_pool.is_over = true;
                if end == 10 {
                    // Output that waits is dropped.
                    by_pool.owes = false;
                }
            }
        }
        self.listen();
    }

    /// Receives what has come and compares it. Returns how much that was.
    fn receive_turned(&mut self, at: usize) -> usize {
        let socket = &mut self.sockets[at];
        let pooled = socket.in_pool.as_mut().unwrap();
        let name = handle(pooled.connection);
        let received = Connection_receive(name);
        assert_eq!(received == -1, pooled.refuses());
        let Ok(n) = usize::try_from(received) else { return 0 };
        let by_pool = pooled.by_pool.as_mut().unwrap();
        assert!(n <= socket.coming.len());
        assert!(n == 0 || by_pool.opened, "nobody reads before it is told");
        pooled.input.waiting.extend(socket.coming.drain(..n));
        let pool = self.pools.iter_mut().find(|pool| pool.handle == pooled.pool).unwrap();
        pool.moved.0 += n as u64;
        self.look_at_input(at);
        n
    }

    /// Compares what was received and not consumed.
    fn look_at_input(&mut self, at: usize) {
        let socket = &mut self.sockets[at];
        let pooled = socket.in_pool.as_mut().unwrap();
        if pooled.refuses() {
            return;
        }
        let by_pool = pooled.by_pool.as_mut().unwrap();
        let pool = self.pools.iter().find(|pool| pool.handle == pooled.pool).unwrap();
        let name = handle(pooled.connection);
        let mut length = usize::MAX;
        // SAFETY: it points at a local, and what comes back at so many bytes until the next call.
        let input = unsafe {
            let input = Connection_input(name, &raw mut length).cast::<u8>();
            if length == 0 { &[][..] } else { slice::from_raw_parts(input, length) }
        };
        if input.is_empty() && (by_pool.is_over || socket.peer.is_none() || pool.draining) {
            // What has ended shows none.
            by_pool.hidden += pooled.input.waiting.drain(..).count();
        }
        assert!(pooled.input.waiting.iter().eq(input), "the bytes that came, in order");
    }

    fn consume(&mut self, at: usize, count: usize) {
        // What waits there is looked at first.
        self.look_at_input(at);
        let pooled = self.sockets[at].in_pool.as_mut().unwrap();
        let refuses = pooled.refuses();
        let does = !refuses && count <= pooled.input.waiting.len();
        let did = Connection_consume(handle(pooled.connection), count);
        let by_pool = pooled.by_pool.as_mut().unwrap();
        if does {
            assert_eq!(did, 0);
            pooled.input.waiting.drain(..count);
            by_pool.owes |= count > 0;
        } else if did == 0 && !refuses {
            by_pool.hidden = by_pool.hidden.checked_sub(count).expect("so much was there");
        } else {
            assert_eq!(did, -1);
        }
    }

    /// Sends so many bytes, and returns whether they were taken.
    fn send_turned(&mut self, at: usize, count: usize) -> bool {
        if self.sockets[at].has_address {
            return false;
        }
        let bytes = self.bytes(count);
        let socket = &mut self.sockets[at];
        let pooled = socket.in_pool.as_mut().unwrap();
        // SAFETY: it points at so many bytes of ours.
        let sent = unsafe { Connection_send(handle(pooled.connection), bytes.as_ptr().cast(), count) };
        assert_eq!(sent == -1, pooled.refuses());
        let pool = self.pools.iter().find(|pool| pool.handle == pooled.pool).unwrap();
        let by_pool = pooled.by_pool.as_mut().unwrap();
        match sent {
            SP_SENT_NOW | SP_SENT_QUEUED => {
                assert!(count <= pool.bytes);
                by_pool.owes = false;
                socket.going.extend(bytes);
                socket.waits = if sent == SP_SENT_NOW { 0 } else { socket.waits + count };
            }
            SP_SENT_REFUSED => {
                let is_free = socket.waits == 0 && socket.peer.is_some();
                let lives = !by_pool.is_over && !pool.draining;
                assert!(count > pool.bytes || !is_free || !lives, "there is room");
            }
            _ => {}
        }
        matches!(sent, SP_SENT_NOW | SP_SENT_QUEUED)
    }

    /// Takes note of the connections of a pool that were closed at once, and whose end its events are to tell. Returns how many
    /// these are.
    pub fn note_silent(&mut self, pool: Handle) -> usize {
        let mut text = [0; 64];
        let mut count = 0;
        for socket in &mut self.sockets {
            let fd = socket.fd;
            let pooled = socket
                .in_pool
                .as_mut()
                .filter(|pooled| pooled.pool == pool && !pooled.is_over() && !pooled.removed);
            let Some(pooled) = pooled else { continue };
            // SAFETY: there is so much room.
            let here = unsafe { Connection_peer(handle(pooled.connection), text.as_mut_ptr(), text.len()) };
            pooled.silent = here == -1;
            count += usize::from(pooled.silent);
            if pooled.silent && pooled.by_pool.is_some() {
                for poll in &mut self.polls {
                    // What a pool closes is in no poll from then on.
                    poll.members.remove(&fd);
                }
            }
        }
        count
    }

    /// Whether the removal of a connection is told by an event, as for one whose end was decided before.
    pub fn ends_by_event(&mut self, at: usize) -> bool {
        let Socket { peer, fd, in_pool: Some(pooled), .. } = &mut self.sockets[at] else { return false };
        let drains = self.pools.iter().any(|pool| pool.handle == pooled.pool && pool.draining);
        match &mut pooled.by_pool {
            Some(by_pool) => {
                let has_ended = pooled.silent || by_pool.is_over || peer.is_none() || drains;
                assert!(has_ended, "nobody else has ended it");
                by_pool.is_over = true;
            }
            None => assert!(pooled.silent, "nobody else has ended it"),
        }
        pooled.removed = true;
        for poll in &mut self.polls {
            if pooled.by_pool.is_none() {
                poll.members.remove(fd);
            } else {
                poll.is_told(*fd, pooled.silent);
            }
        }
        true
    }

    /// All connections were ended at once. Those in the pool's loop, and those that have been evicted, end when its events are
    /// asked for, and the name of the last that they told.
    pub fn leave_to_events(&mut self, pool: Handle) {
        for socket in &mut self.sockets {
            let fd = socket.fd;
            let Some(pooled) = socket.in_pool.as_mut() else { continue };
            let told_last = self.pools.iter().any(|pool| pool.told_closed == Some(pooled.connection));
            if pooled.pool != pool || pooled.ended.is_some() && !told_last {
                continue;
            }
            pooled.waits_for_event = pooled.by_pool.is_some() || pooled.silent;
            if let Some(by_pool) = &mut pooled.by_pool {
                by_pool.is_over = true;
                // What was closed before may have left its number to another.
                if pooled.ended.is_none() && !pooled.silent {
                    self.polls.iter_mut().for_each(|poll| _ = poll.members.remove(&fd));
                }
            }
        }
    }

    /// Takes all that has come for a connection and answers it, before it consumes that or after. Returns whether there was
    /// anything to do.
    fn answer(&mut self, at: usize, first: bool) -> bool {
        let came = self.receive_turned(at);
        let pooled = self.sockets[at].in_pool.as_ref().unwrap();
        let waiting = pooled.input.waiting.len();
        let may_be_first = waiting > 0 && !pooled.by_pool.as_ref().unwrap().owes;
        let is_answered = first && may_be_first && self.send_turned(at, 1);
        // It may have ended by that, and shows none then.
        self.look_at_input(at);
        self.consume(at, self.sockets[at].in_pool.as_ref().unwrap().input.waiting.len());
        let owes = &mut self.sockets[at].in_pool.as_mut().unwrap().by_pool.as_mut().unwrap().owes;
        *owes &= !is_answered;
        let answers = *owes && self.send_turned(at, 1);
        came + waiting > 0 || answers
    }

    /// Turns a pool until it rests, as a program does that takes and answers everything. Then nothing is left to be done.
    pub fn settle(&mut self, which: usize, how: usize) {
        let Some(at) = Self::pick(&self.pools, which) else { return };
        let name = self.pools[at].handle;
        let mut rounds = 0;
        let mut rests = 0;
        while rests < 2 {
            rounds += 1;
            assert!(rounds < 100, "it never rests");
            self.told.clear();
            self.turn(at);
            rests += 1;
            while self.pull(at).is_some() {
                rests = 0;
            }
            if SocketPool_next_timeout_ms(handle(name)) == 0 {
                rests = 0;
            }
            for socket in self.of(name) {
                if self.answer(socket, how % 2 == 1) {
                    rests = 0;
                }
            }
        }
        let Pool { draining, tells_drained, .. } = self.pools[at];
        for socket in self.of(name) {
            let Socket { peer, coming, in_pool: Some(pooled), waits, .. } = &mut self.sockets[socket] else {
                continue;
            };
            let by_pool = pooled.by_pool.as_ref().unwrap();
            assert!(by_pool.opened && peer.is_some() && !by_pool.is_over && !draining, "its end is told");
            assert!(coming.is_empty(), "all has come");
            // What waited has left.
            *waits = 0;
        }
        let still_to_end = |pooled: &Pooled| pooled.pool == name && pooled.removed && pooled.ended.is_none();
        let mut pooled = self.sockets.iter().filter_map(|socket| socket.in_pool.as_ref());
        assert!(!pooled.any(still_to_end), "its end is told");
        if draining && self.count(name) == 0 {
            assert_eq!(SocketPool_state(handle(name)), SP_STATE_DRAINED);
            assert!(!tells_drained, "that it has drained is told");
        }
    }

    /// The places of those who are in the loop of a pool and have not ended.
    fn of(&self, pool: Handle) -> Vec<usize> {
        let is_its = |at: &usize| {
            let pooled = self.sockets[*at].in_pool.as_ref();
            pooled.is_some_and(|it| it.pool == pool && it.by_pool.is_some() && !it.refuses())
        };
        (0..self.sockets.len()).filter(is_its).collect()
    }
}
