//! Connections that the program drives: sockets it has added, and reads and writes by calls of this interface. The pool
//! hears of every byte, keeps the limits, and decides ends; the program sees them as the end of the stream.

use std::collections::HashMap;
use std::ffi::c_int;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;

use super::connection::sp_connection;
use super::handles::{self, Kind, Pinned};
use super::pool::sp_pool;
use super::shared::{self, Name, Shared, Stage};
use super::status::{Failure, attempt};
use super::{shortage, socket, waiting};
use crate::connection::Driver;
use crate::id::ConnId;
use crate::net::{OsStream, is_shortage};
use crate::reason::Refusal;
use crate::server::Driven;

/// A connection as the pool has it, for one call.
pub(super) type Conn<'a> = Driven<'a, Name, crate::net::Os>;

/// Which connection has, or has had, a descriptor: programs add those to their loops.
static BY_FD: Mutex<Option<HashMap<RawFd, Name, crate::hash::FoldedState>>> = Mutex::new(None);

fn by_fd() -> MutexGuard<'static, Option<HashMap<RawFd, Name, crate::hash::FoldedState>>> {
    BY_FD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which connection has this descriptor, if one has.
pub(super) fn name_of_fd(fd: RawFd) -> Option<u64> {
    let name = by_fd().as_ref()?.get(&fd).copied()?;
    // Once it has ended its descriptor is somebody else's.
    has_descriptor(handles::view(name.get(), Kind::Socket)).is_ok().then_some(name.get())
}

/// Adds a socket to a pool, which owns it if that succeeds.
pub(super) fn add(pool: *mut sp_pool, socket: u64) -> Result<u64, Failure> {
    let held = handles::hold_socket(socket, Kind::Socket)
        .map_err(|bad| Failure::handle("socket", Kind::Socket, bad))?;
    if handles::connection_of(socket).is_some() {
        return Err(Failure::state("the socket is in a pool already"));
    }
    // SAFETY: the socket is held, so its descriptor is open; this second owner lets go of it below, whatever happens.
    let fd = unsafe { OwnedFd::from_raw_fd(held.fd) };
    let stream = match OsStream::adopt(fd) {
        Ok(stream) => stream,
        Err((fd, error)) => {
            std::mem::forget(fd);
            return Err(Failure::system("socket cannot be taken in", &error));
        }
    };
    let stream = ManuallyDrop::new(stream);
    let Some(peer) = stream.connected_peer() else {
        return Err(Failure::state("the socket is not connected"));
    };
    let listener = handles::listener_of(socket);
    let added = shared::with_due(pool, |inner| {
        if inner.stage == Stage::Freed {
            return Err(Failure::state("the pool is being freed"));
        }
        let stream = ManuallyDrop::into_inner(stream);
        let (driver, admitted) = match inner.stage {
            Stage::Turned => (Driver::Pool, inner.pool.add_stream(stream, peer)),
            _ => (Driver::Application, inner.pool.lend(stream, peer)),
        };
        let id = admitted.map_err(|refused| {
            std::mem::forget(refused.stream);
            if let (Refusal::Full, Some(listener)) = (&refused.reason, listener) {
                waiting::refused(listener, inner.own_name);
            }
            Failure::refused(refused.reason)
        })?;
        let now = inner.pool.now().as_millis();
        let name = handles::join(socket, inner.own_name, id.as_u64(), now, driver).ok().and_then(Name::new);
        let Some(name) = name else {
            inner.pool.withdraw(id);
            return Err(Failure::state("the socket is in a pool already"));
        };
        inner.pool.hang(id, name);
        if let Some(listener) = listener
            && !inner.listeners.contains(&listener)
        {
            inner.listeners.retain(|listener| handles::hold_socket(*listener, Kind::Socket).is_ok());
            inner.listeners.push(listener);
            if handles::fed_by(listener).is_some_and(|other| other != inner.own_name) {
                waiting::feeds_several(listener);
            }
            handles::feed(listener, inner.own_name);
        }
        Ok(name)
    })?;
    by_fd().get_or_insert_default().insert(held.fd, added);
    // It may have been polled before it was added.
    super::poll::has_joined(added.get());
    Ok(added.get())
}

/// A connection by its name, and its pool.
fn find(connection: u64) -> Result<(Pinned<Shared>, handles::Facts), Failure> {
    let facts = handles::facts(connection, Kind::Connection).map_err(bad)?;
    let pool = handles::pin::<Shared>(facts.owner).map_err(bad)?;
    Ok((pool, facts))
}

fn bad(reason: handles::Bad) -> Failure {
    Failure::handle("connection", Kind::Connection, reason)
}

