//! What a poll does together with pools, in whose waits they work.

use std::ffi::{c_int, c_void};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::AtomicI32;

use super::super::connection::sp_connection;
use super::super::guide::*;
use super::super::status::sp_last_errno;
use super::*;
use crate::net::sys::monotonic_nanos;

/// Numbers that no other test has, so that a number that is free again stays free.
static NUMBERS: AtomicI32 = AtomicI32::new(600);

/// A socket of ours, and its peer.
fn socket() -> (Socket_T, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = lift(listener.accept().unwrap().0.into(), NUMBERS.fetch_add(1, Ordering::Relaxed));
    (pointer(handles::name_socket(near).unwrap()), peer)
}

/// The same under the first free number from `number` on.
fn lift(fd: OwnedFd, number: c_int) -> OwnedFd {
    // SAFETY: the call takes numbers and no memory.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
    assert!(copy >= number);
    // SAFETY: the call returned it, nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

fn pointer<T>(handle: u64) -> *mut T {
    std::ptr::without_provenance_mut(handle as usize)
}

fn fd_of(socket: Socket_T) -> RawFd {
    hold(socket).unwrap().fd
}

/// A pool, a poll, and what they are to be cleared away with.
struct Scene {
    pool: SocketPool_T,
    poll: SocketPoll_T,
}

impl Scene {
    fn new() -> Self {
        Self { pool: SocketPool_new(null_mut(), 8, 4096), poll: SocketPoll_new(8) }
    }

    /// A connection that is registered for input.
    fn connection(&self) -> (Connection_T, Socket_T, TcpStream) {
        let (socket, peer) = socket();
        let connection = SocketPool_add(self.pool, socket);
        assert!(!connection.is_null());
        assert_eq!(sp_poll_add_fd(self.poll, fd_of(socket), READ, connection.cast()), 0);
        (connection, socket, peer)
    }

    fn wait(&self, timeout_ms: c_int) -> Vec<(Socket_T, *mut c_void, u32)> {
        wait(self.poll, timeout_ms).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        SocketPool_set_close_callback(self.pool, None, null_mut());
        // SAFETY: it points at our own field.
        unsafe { SocketPool_free(&raw mut self.pool) };
        // SAFETY: as above.
        unsafe { SocketPoll_free(&raw mut self.poll) };
    }
}

fn wait(poll: SocketPoll_T, timeout_ms: c_int) -> Option<Vec<(Socket_T, *mut c_void, u32)>> {
    let mut events = null_mut();
    // SAFETY: it points at a local.
    let n = unsafe { SocketPoll_wait(poll, &raw mut events, timeout_ms) };
    let n = usize::try_from(n).ok()?;
    // SAFETY: the array has `n` events, and no other wait has begun.
    let told = (0..n).map(|at| unsafe { *events.add(at) });
    Some(told.map(|event| (event.socket, event.data, event.events)).collect())
}

fn now_ms() -> u64 {
    monotonic_nanos() / 1_000_000
}

#[test]
fn a_connection_is_known_by_its_descriptor_and_told_with_its_socket() {
    let scene = Scene::new();
    let (connection, socket, mut peer) = scene.connection();
    assert_eq!(sp_poll_add_socket(scene.poll, socket, READ, null_mut()), -1);
    assert_eq!(sp_last_errno(), libc::EEXIST);
    peer.write_all(b"x").unwrap();
    assert_eq!(scene.wait(-1), [(socket, connection.cast(), READ)]);
    // Whatever ends the connection takes it out.
    assert_eq!(sp_pool_remove_connection(scene.pool, connection), 0);
    assert_eq!(SocketPoll_getregisteredcount(scene.poll), 0);
    assert_eq!(scene.wait(0), []);
}

#[test]
fn a_wait_is_the_turn_of_a_pool() {
    let scene = Scene::new();
    SocketPool_set_idle_timeout(scene.pool, 40);
    let (connection, socket, mut peer) = scene.connection();
    peer.write_all(b"x").unwrap();
    assert_eq!(scene.wait(-1).len(), 1);
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let n = driven::receive(connection.addr() as u64, &mut byte, 0);
    assert_eq!(n.unwrap(), Some(1));
    let start = now_ms();
    // Nothing comes: the wait wakes for the deadline, and the connection sees its end.
    let told = std::iter::repeat_with(|| scene.wait(-1)).find(|told| !told.is_empty()).unwrap();
    assert_eq!(told, [(socket, connection.cast(), READ | HANGUP)]);
    assert!((30..5000).contains(&(now_ms() - start)));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    // Not removed within a second, it is taken out.
    while SocketPoll_getregisteredcount(scene.poll) > 0 {
        assert_eq!(scene.wait(-1).iter().filter(|told| told.0 != socket).count(), 0);
        assert!(now_ms() - start < 5000);
    }
    assert!(now_ms() - start >= 1000);
}

#[test]
fn a_deadline_that_comes_during_a_wait_shortens_it() {
    let scene = Scene::new();
    SocketPool_set_first_message_timeout(scene.pool, 30);
    let poll = scene.poll.addr();
    let waiter = std::thread::spawn(move || wait(pointer(poll as u64), -1).map(|told| told.len()));
    while handles::pin::<Poll>(poll as u64).unwrap().lock().waits() == 0 {
        std::thread::yield_now();
    }
    let (_, _, _peer) = scene.connection();
    assert!(waiter.join().unwrap().is_some());
}

#[test]
fn a_socket_that_joins_a_pool_later_is_its_connection_in_the_poll_as_well() {
    let scene = Scene::new();
    for by_socket in [false, true] {
        let (socket, _peer) = socket();
        let fd = fd_of(socket);
        let added = match by_socket {
            true => sp_poll_add_socket(scene.poll, socket, READ, null_mut()),
            false => sp_poll_add_fd(scene.poll, fd, READ, null_mut()),
        };
        assert_eq!(added, 0);
        SocketPool_set_first_message_timeout(scene.pool, 30);
        let connection = SocketPool_add(scene.pool, socket);
        let told = std::iter::repeat_with(|| scene.wait(-1)).find(|told| !told.is_empty()).unwrap();
        assert_eq!(told, [(socket, null_mut(), READ | HANGUP)]);
        assert_eq!(sp_pool_remove_connection(scene.pool, connection), 0);
        assert_eq!(SocketPoll_getregisteredcount(scene.poll), 0);
    }
}

/// What the close callback of a test does.
struct Plan {
    poll: Mutex<SocketPoll_T>,
    run: fn(&Self),
}

unsafe extern "C-unwind" fn carry_out(_: *mut sp_connection, _: *mut c_void, _: c_int, plan: *mut c_void) {
    // SAFETY: it was made of a plan that outlives the pool.
    let plan: &Plan = unsafe { &*plan.cast() };
    (plan.run)(plan);
}

/// A scene in whose next wait a connection ends, and the plan is carried out. Another one has something to read.
fn planned(plan: &Plan) -> (Scene, Connection_T, [TcpStream; 2]) {
    let scene = Scene::new();
    *plan.poll.lock().unwrap() = scene.poll;
    let plan = std::ptr::from_ref(plan).cast_mut().cast();
    assert_eq!(SocketPool_set_first_message_timeout(scene.pool, 200), 0);
    let (_, _, peer) = scene.connection();
    let due = now_ms() + 240;
    pass_until(due - 100);
    // Its time is not over for long yet.
    let (other, _, mut other_peer) = scene.connection();
    other_peer.write_all(b"x").unwrap();
    SocketPool_set_close_callback(scene.pool, Some(carry_out), plan);
    pass_until(due);
    (scene, other, [peer, other_peer])
}

fn pass_until(then_ms: u64) {
    while now_ms() < then_ms {
        std::thread::yield_now();
    }
}

#[test]
fn a_callback_may_free_the_poll_in_whose_wait_it_runs() {
    let plan = Plan {
        poll: Mutex::new(null_mut()),
        run: |plan| {
            let mut poll = plan.poll.lock().unwrap();
            // SAFETY: it points at what is locked.
            unsafe { SocketPoll_free(&raw mut *poll) };
        },
    };
    let (scene, _, _peers) = planned(&plan);
    assert_eq!(wait(scene.poll, 1000), None);
    assert_eq!(sp_last_errno(), libc::EINVAL);
    assert!(plan.poll.lock().unwrap().is_null());
}

#[test]
fn a_callback_may_wait_in_the_same_poll() {
    let plan = Plan {
        poll: Mutex::new(null_mut()),
        run: |plan| {
            let poll = *plan.poll.lock().unwrap();
            assert!(!wait(poll, 0).unwrap().is_empty());
        },
    };
    let (scene, _, _peers) = planned(&plan);
    assert_eq!(scene.wait(1000), [], "the inner wait has told it");
    assert_eq!(scene.wait(1000).len(), 2);
}

#[test]
fn a_callback_may_throw() {
    let plan = Plan { poll: Mutex::new(null_mut()), run: |_| std::panic::resume_unwind(Box::new(7)) };
    let (scene, other, _peers) = planned(&plan);
    let thrown = catch_unwind(AssertUnwindSafe(|| wait(scene.poll, 1000))).unwrap_err();
    assert_eq!(*thrown.downcast::<i32>().unwrap(), 7);
    let told = scene.wait(1000);
    assert!(told.iter().any(|(_, data, events)| *data == other.cast() && *events == READ), "{told:?}");
}

#[test]
fn who_ends_in_the_wait_is_not_told_and_nor_is_his_successor() {
    static OTHER: Mutex<(usize, usize, Option<OwnedFd>)> = Mutex::new((0, 0, None));
    let plan = Plan {
        poll: Mutex::new(null_mut()),
        run: |plan| {
            let poll = *plan.poll.lock().unwrap();
            let mut other = OTHER.lock().unwrap();
            if other.0 == 0 {
                return;
            }
            let (pool, connection) = (other.0, other.1);
            other.0 = 0;
            drop(other);
            let connection = pointer(connection as u64);
            let fd = driven_fd(connection);
            assert_eq!(sp_pool_remove_connection(pointer(pool as u64), connection), 0);
            // The same number, and something to read as well.
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            (&far).write_all(b"y").unwrap();
            let newcomer = lift(near.into(), fd);
            assert_eq!(newcomer.as_raw_fd(), fd);
            assert_eq!(sp_poll_add_fd(poll, fd, READ, pointer(4711)), 0);
            OTHER.lock().unwrap().2 = Some(newcomer);
        },
    };
    let (scene, other, _peers) = planned(&plan);
    (OTHER.lock().unwrap().0, OTHER.lock().unwrap().1) = (scene.pool.addr(), other.addr());
    let told = scene.wait(1000);
    assert!(told.iter().all(|(_, data, _)| *data != other.cast() && *data != pointer(4711)), "{told:?}");
    assert!(scene.wait(1000).iter().any(|(socket, data, _)| socket.is_null() && *data == pointer(4711)));
    let newcomer = OTHER.lock().unwrap().2.take().unwrap();
    assert_eq!(sp_poll_del_fd(scene.poll, newcomer.as_raw_fd()), 0);
}

fn driven_fd(connection: Connection_T) -> RawFd {
    handles::facts(connection.addr() as u64, Kind::Connection).unwrap().fd
}

#[test]
fn output_that_waits_has_room_told_wherever_the_socket_is() {
    let scene = Scene::new();
    let (connection, socket, _peer) = scene.connection();
    assert_eq!(scene.wait(0), []);
    want_write(fd_of(socket));
    assert_eq!(scene.wait(-1), [(socket, connection.cast(), WRITE)]);
    assert_eq!(sp_poll_mod_fd(scene.poll, fd_of(socket), READ, connection.cast()), 0);
    assert_eq!(scene.wait(0), []);
}

#[test]
fn who_is_mute_is_heard_when_his_time_has_come() {
    let scene = Scene::new();
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    assert_eq!(sp_poll_add_fd(scene.poll, near.as_raw_fd(), READ | WRITE, null_mut()), 0);
    let start = now_ms();
    mute_reading(near.as_raw_fd(), Some(start + 50));
    assert_eq!(scene.wait(-1), [(null_mut(), null_mut(), WRITE)]);
    assert_eq!(sp_poll_mod_fd(scene.poll, near.as_raw_fd(), READ, null_mut()), 0);
    assert_eq!(scene.wait(0), []);
    assert_eq!(scene.wait(-1), [(null_mut(), null_mut(), READ)]);
    assert!(now_ms() - start >= 50);

    mute_reading(near.as_raw_fd(), Some(start + HOUR_MS));
    assert_eq!(scene.wait(60), []);
    unmute_reading(near.as_raw_fd());
    assert_eq!(scene.wait(-1), [(null_mut(), null_mut(), READ)]);

    // In the middle of a wait both count at once.
    let poll = scene.poll.addr();
    let begun = handles::pin::<Poll>(poll as u64).unwrap().lock().waits();
    mute_reading(near.as_raw_fd(), Some(start + HOUR_MS));
    let waiter = std::thread::spawn(move || wait(pointer(poll as u64), -1).map(|told| told.len()));
    while handles::pin::<Poll>(poll as u64).unwrap().lock().waits() == begun {
        std::thread::yield_now();
    }
    mute_reading(near.as_raw_fd(), Some(now_ms() + 20));
    assert_eq!(waiter.join().unwrap(), Some(1));
}

#[test]
fn who_is_mute_for_good_stays_so_until_it_is_taken_out() {
    let scene = Scene::new();
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    assert_eq!(sp_poll_add_fd(scene.poll, near.as_raw_fd(), READ, null_mut()), 0);
    mute_reading(near.as_raw_fd(), None);
    assert!(mute_reading(near.as_raw_fd(), Some(now_ms())));
    unmute_reading(near.as_raw_fd());
    assert_eq!(scene.wait(5), []);
    assert_eq!(sp_poll_del_fd(scene.poll, near.as_raw_fd()), 0);
    assert_eq!(sp_poll_add_fd(scene.poll, near.as_raw_fd(), READ, null_mut()), 0);
    assert_eq!(scene.wait(-1), [(null_mut(), null_mut(), READ)]);
}

#[test]
fn many_changes_between_two_waits_take_no_more_room() {
    let scene = Scene::new();
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    for _ in 0..1000 {
        assert_eq!(sp_poll_add_fd(scene.poll, near.as_raw_fd(), READ, null_mut()), 0);
        assert_eq!(sp_poll_mod_fd(scene.poll, near.as_raw_fd(), WRITE, null_mut()), 0);
        assert_eq!(sp_poll_del_fd(scene.poll, near.as_raw_fd()), 0);
    }
    assert!(handles::pin::<Poll>(scene.poll.addr() as u64).unwrap().lock().room_for_changes() < 16);
    assert_eq!(scene.wait(0), []);
}

#[test]
fn the_values_are_those_of_the_header() {
    let header = include_str!("../../../include/poll/SocketPoll.h");
    for (name, value) in [("READ", READ), ("WRITE", WRITE), ("ERROR", ERROR), ("HANGUP", HANGUP)] {
        assert!(header.contains(&format!("POLL_{name} = {value}")), "{name}");
    }
    assert_eq!(size_of::<SocketEvent_T>(), 24);
}

const HOUR_MS: u64 = 3_600_000;
