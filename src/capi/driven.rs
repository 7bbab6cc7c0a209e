//! Connections that the program drives: sockets it has added, and reads and writes by calls of this interface. The pool
//! hears of every byte, keeps the limits, and decides ends; the program sees them as the end of the stream.

use std::ffi::c_int;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use socket2::SockRef;

use super::call::{Call, NoCall};
use super::common::Common;
use super::handles::{self, HeldSocket, Kind, Member};
use super::pool::sp_pool;
use super::shared::{self, Inner, Name, Shared, Stage};
use super::status::{Failure, attempt};
use super::telling::{self, Ends};
use super::{socket, waiting};
use crate::clock::Nanos;
use crate::connection::Driver;
use crate::id::ConnId;
use crate::net::{OsStream, is_shortage, sys};
use crate::peer::Peer;
use crate::reason::Refusal;
use crate::server::Driven;

/// A connection as the pool has it, for one call.
pub(super) type Conn<'a> = Driven<'a, Name, crate::net::Os>;

/// The pools of the process: programs add descriptors of their connections to loops.
pub(super) static POOLS: Common<Mutex<Vec<u64>>> = Common::<Mutex<_>>::new(Vec::new());

/// There is another pool.
pub(super) fn is_made(pool: u64) {
    let mut pools = POOLS.lock();
    pools.retain(|pool| handles::is_pool(*pool));
    pools.push(pool);
}

/// Which connection has this descriptor, if one has.
pub(super) fn name_of_fd(fd: RawFd) -> Option<u64> {
    let pools = POOLS.lock().clone();
    pools.into_iter().find_map(|pool| {
        let name = handles::pin::<Shared>(pool).ok()?.lock().ok()?.name_of_fd(fd)?;
        Some(name.get())
    })
}

/// The stream that a socket is, which the socket owns as well: so it must not be dropped, and whoever is on the other side.
#[inline]
fn stream_of(held: &HeldSocket, accepted: Option<Peer>) -> Result<(ManuallyDrop<OsStream>, Peer), Failure> {
    let refused = |error: io::Error| Failure::system("socket cannot be taken in", &error);
    if accepted.is_some() {
        // The program may have made it a blocking one since.
        sys::set_nonblocking(held.as_fd()).map_err(refused)?;
    }
    // SAFETY: the socket is held, so its descriptor is open; this second owner lets go of it, whatever happens.
    let fd = unsafe { OwnedFd::from_raw_fd(held.fd) };
    if let Some(peer) = accepted {
        return Ok((ManuallyDrop::new(OsStream::accepted(fd)), peer));
    }
    let stream = OsStream::adopt(fd).map_err(|(fd, error)| {
        std::mem::forget(fd);
        refused(error)
    })?;
    let stream = ManuallyDrop::new(stream);
    let peer = stream.connected_peer().ok_or_else(|| Failure::state("the socket is not connected"))?;
    Ok((stream, peer))
}

/// Adds a socket to a pool, which owns it if that succeeds.
pub(super) fn add(function: &str, pool: *mut sp_pool, socket: u64) -> u64 {
    let mut ends = Ends::None;
    let added = attempt(|| {
        let held = handles::hold_socket(socket, Kind::Socket)
            .map_err(|bad| Failure::handle("socket", Kind::Socket, bad))?;
        shared::with_due(pool, |inner| {
            let added = take_in(inner, socket, &held);
            ends = inner.ends_to_tell();
            added
        })
    });
    if let Ok(name) = added {
        // It may have been polled before it was added.
        super::poll::has_joined(name);
    }
    telling::tell_and_answer(function, 0, added, ends)
}