/// Runs a call on a connection that the program drives, alone with its pool. `ended` is the answer when the pool has ended it
/// and the program has not removed it yet.
pub(super) fn with<T>(
    connection: u64,
    ended: impl FnOnce() -> Result<T, Failure>,
    run: impl FnOnce(&mut Conn<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (pool, facts) = find(connection)?;
    let mut inner = pool.lock()?;
    // Its id is good in this pool for ever or never again, so what was read before the lock was taken will do.
    let Some(id) = ConnId::from_u64(facts.id) else { return ended() };
    if let Some(mut conn) = inner.pool.driven(id) {
        let answer = run(&mut conn);
        handles::set_active_ms(connection, conn.last_active().as_millis());
        drop(inner);
        pool.hurry();
        return answer;
    }
    if inner.pool.drives(id) {
        return Err(Failure::state("the pool's own loop moves its bytes: see sp_connection_receive"));
    }
    handles::facts(connection, Kind::Connection).map_err(bad)?;
    ended()
}

/// The same, for one that must be of this pool, and live.
pub(super) fn of<T>(
    pool: *mut sp_pool,
    connection: u64,
    run: impl FnOnce(&mut Conn<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    belongs(pool, connection)?;
    with(connection, || Err(Failure::state("the pool has ended the connection")), run)
}

/// Whether a connection is of this pool.
fn belongs(pool: *mut sp_pool, connection: u64) -> Result<(), Failure> {
    let facts = handles::facts(connection, Kind::Connection).map_err(bad)?;
    if facts.owner == pool.addr() as u64 {
        return Ok(());
    }
    shared::pin(pool)?;
    Err(Failure::argument("connection", "is another pool's"))
}

/// The connection that a socket is, which must be in a pool.
pub(super) fn connection_of(socket: u64) -> Result<u64, Failure> {
    handles::hold_socket(socket, Kind::Socket).map_err(|bad| Failure::handle("socket", Kind::Socket, bad))?;
    handles::connection_of(socket).ok_or_else(|| Failure::state("the socket is in no pool"))
}

/// The connection that a socket is in a pool; NULL if it is in no pool, or in another.
pub(super) fn get(pool: *mut sp_pool, socket: u64) -> Result<*mut sp_connection, Failure> {
    handles::check(socket, Kind::Socket).map_err(|bad| Failure::handle("socket", Kind::Socket, bad))?;
    handles::check(pool.addr() as u64, Kind::Pool).map_err(|bad| Failure::handle("pool", Kind::Pool, bad))?;
    let connection = handles::connection_of(socket).filter(|connection| {
        let owner = handles::facts(*connection, Kind::Connection).map_or(0, |facts| facts.owner);
        owner == pool.addr() as u64
    });
    Ok(std::ptr::without_provenance_mut(connection.unwrap_or(0) as usize))
}

/// Whether the descriptor of a socket is still its own: the pool's own loop closes some before it tells that they have ended,
/// and then the number is anybody's.
pub(super) fn has_descriptor(socket: u64) -> Result<(), Failure> {
    with_descriptor(socket, || Ok(()))
}

/// Runs something with the descriptor of a socket that is held, which is not closed meanwhile.
pub(super) fn with_descriptor<T>(
    socket: u64,
    run: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    handles::check(socket, Kind::Socket).map_err(|bad| Failure::handle("socket", Kind::Socket, bad))?;
    let Some(connection) = handles::connection_of(socket).filter(|it| !handles::closes_descriptor(*it))
    else {
        return run();
    };
    let (pool, facts) = find(connection)?;
    let inner = pool.lock()?;
    if ConnId::from_u64(facts.id).is_some_and(|id| inner.pool.drives(id)) {
        run()
    } else {
        Err(Failure::state("the pool has closed the socket"))
    }
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
            let received = socket::moved("recv", received)?;
            if let Some(n @ 1..) = received
                && flags & libc::MSG_PEEK == 0
            {
                conn.received(n);
            }
            Ok(received)
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

/// For how long a wait may last in which connections of these pools are.
pub(super) fn next_timeout(pools: &[u64]) -> Option<Duration> {
    let due = |pool: &u64| handles::pin::<Shared>(*pool).ok()?.lock().ok()?.next_timeout();
    pools.iter().filter_map(due).min()
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
            Ok(())
        });
        shared::tell(*pool);
    }
}

/// Removes a connection from the pool that it must be of, if one is named, and closes it. The close callback is to be told.
pub(super) fn remove(pool: Option<*mut sp_pool>, connection: u64) -> Result<u64, Failure> {
    if let Some(pool) = pool {
        belongs(pool, connection)?;
    }
    let (owner, _) = find(connection)?;
    let mut inner = owner.lock()?;
    let facts = handles::facts(connection, Kind::Connection).map_err(bad)?;
    // Only now: what was good before the lock was taken may be a newcomer's descriptor.
    super::poll::forget(connection);
    let name = Name::new(connection).ok_or_else(|| bad(handles::Bad::Null))?;
    inner.remove(name).map_err(bad)?;
    drop(inner);
    shortage::descriptor_is_free();
    Ok(facts.owner)
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
