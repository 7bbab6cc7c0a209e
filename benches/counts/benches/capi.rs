//! How many instructions calls through the C interface take, locks and checks of handles included. Whatever moves bytes
//! does so on real sockets; the rest on descriptors that are none, of which a million can be had.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;

use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint, LibraryBenchmarkConfig};
use socketpool::capi::*;

mod fakes;

/// What is counted.
mod counted {
    use super::*;

    #[inline(never)]
    pub(super) fn get(pool: SocketPool_T, sockets: &[Socket_T]) {
        for socket in sockets {
            black_box(SocketPool_get(pool, *socket));
        }
    }

    /// What a getter would be that trusts its caller: one read through the pointer.
    #[inline(never)]
    pub(super) fn pointer_read(values: &[*const u64]) {
        for value in values {
            // SAFETY: it points into a vector.
            black_box(unsafe { super::read_through(*value) });
        }
    }

    #[inline(never)]
    pub(super) fn created_at(connections: &[Connection_T]) {
        for connection in connections {
            black_box(Connection_created_at(*connection));
        }
    }

    #[inline(never)]
    pub(super) fn fd(connections: &[Connection_T]) {
        for connection in connections {
            black_box(Connection_fd(*connection));
        }
    }

    #[inline(never)]
    pub(super) fn socket(connections: &[Connection_T]) {
        for connection in connections {
            black_box(Connection_socket(*connection));
        }
    }

    #[inline(never)]
    pub(super) fn inbuf(connections: &[Connection_T]) {
        for connection in connections {
            black_box(Connection_inbuf(*connection));
        }
    }

    #[inline(never)]
    pub(super) fn isactive(connections: &[Connection_T]) {
        for connection in connections {
            black_box(Connection_isactive(*connection));
        }
    }

    /// 64 bytes into each of them.
    #[inline(never)]
    pub(super) fn write(buffers: &[SocketBuf_T]) {
        let bytes = [7_u8; 64];
        for buffer in buffers {
            // SAFETY: as many bytes as are said.
            black_box(unsafe { SocketBuf_write(*buffer, bytes.as_ptr().cast(), bytes.len()) });
        }
    }

    /// 64 bytes out of each of them.
    #[inline(never)]
    pub(super) fn read(buffers: &[SocketBuf_T]) {
        let mut bytes = [0_u8; 64];
        for buffer in buffers {
            // SAFETY: there is room for as many bytes as are said.
            black_box(unsafe { SocketBuf_read(*buffer, bytes.as_mut_ptr().cast(), bytes.len()) });
        }
    }

    #[inline(never)]
    pub(super) fn userdata(connections: &[Connection_T]) {
        for connection in connections {
            black_box(Connection_userdata(*connection));
        }
    }

    #[inline(never)]
    pub(super) fn last_active(connections: &[Connection_T]) {
        for connection in connections {
            black_box(Connection_last_active(*connection));
        }
    }

    #[inline(never)]
    pub(super) fn check_rate(pool: SocketPool_T, connections: &[Connection_T]) {
        for connection in connections {
            black_box(SocketPool_check_rate(pool, *connection));
        }
    }

    #[inline(never)]
    pub(super) fn add_and_remove(pool: SocketPool_T, sockets: &[Socket_T]) {
        for socket in sockets {
            let connection = SocketPool_add(pool, *socket);
            black_box(sp_pool_remove_connection(pool, connection));
        }
    }

    #[inline(never)]
    pub(super) fn stats(pool: SocketPool_T, count: usize) {
        for _ in 0..count {
            // SAFETY: it points at a local.
            unsafe {
                let mut stats = std::mem::zeroed();
                SocketPool_get_stats(pool, &raw mut stats);
                black_box(stats);
            }
        }
    }

    #[inline(never)]
    pub(super) fn health(pool: SocketPool_T, count: usize) {
        for _ in 0..count {
            black_box(SocketPool_health(pool));
        }
    }