#[inline(always)] // It is called once, and what it answers need not be carried through memory then.
fn take_in(inner: &mut Inner, socket: u64, held: &HeldSocket) -> Result<u64, Failure> {
    let in_a_pool = || Failure::state("the socket is in a pool already");
    if held.is_in_a_pool() {
        return Err(in_a_pool());
    }
    if inner.stage == Stage::Freed {
        return Err(Failure::state("the pool is being freed"));
    }
    let origin = held.origin();
    let listener = origin.map(|(listener, _)| listener);
    let (stream, peer) = stream_of(held, origin.map(|(_, peer)| peer))?;
    let stream = ManuallyDrop::into_inner(stream);
    let name = Name::new(handles::view(socket, Kind::Connection)).expect("its kind is not 0");
    let (driver, admitted) = match inner.stage {
        Stage::Turned => (Driver::Pool, inner.pool.add_stream(stream, peer)),
        _ => (Driver::Application, inner.pool.lend(stream, peer, name)),
    };
    let id = admitted.map_err(|refused| {
        std::mem::forget(refused.stream);
        let listener = listener.filter(|listener| handles::lives(*listener));
        if let (Refusal::Full, Some(listener)) = (&refused.reason, listener) {
            waiting::refused(listener, inner.own_name);
        }
        Failure::refused(refused.reason)
    })?;
    let now = inner.pool.time_of_tick().as_millis();
    if held.join(socket, inner.own_name, id.as_u64(), now, driver).is_none() {
        inner.pool.withdraw(id);
        return Err(in_a_pool());
    }
    if driver == Driver::Pool {
        inner.pool.hang(id, name);
    }
    if let Some(listener) = listener
        && inner.listeners.last() != Some(&listener)
        && !inner.listeners.contains(&listener)
    {
        inner.is_fed_by(listener);
    }
    Ok(name.get())
}

impl Inner {
    /// Notes that a listener feeds this pool, if it still listens.
    #[cold]
    fn is_fed_by(&mut self, listener: u64) {
        if !handles::lives(listener) {
            return;
        }
        self.listeners.retain(|listener| handles::hold_socket(*listener, Kind::Socket).is_ok());
        self.listeners.push(listener);
        if handles::fed_by(listener).is_some_and(|other| other != self.own_name) {
            waiting::feeds_several(listener);
        }
        handles::feed(listener, self.own_name);
    }
}

#[cold]
fn bad(reason: handles::Bad) -> Failure {
    Failure::handle("connection", Kind::Connection, reason)
}

/// Runs a call on a connection that the program drives, alone with its pool. The pool, which may be gone, may have ended it, and
/// the program not have removed it yet: then there is `None`.
#[inline(always)]
pub(super) fn with_member<T>(
    member: Member,
    connection: u64,
    run: impl FnOnce(Option<&mut Conn<'_>>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut inner = match Call::with(member) {
        Ok(call) => call,
        // A pool that is gone has ended it, and its name answers until that is told.
        Err(NoCall::NoPool(_)) if handles::check(connection, Kind::Connection).is_ok() => return run(None),
        Err(why) => return Err(why.told(bad)),
    };
    // Its id is good in this pool for ever or never again, so what was read before the lock was taken will do.
    if let Some(id) = ConnId::from_u64(member.id) {
        if let Some(mut conn) = inner.pool.driven(id) {
            let was_active = conn.last_active();
            let answer = run(Some(&mut conn));
            if conn.last_active() != was_active {
                member.set_active_ms(conn.last_active().as_millis());
            }
            inner.leave();
            return answer;
        }
        is_gone(&inner, id, connection)?;
    }
    run(None)
}

