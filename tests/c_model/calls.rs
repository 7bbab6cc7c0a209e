//! Calls with handles that name nothing, and calls on buffers.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use socketpool::capi::*;

use super::story::{Bytes, Handle, Story, What, handle, text};

/// A handle that names nothing of this kind, in one of the ways that there are.
fn wrong(story: &Story, what: What, how: usize, much: usize) -> Handle {
    let pooled = story.sockets.iter().filter_map(|socket| socket.in_pool.as_ref());
    let mut live: Vec<(What, Handle)> = Vec::new();
    live.extend(pooled.map(|pooled| (What::Connection, pooled.connection)));
    live.extend(story.arenas.iter().map(|arena| (What::Arena, *arena)));
    live.extend(story.pools.iter().map(|pool| (What::Pool, pool.handle)));
    live.extend(story.sockets.iter().map(|socket| (What::Socket, socket.handle)));
    live.extend(story.buffers.iter().map(|buffer| (What::Buffer, buffer.handle)));
    live.extend(story.polls.iter().map(|poll| (What::Poll, poll.handle)));
    live.extend(story.protections.iter().map(|(protection, _)| (What::Protection, *protection)));
    let own: Vec<_> = live.iter().filter(|(kind, _)| *kind == what).map(|(_, handle)| *handle).collect();
    let others: Vec<_> = live.iter().filter(|(kind, _)| *kind != what).map(|(_, handle)| *handle).collect();
    let dead: Vec<_> =
        story.dead.iter().filter(|(kind, _)| *kind == what).map(|(_, handle)| *handle).collect();
    let any = |of: &[Handle]| Story::pick(of, much).map(|at| of[at]);
    let made_up = (much as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize;
    let found = match how % 8 {
        0 => Some(0),
        1 | 2 => any(&dead),
        3 => any(&others),
        // Another generation, another kind, another place.
        4 => any(&own).map(|own| own ^ 1 << 63),
        5 => any(&own).map(|own| own | 0xf << 28),
        6 => any(&own).map(|own| own | 0x0fff_ffff),
        _ => None,
    };
    found.unwrap_or(made_up)
}

pub fn with_a_wrong_handle(story: &mut Story, which: usize, how: usize, much: usize) {
    let kinds =
        [What::Arena, What::Pool, What::Connection, What::Socket, What::Buffer, What::Poll, What::Protection];
    let what = kinds[which % kinds.len()];
    let name = wrong(story, what, how, much);
    let before = sp_bad_handles();
    names_nothing(what, name);
    assert!(sp_bad_handles() > before);
    assert!(!text(Socket_GetLastError()).is_empty());
    // A good one beside a bad one is as bad.
    if let (What::Pool | What::Socket | What::Connection, Some(socket), Some(pool)) =
        (what, story.sockets.first(), story.pools.first())
    {
        let (name, socket, pool) = (name, socket.handle, pool.handle);
        match what {
            What::Pool => {
                assert!(SocketPool_add(handle(name), handle(socket)).is_null());
                assert!(SocketPool_get(handle(name), handle(socket)).is_null());
                assert_eq!(sp_pool_remove_socket(handle(name), handle(socket)), -1);
            }
            What::Socket => {
                assert!(SocketPool_add(handle(pool), handle(name)).is_null());
                assert!(SocketPool_get(handle(pool), handle(name)).is_null());
                assert_eq!(sp_pool_remove_socket(handle(pool), handle(name)), -1);
            }
            _ => {
                assert_eq!(sp_pool_remove_connection(handle(pool), handle(name)), -1);
                assert_eq!(SocketPool_check_rate(handle(pool), handle(name)), 0);
            }
        }
        story.listen();
    }
}

unsafe extern "C-unwind" fn never(_: Connection_T, _: *mut c_void) -> i32 {
    unreachable!("there is nobody to visit")
}

unsafe extern "C-unwind" fn visits_nobody(_: Connection_T, _: *mut c_void) {
    unreachable!("there is nobody to visit")
}

/// Every function of this kind answers that there is no such thing.
pub fn names_nothing(what: What, name: Handle) {
    let mut room = [0_u8; 64];
    let at = room.as_mut_ptr();
    // SAFETY: every pointer is at room of ours that is as long as is said.
    unsafe {
        match what {
            What::Arena => {
                let mut place = handle(name);
                Arena_dispose(&raw mut place);
                assert!(place.is_null());
                if name != 0 {
                    assert!(SocketBuf_new(handle(name), 64).is_null());
                    assert!(SocketPool_new(handle(name), 1, 64).is_null());
                    assert!(SocketSYNProtect_new(handle(name), 1, 1).is_null());
                } else {
                    // NULL is the process: an error that can be counted is another's.
                    assert_eq!(Connection_fd(null_mut()), -1);
                }
            }
            What::Pool => pool_is_none(name),
            What::Connection => connection_is_none(name),
            What::Socket => {
                let socket = handle(name);
                let mut place = socket;
                Socket_free(&raw mut place);
                assert!(place.is_null());
                assert_eq!(Socket_recv(socket, at.cast(), 64, 0), -1);
                assert_eq!(Socket_recv(socket, null_mut(), 0, 0), -1);
                assert_eq!(Socket_send(socket, at.cast(), 64, 0), -1);
                assert!(Socket_accept(socket).is_null());
                assert_eq!(Socket_bind(socket, null(), 0), -1);
                assert_eq!(Socket_connect(socket, c"127.0.0.1".as_ptr(), 1), -1);
                let did = [
                    Socket_listen(socket, 1),
                    Socket_shutdown(socket, 2),
                    Socket_fd(socket),
                    Socket_setnonblocking(socket),
                    Socket_setreuseaddr(socket),
                    Socket_setnodelay(socket, 1),
                    Socket_setkeepalive(socket, 1, 1, 1),
                ];
                assert_eq!(did, [-1; 7]);
                let are = [
                    Socket_isconnected(socket),
                    Socket_isbound(socket),
                    Socket_islistening(socket),
                    Socket_getpeerport(socket),
                    Socket_getlocalport(socket),
                ];
                assert_eq!(are, [0; 5]);
                assert_eq!(text(Socket_getpeeraddr(socket)), "(unknown)");
                assert_eq!(text(Socket_getlocaladdr(socket)), "(unknown)");
            }
            What::Buffer => buffer_is_none(name),
            What::Poll => {
                let poll = handle(name);
                let (mut place, mut events) = (poll, null_mut());
                SocketPoll_free(&raw mut place);
                assert!(place.is_null());
                let did = [
                    sp_poll_add_fd(poll, 0, 1, null_mut()),
                    sp_poll_mod_fd(poll, 0, 1, null_mut()),
                    sp_poll_del_fd(poll, 0),
                    sp_poll_add_socket(poll, null_mut(), 1, null_mut()),
                    sp_poll_mod_socket(poll, null_mut(), 1, null_mut()),
                    sp_poll_del_socket(poll, null_mut()),
                    SocketPoll_wait(poll, &raw mut events, -1),
                    SocketPoll_setdefaulttimeout(poll, 1),
                ];
                assert_eq!(did, [-1; 8]);
                assert_eq!(SocketPoll_getdefaulttimeout(poll), 0);
                assert_eq!(SocketPoll_getregisteredcount(poll), 0);
                assert!(SocketPoll_get_backend_name(poll).is_null() && events.is_null());
            }
            What::Protection => protection_is_none(name),
        }
    }
}

/// As `names_nothing`.
fn pool_is_none(name: Handle) {
    let pool: SocketPool_T = handle(name);
    let mut place = pool;
    let mut event = std::mem::MaybeUninit::uninit();
    let mut stats = std::mem::MaybeUninit::uninit();
    let mut found = null_mut();
    // SAFETY: every pointer is at a local.
    unsafe {
        SocketPool_free(&raw mut place);
        assert!(place.is_null());
        assert_eq!(SocketPool_get_stats(pool, stats.as_mut_ptr()), -1);
        SocketPool_foreach(pool, Some(visits_nobody), null_mut());
        assert!(SocketPool_find(pool, Some(never), null_mut()).is_null());
        assert_eq!(SocketPool_filter(pool, Some(never), null_mut(), &raw mut found, 1), 0);
        assert_eq!(SocketPool_listen(pool, null(), 0), -1);
        assert_eq!(SocketPool_next_event(pool, event.as_mut_ptr()), -1);
    }
    let health = SocketPool_health(pool);
    assert!(health.is_null());
    assert_eq!(SocketPoolHealth_total_count(health), 0);
    assert_eq!((SocketPool_count(pool), SocketPool_get_idle_timeout(pool)), (0, 0));
    assert_eq!((SocketPool_is_drained(pool), SocketPool_next_timeout_ms(pool)), (0, 0));
    let did = [
        SocketPool_state(pool),
        SocketPool_tick(pool),
        SocketPool_drain(pool),
        SocketPool_force_close_all(pool),
        SocketPool_prewarm(pool, 1),
        SocketPool_set_bufsize(pool, 64),
        SocketPool_resize(pool, 1),
        SocketPool_set_syn_protection(pool, null_mut()),
        SocketPool_setmaxperip(pool, 1),
        SocketPool_set_global_rate(pool, 1, 1),
        SocketPool_setconnrate(pool, 1, 1),
        SocketPool_set_write_stall_timeout(pool, 1),
        SocketPool_set_first_message_timeout(pool, 1),
        SocketPool_set_max_lifetime(pool, 1),
        SocketPool_set_idle_timeout(pool, 1),
        SocketPool_set_eviction(pool, 0),
        SocketPool_set_when_full(pool, 1),
        SocketPool_set_close_callback(pool, None, null_mut()),
        SocketPool_turn(pool, -1),
        SocketPool_pollfd(pool),
        SocketPool_wake(pool),
    ];
    assert_eq!(did, [-1; 21]);
}

/// As `names_nothing`.
fn connection_is_none(name: Handle) {
    let connection: Connection_T = handle(name);
    let (mut peer, mut length) = ([0; 64], 0);
    // SAFETY: every pointer is at a local.
    unsafe {
        assert_eq!(Connection_peer(connection, peer.as_mut_ptr(), 64), -1);
        assert!(Connection_input(connection, &raw mut length).is_null());
        assert_eq!(Connection_send(connection, peer.as_ptr().cast(), 1), -1);
    }
    assert!(Connection_socket(connection).is_null());
    assert!(Connection_inbuf(connection).is_null() && Connection_outbuf(connection).is_null());
    assert!(Connection_userdata(connection).is_null() && Connection_data(connection).is_null());
    assert_eq!((Connection_created_at(connection), Connection_last_active(connection)), (0, 0));
    assert_eq!((Connection_isactive(connection), Connection_receive(connection)), (0, -1));
    let did = [
        Connection_fd(connection),
        Connection_touch(connection),
        Connection_set_userdata(connection, null_mut()),
        Connection_setdata(connection, null_mut()),
        Connection_consume(connection, 0),
        sp_connection_close(connection),
        sp_connection_close_when_done(connection),
    ];
    assert_eq!(did, [-1; 7]);
}

/// As `names_nothing`.
fn buffer_is_none(name: Handle) {
    let buffer: SocketBuf_T = handle(name);
    let mut place = buffer;
    let mut room = [0_u8; 64];
    let at = room.as_mut_ptr();
    // SAFETY: every pointer is at room of ours that is as long as is said.
    unsafe {
        SocketBuf_release(&raw mut place);
        assert!(place.is_null());
        assert_eq!(SocketBuf_write(buffer, at.cast(), 64), 0);
        assert_eq!(SocketBuf_read(buffer, at.cast(), 64), 0);
        assert_eq!(SocketBuf_peek(buffer, at.cast(), 64), 0);
        assert_eq!(SocketBuf_find(buffer, at.cast(), 1), -1);
        assert_eq!(SocketBuf_readline(buffer, at.cast(), 64), -1);
        assert_eq!(SocketBuf_readv(buffer, null(), 0), -1);
        assert_eq!(SocketBuf_writev(buffer, null(), 0), -1);
    }
    assert_eq!((SocketBuf_readable(buffer), SocketBuf_available(buffer)), (0, 0));
    assert_eq!((SocketBuf_writeable(buffer), SocketBuf_space(buffer)), (0, 0));
    assert_eq!((SocketBuf_empty(buffer), SocketBuf_full(buffer), SocketBuf_ensure(buffer, 1)), (1, 0, 0));
    assert!(SocketBuf_readptr(buffer).is_null() && SocketBuf_writeptr(buffer).is_null());
    let did = [
        SocketBuf_consume(buffer, 0),
        SocketBuf_produce(buffer, 0),
        SocketBuf_written(buffer, 0),
        SocketBuf_clear(buffer),
        SocketBuf_secureclear(buffer),
        SocketBuf_reserve(buffer, 1),
        SocketBuf_compact(buffer),
    ];
    assert_eq!(did, [-1; 7]);
}

/// A buffer of a connection whose bytes the pool's own loop moves: it is there, and not to be used.
pub fn buffer_refuses(name: Handle) {
    let buffer: SocketBuf_T = handle(name);
    let mut room = [0_u8; 8];
    let at = room.as_mut_ptr();
    // SAFETY: every pointer is at room of ours that is as long as is said.
    unsafe {
        assert_eq!(SocketBuf_write(buffer, at.cast(), 8), 0);
        assert_eq!(SocketBuf_read(buffer, at.cast(), 8), 0);
    }
    assert_eq!((SocketBuf_readable(buffer), SocketBuf_writeable(buffer)), (0, 0));
    assert!(SocketBuf_readptr(buffer).is_null() && SocketBuf_writeptr(buffer).is_null());
    assert_eq!((SocketBuf_reserve(buffer, 8), SocketBuf_produce(buffer, 8)), (-1, -1));
}

/// As `names_nothing`.
fn protection_is_none(name: Handle) {
    let protection: SocketSYNProtect_T = handle(name);
    let (mut place, ip) = (protection, c"192.0.2.1".as_ptr());
    // SAFETY: the place is ours, and the text is one.
    unsafe {
        SocketSYNProtect_free(&raw mut place);
        assert!(place.is_null());
        assert_eq!(SocketSYNProtect_check(protection, ip, null_mut()), 0);
        SocketSYNProtect_report_success(protection, ip);
        SocketSYNProtect_report_failure(protection, ip, 1);
        let did = [
            SocketSYNProtect_whitelist_add(protection, ip),
            SocketSYNProtect_whitelist_contains(protection, ip),
            SocketSYNProtect_blacklist_add(protection, ip, 1),
            SocketSYNProtect_blacklist_contains(protection, ip),
        ];
        assert_eq!(did, [0; 4]);
    }
    SocketSYNProtect_reset(protection);
    assert_eq!(SocketSYNProtect_cleanup(protection), 0);
}

/// Whose a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is of no connection, and grows.
    Alone,
    Pooled,
    /// A connection's that ends when nothing waits any more.
    Draining,
}