    /// A turn of the pool's loop that echoes.
    #[inline(never)]
    pub(super) fn turn(pool: SocketPool_T) -> usize {
        SocketPool_turn(pool, 0);
        echo(pool)
    }

    /// The handler of the guide: receive into the buffer, send from it, consume.
    #[inline(never)]
    pub(super) fn handle(connections: &[Connection_T]) {
        for connection in connections {
            let input = Connection_inbuf(*connection);
            let socket = Connection_socket(*connection);
            // SAFETY: the pointers are those of the buffer.
            unsafe {
                let n = Socket_recv(socket, SocketBuf_writeptr(input), SocketBuf_writeable(input), 0);
                SocketBuf_produce(input, n.cast_unsigned());
                let n = Socket_send(socket, SocketBuf_readptr(input), SocketBuf_readable(input), 0);
                SocketBuf_consume(input, n.cast_unsigned());
            }
        }
    }
}

/// A pool with so many connections, and a thousand sockets that are in none.
struct Crowd {
    pool: SocketPool_T,
    connections: Vec<Connection_T>,
    sockets: Vec<Socket_T>,
    spare: Vec<Socket_T>,
    others: Vec<UnixStream>,
}

/// A function of its own, as a getter of C is.
#[inline(never)]
unsafe fn read_through(value: *const u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { value.read() }
}

fn pair(others: &mut Vec<UnixStream>) -> Socket_T {
    let (ours, other) = UnixStream::pair().expect("descriptors are there");
    others.push(other);
    Socket_new_from_fd(ours.into_raw_fd())
}

fn crowd_of(
    pool: SocketPool_T,
    live: usize,
    spare: usize,
    mut make: impl FnMut(&mut Vec<UnixStream>) -> Socket_T,
) -> Crowd {
    assert!(!pool.is_null());
    assert_eq!(SocketPool_setconnrate(pool, 1_000_000, 1_000), 0);
    let mut others = Vec::new();
    let all: Vec<_> = (0..live).map(|_| make(&mut others)).collect();
    let added: Vec<_> = all.iter().map(|socket| SocketPool_add(pool, *socket)).collect();
    assert!(added.iter().all(|connection| !connection.is_null()));
    let picks = |n: usize| n * 7_919 % live;
    let connections = (0..1_000).map(|n| added[picks(n)]).collect();
    let sockets = (0..1_000).map(|n| all[picks(n)]).collect();
    let spare = (0..spare).map(|_| make(&mut others)).collect();
    Crowd { pool, connections, sockets, spare, others }
}

fn crowd_with(live: usize, spare: usize, buffer: usize) -> Crowd {
    crowd_of(SocketPool_new(null_mut(), live + spare, buffer), live, spare, fake())
}

fn crowd(live: usize) -> Crowd {
    crowd_with(live, 0, 4096)
}

fn real_crowd(live: usize) -> Crowd {
    crowd_of(SocketPool_new(null_mut(), live, 4096), live, 0, pair)
}

/// Every limit that there is, and none of them reached.
fn limited_crowd(live: usize, spare: usize) -> Crowd {
    let pool = SocketPool_new(null_mut(), live + spare, 4096);
    let protection = SocketSYNProtect_new(null_mut(), 1_000_000, 10_000);
    assert_eq!(SocketPool_set_idle_timeout(pool, 600_000), 0);
    assert_eq!(SocketPool_set_max_lifetime(pool, 600_000), 0);
    assert_eq!(SocketPool_set_first_message_timeout(pool, 600_000), 0);
    assert_eq!(SocketPool_set_write_stall_timeout(pool, 600_000), 0);
    assert_eq!(SocketPool_set_global_rate(pool, 1_000_000, 1_000), 0);
    assert_eq!(SocketPool_setmaxperip(pool, 65_535), 0);
    assert_eq!(SocketPool_set_syn_protection(pool, protection), 0);
    crowd_of(pool, live, spare, fake())
}