/// Asks a connection that the program drives something that changes nothing, and that cannot fail or panic. `None` if there is
/// none.
#[inline(always)]
pub(super) fn ask<T>(connection: u64, ask: impl FnOnce(&mut Conn<'_>) -> T) -> Option<T> {
    let member = handles::member(connection).ok()?;
    let mut inner = Call::with(member).ok()?;
    let id = ConnId::from_u64(member.id);
    let answer = id.and_then(|id| inner.pool.driven(id)).map(|mut conn| ask(&mut conn));
    inner.leave();
    answer
}

/// Why a connection cannot be driven, unless the pool has ended it.
#[cold]
fn is_gone(inner: &Inner, id: ConnId, connection: u64) -> Result<(), Failure> {
    if inner.pool.drives(id) {
        return Err(Failure::state("the pool's own loop moves its bytes: see sp_connection_receive"));
    }
    handles::facts(connection, Kind::Connection).map(|_| ()).map_err(bad)
}

/// The same, for one of whom nothing but the name is known, with what to answer if it has ended.
#[inline]
pub(super) fn with<T>(
    connection: u64,
    ended: impl FnOnce() -> Result<T, Failure>,
    run: impl FnOnce(&mut Conn<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let member = handles::member(connection).map_err(bad)?;
    with_member(member, connection, |conn| match conn {
        Some(conn) => run(conn),
        None => ended(),
    })
}

/// The same for one that must be of this pool, and live, and for what is no activity.
#[inline(always)] // It is all that a function of C's is.
pub(super) fn of<T>(
    pool: *mut sp_pool,
    connection: u64,
    run: impl FnOnce(&mut Conn<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let member = member_of(pool, connection)?;
    let mut inner = Call::with(member).map_err(|why| why.told(bad))?;
    let id = ConnId::from_u64(member.id);
    if let Some(mut conn) = id.and_then(|id| inner.pool.driven(id)) {
        let answer = run(&mut conn);
        inner.leave();
        return answer;
    }
    id.map_or(Ok(()), |id| is_gone(&inner, id, connection))?;
    Err(Failure::state("the pool has ended the connection"))
}

/// A connection that must be of this pool.
#[inline(always)]
fn member_of(pool: *mut sp_pool, connection: u64) -> Result<Member, Failure> {
    let member = handles::member(connection).map_err(bad)?;
    if member.owner == pool.addr() as u64 { Ok(member) } else { Err(is_of_another(pool, member)) }
}

#[cold]
fn is_of_another(pool: *mut sp_pool, member: Member) -> Failure {
    if let Err(reason) = handles::check(member.owner, Kind::Pool) {
        return bad(reason);
    }
    match shared::pin(pool) {
        Ok(_) => Failure::argument("connection", "is another pool's"),
        Err(failure) => failure,
    }
}

/// The connection that a socket is, which must be in a pool.
pub(super) fn connection_of(socket: u64) -> Result<u64, Failure> {
    handles::check(socket, Kind::Socket).map_err(|bad| Failure::handle("socket", Kind::Socket, bad))?;
    handles::connection_of(socket).ok_or_else(|| Failure::state("the socket is in no pool"))
}

/// Does something with the socket of a connection, whose pool is locked.
fn on_socket<T>(conn: &Conn<'_>, run: impl FnOnce(SockRef<'_>) -> T) -> T {
    // SAFETY: nobody closes it while the lock is held.
    let fd = unsafe { BorrowedFd::borrow_raw(conn.fd()) };
    run(SockRef::from(&fd))
}

/// Receives from the socket of a connection. `None`: nothing has arrived.
pub(super) fn receive(
    connection: u64,
    into: &mut [MaybeUninit<u8>],
    flags: c_int,
) -> Result<Option<usize>, Failure> {
    with(
        connection,
        || Ok(Some(0)),
        |conn| {
            // The lock is held, so it must not wait, whatever the program has made of its socket.
            let received = on_socket(conn, |socket| socket.recv_with_flags(into, flags | libc::MSG_DONTWAIT));
            let received = socket::moved("recv", received);
            match received {
                Ok(Some(n @ 1..)) if flags & libc::MSG_PEEK == 0 => conn.received(n),
                Ok(Some(0)) if !into.is_empty() => conn.received_last(),
                _ => {}
            }
            received
        },
    )
}

/// Sends to the socket of a connection. `None`: nothing could be sent now.
pub(super) fn send(connection: u64, bytes: &[u8], flags: c_int) -> Result<Option<usize>, Failure> {
    let ended = || Err(Failure::system("send", &io::Error::from_raw_os_error(libc::EPIPE)));
    with(connection, ended, |conn| {
        let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let sent = on_socket(conn, |socket| socket.send_with_flags(bytes, flags));
        let sent = match sent {
            Err(error) if is_shortage(&error) => None,
            sent => socket::moved("send", sent)?,
        };
        if let Some(n @ 1..) = sent {
            conn.sent(n);
        }
        Ok(sent)
    })
}

/// Shuts the socket of a connection down.
pub(super) fn shut(connection: u64, how: Shutdown) -> Result<(), Failure> {
    with(
        connection,
        || Ok(()),
        |conn| {
            on_socket(conn, |socket| socket.shutdown(how))
                .map_err(|error| Failure::system("shutdown", &error))
        },
    )
}

/// The program hears through a `SocketPoll` when something comes for a connection: its silence is the peer's.
pub(super) fn observe(connection: u64) {
    let delayed = with(
        connection,
        || Ok(None),
        |conn| {
            conn.observe();
            Ok(conn.is_delayed_until().map(|until| (conn.fd(), until)))
        },
    );
    // Whoever has gone meanwhile need not be observed.
    if let Ok(Some((fd, until))) = delayed {
        super::poll::mute_reading(fd, Some(until.as_millis() + 1));
    }
}

/// Something has come for a connection, and the program is told. It may read that without telling us.
pub(super) fn is_told(connection: u64) {
    let never_active = handles::facts(connection, Kind::Connection)
        .is_ok_and(|facts| handles::active_ms(connection) == Ok(facts.created_ms));
    if never_active {
        let _ = with(
            connection,
            || Ok(()),
            |conn| {
                conn.leave_unobserved();
                Ok(())
            },
        );
    }
}

/// Until when a wait may last in which connections of a pool are (CLOCK_MONOTONIC, in nanoseconds). Whoever makes that
/// earlier has those hurry who wait.
pub(super) fn next_deadline(pool: u64) -> u64 {
    let due = || Some(handles::pin::<Shared>(pool).ok()?.lock().ok()?.told_deadline());
    due().map_or(u64::MAX, Nanos::as_nanos)
}

/// A wait is over in which connections of these pools were: does what is due in them, and tells it.
pub(super) fn tick(pools: &[u64]) {
    for pool in pools {
        // A pool that has failed, or was freed meanwhile, does nothing any more.
        let _ = attempt(|| {
            let pinned = handles::pin::<Shared>(*pool).map_err(bad)?;
            let mut inner = pinned.lock()?;
            inner.pool.let_rest_end();
            inner.do_what_is_due();
            drop(inner);
            pinned.hurry();
            Ok(())
        });
        telling::tell(*pool);
    }
}

/// Removes a connection from the pool that it must be of, if one is named, and closes it. Its end may be to be told.
#[inline(always)] // It is all that two functions of C's are.
pub(super) fn remove(pool: Option<*mut sp_pool>, connection: u64) -> Result<Ends, Failure> {
    let member = match pool {
        Some(pool) => member_of(pool, connection)?,
        None => handles::member(connection).map_err(bad)?,
    };
    let mut inner = Call::with(member).map_err(|why| why.told(bad))?;
    let id = member.id_now(connection).map_err(bad)?;
    // Only now: what was good before the lock was taken may be a newcomer's descriptor, and so may be the number of one that
    // the pool has closed itself.
    if super::poll::are_there()
        && let Ok(held) = handles::hold_socket(connection, Kind::Connection)
    {
        super::poll::forget_everywhere(held.fd);
    }
    let name = Name::new(connection).ok_or_else(|| bad(handles::Bad::Null))?;
    inner.remove(member, name, id).map_err(bad)?;
    let ends = inner.ends_to_tell();
    inner.leave();
    Ok(ends)
}

/// What has come unread of a connection that was ended is dropped, so that its close does not reset what was sent.
pub(super) fn part(fd: RawFd) {
    // SAFETY: the caller has a name that keeps the descriptor open.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut dropped = [0; 4096];
    for _ in 0..MOST_DROPPED {
        match io::Read::read(&mut &*SockRef::from(&socket), &mut dropped) {
            Ok(1..) => {}
            _ => return,
        }
    }
}

const MOST_DROPPED: usize = 16;