/// One call on a buffer that is there.
pub fn on_buffer(name: Handle, bytes: &mut Bytes, kind: Kind, how: usize, fresh: &[u8]) {
    let buffer: SocketBuf_T = handle(name);
    let n = fresh.len();
    let room = bytes.capacity.saturating_sub(bytes.waiting.len());
    let mut into = vec![0_u8; n];
    // SAFETY: every pointer is at room of ours, or at room that the buffer says there is.
    unsafe {
        match how % 12 {
            0..=2 => {
                let fits = n.min(room);
                assert_eq!(SocketBuf_write(buffer, fresh.as_ptr().cast(), n), fits);
                bytes.waiting.extend(&fresh[..fits]);
            }
            3 | 4 => {
                let read = SocketBuf_read(buffer, into.as_mut_ptr().cast(), n);
                assert_eq!(read, n.min(bytes.waiting.len()));
                assert!(bytes.waiting.drain(..read).eq(into[..read].iter().copied()));
            }
            5 => {
                let seen = SocketBuf_peek(buffer, into.as_mut_ptr().cast(), n);
                assert_eq!(seen, n.min(bytes.waiting.len()));
                assert!(bytes.waiting.iter().take(seen).eq(&into[..seen]));
            }
            6 => {
                let does = n <= bytes.waiting.len();
                assert_eq!(SocketBuf_consume(buffer, n), if does { 0 } else { -1 });
                if does {
                    bytes.waiting.drain(..n);
                }
            }
            7 => {
                let at = SocketBuf_writeptr(buffer);
                assert_eq!(at.is_null(), room == 0);
                let fits = n.min(room);
                if fits > 0 {
                    at.cast::<u8>().copy_from_nonoverlapping(fresh.as_ptr(), fits);
                }
                assert_eq!(SocketBuf_produce(buffer, fits), 0);
                assert_eq!(SocketBuf_produce(buffer, room + 1), -1);
                bytes.waiting.extend(&fresh[..fits]);
            }
            8 => {
                let cleared =
                    if n.is_multiple_of(2) { SocketBuf_clear(buffer) } else { SocketBuf_secureclear(buffer) };
                assert_eq!(cleared, 0);
                bytes.waiting.clear();
            }
            9 => {
                let all: Vec<u8> = bytes.waiting.iter().copied().collect();
                let needle = &fresh[..n.min(2)];
                let expected = if needle.is_empty() {
                    0
                } else {
                    let mut windows = all.windows(needle.len());
                    windows.position(|window| window == needle).map_or(-1, usize::cast_signed)
                };
                assert_eq!(SocketBuf_find(buffer, needle.as_ptr().cast(), needle.len()), expected);
            }
            10 => {
                let all: Vec<u8> = bytes.waiting.iter().copied().collect();
                let end = all.iter().position(|byte| *byte == b'\n');
                let line = end.map(|end| all[..end].strip_suffix(b"\r").unwrap_or(&all[..end]));
                let read = SocketBuf_readline(buffer, into.as_mut_ptr().cast(), n);
                match line {
                    Some(line) if line.len() < n => {
                        assert_eq!(read, line.len().cast_signed());
                        assert_eq!((&into[..line.len()], into[line.len()]), (line, 0));
                        bytes.waiting.drain(..=end.unwrap());
                    }
                    _ => assert_eq!(read, -1),
                }
            }
            _ => {
                let reserved = SocketBuf_reserve(buffer, n);
                let does = n <= room || kind == Kind::Alone;
                assert_eq!(reserved, if does { 0 } else { -1 });
                if n > room && kind == Kind::Alone {
                    bytes.capacity = (bytes.capacity * 2).max(bytes.waiting.len() + n);
                }
            }
        }
        let at = SocketBuf_readptr(buffer).cast::<u8>();
        assert_eq!(at.is_null(), bytes.waiting.is_empty());
        if !at.is_null() {
            assert!(bytes.waiting.iter().eq(std::slice::from_raw_parts(at, bytes.waiting.len())));
        }
    }
    if kind == Kind::Draining && bytes.waiting.is_empty() && SocketBuf_writeable(buffer) == 0 {
        // It was the last that its connection had to do.
        *bytes = Bytes::default();
    }
    let (waiting, capacity) = (bytes.waiting.len(), bytes.capacity);
    let room = capacity.saturating_sub(waiting);
    assert_eq!((SocketBuf_readable(buffer), SocketBuf_writeable(buffer)), (waiting, room));
    let are = (SocketBuf_empty(buffer), SocketBuf_full(buffer));
    assert_eq!(are, (i32::from(waiting == 0), i32::from(room == 0)));
}