/// Accepts sockets that are none.
fn fake() -> impl FnMut(&mut Vec<UnixStream>) -> Socket_T {
    let listener = Socket_new_from_fd(fakes::descriptor(0));
    move |_| Socket_accept(listener)
}

macro_rules! at_every_size {
    ($($name:ident = |$crowd:ident| $body:expr;)*) => {$(
        #[library_benchmark(setup = crowd)]
        #[bench::at_100_x1000(100)]
        #[bench::at_10_000_x1000(10_000)]
        #[bench::at_1_000_000_x1000(1_000_000)]
        fn $name($crowd: Crowd) -> Crowd {
            $body;
            $crowd
        }
    )*};
}

at_every_size! {
    c_get = |crowd| counted::get(crowd.pool, &crowd.sockets);
    c_check_rate = |crowd| counted::check_rate(crowd.pool, &crowd.connections);
    c_stats = |crowd| counted::stats(crowd.pool, 1_000);
    c_health = |crowd| counted::health(crowd.pool, 1_000);
}

macro_rules! getters {
    ($($name:ident = |$crowd:ident| $body:expr;)*) => {$(
        #[library_benchmark(setup = crowd)]
        #[bench::at_10_000_x1000(10_000)]
        fn $name($crowd: Crowd) -> Crowd {
            $body;
            $crowd
        }
    )*};
}

getters! {
    c_userdata = |crowd| counted::userdata(&crowd.connections);
    c_last_active = |crowd| counted::last_active(&crowd.connections);
    c_created_at = |crowd| counted::created_at(&crowd.connections);
    c_fd = |crowd| counted::fd(&crowd.connections);
    c_socket = |crowd| counted::socket(&crowd.connections);
    c_inbuf = |crowd| counted::inbuf(&crowd.connections);
    c_isactive = |crowd| counted::isactive(&crowd.connections);
}

fn values() -> (Vec<u64>, Vec<*const u64>) {
    let values = vec![7; 1_000];
    let pointers = values.iter().map(std::ptr::from_ref).collect();
    (values, pointers)
}

#[library_benchmark(setup = values)]
#[bench::x1000()]
fn c_pointer_read((values, pointers): (Vec<u64>, Vec<*const u64>)) -> Vec<u64> {
    counted::pointer_read(&pointers);
    values
}

/// The output buffers of a thousand connections.
fn outputs(live: usize) -> Vec<SocketBuf_T> {
    let mut connections = crowd(live).connections;
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), 1_000);
    connections.iter().map(|connection| Connection_outbuf(*connection)).collect()
}

#[library_benchmark(setup = outputs)]
#[bench::x1000(1_000)]
fn c_buf_write(outputs: Vec<SocketBuf_T>) -> Vec<SocketBuf_T> {
    counted::write(&outputs);
    outputs
}

fn filled_outputs(live: usize) -> Vec<SocketBuf_T> {
    let outputs = outputs(live);
    let bytes = [7_u8; 64];
    for output in &outputs {
        // SAFETY: as many bytes as are said.
        assert_eq!(unsafe { SocketBuf_write(*output, bytes.as_ptr().cast(), bytes.len()) }, bytes.len());
    }
    outputs
}

#[library_benchmark(setup = filled_outputs)]
#[bench::x1000(1_000)]
fn c_buf_read(outputs: Vec<SocketBuf_T>) -> Vec<SocketBuf_T> {
    counted::read(&outputs);
    outputs
}

#[library_benchmark(setup = limited_crowd)]
#[bench::all_limits_at_100_x1000(100, 1_000)]
#[bench::all_limits_at_10_000_x1000(10_000, 1_000)]
#[bench::all_limits_at_1_000_000_x1000(1_000_000, 1_000)]
fn c_add_and_remove_limited(crowd: Crowd) -> Crowd {
    counted::add_and_remove(crowd.pool, &crowd.spare);
    crowd
}

#[library_benchmark(setup = crowd_with)]
#[bench::buffers_of_512_at_100_x1000(100, 1_000, 512)]
#[bench::buffers_of_64_kib_at_100_x1000(100, 1_000, 65_536)]
#[bench::buffers_of_512_at_10_000_x1000(10_000, 1_000, 512)]
#[bench::buffers_of_512_at_1_000_000_x1000(1_000_000, 1_000, 512)]
fn c_add_and_remove(crowd: Crowd) -> Crowd {
    counted::add_and_remove(crowd.pool, &crowd.spare);
    crowd
}

#[library_benchmark(setup = real_crowd)]
#[bench::guide_x1000(1_000)]
fn c_handler(mut crowd: Crowd) -> Crowd {
    for other in &mut crowd.others {
        other.write_all(&[7; 64]).expect("there is room");
    }
    // Each of them once.
    crowd.connections.sort_unstable();
    crowd.connections.dedup();
    assert_eq!(crowd.connections.len(), 1_000);
    for ready in crowd.connections.chunks(64) {
        counted::handle(ready);
        // As after a wait: what the buffers were lent may be lent again.
        SocketPool_tick(crowd.pool);
    }
    crowd
}

/// 64 connections over the loopback.
fn shop() -> (SocketPool_T, Vec<TcpStream>) {
    let pool = SocketPool_new(null_mut(), 1_024, 65_536);
    // SAFETY: the text ends with NUL.
    let port = unsafe { SocketPool_listen(pool, c"127.0.0.1".as_ptr(), 0) };
    let address = format!("127.0.0.1:{port}");
    let mut clients: Vec<_> =
        (0..64).map(|_| TcpStream::connect(&address).expect("the pool listens")).collect();
    rounds(pool, &mut clients, 2, |pool| {
        SocketPool_turn(pool, 0);
        echo(pool)
    });
    (pool, clients)
}

/// Echoes what this turn tells of. Not in `counted`: a counted function that calls another one stops the count.
#[inline(always)]
fn echo(pool: SocketPool_T) -> usize {
    let mut answered = 0;
    // SAFETY: all pointers are to locals, and to what `Connection_input` shows.
    unsafe {
        let mut event = std::mem::zeroed::<sp_event>();
        while SocketPool_next_event(pool, &raw mut event) == 1 {
            if event.kind == SP_EVENT_READABLE {
                let mut length = 0;
                Connection_receive(event.connection);
                let data = Connection_input(event.connection, &raw mut length);
                if length > 0 {
                    Connection_send(event.connection, data, length);
                    Connection_consume(event.connection, length);
                    answered += 1;
                }
            }
        }
    }
    answered
}

fn rounds(pool: SocketPool_T, clients: &mut [TcpStream], count: usize, turn: impl Fn(SocketPool_T) -> usize) {
    let mut bytes = [7; 64];
    for _ in 0..count {
        for client in clients.iter_mut() {
            client.write_all(&bytes).expect("a request is sent");
        }
        let mut answered = 0;
        while answered < clients.len() {
            answered += turn(pool);
        }
        for client in clients.iter_mut() {
            client.read_exact(&mut bytes).expect("an answer comes");
        }
    }
}

#[library_benchmark(setup = shop)]
#[bench::loop_x8000()]
fn c_request((pool, mut clients): (SocketPool_T, Vec<TcpStream>)) -> Vec<TcpStream> {
    rounds(pool, &mut clients, 125, counted::turn);
    clients
}

library_benchmark_group!(
    name = c_interface;
    benchmarks = c_get, c_check_rate, c_stats, c_health, c_pointer_read, c_userdata, c_last_active, c_created_at, c_fd,
        c_socket, c_inbuf, c_isactive, c_buf_write, c_buf_read, c_add_and_remove, c_add_and_remove_limited, c_handler, c_request
);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().entry_point(EntryPoint::Custom("capi::counted::*".to_owned())));
    library_benchmark_groups = c_interface
);
