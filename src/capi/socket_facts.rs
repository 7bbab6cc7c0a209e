//! What a C program asks of a socket, and how it wants it to behave.

use std::ffi::{c_char, c_int};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{SockAddr, Socket, TcpKeepalive};

use super::socket::{Socket_T, system, with_socket};
use super::status::Failure;
use super::texts;

/// The descriptor of a socket, which stays the library's; -1 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_fd(socket: Socket_T) -> c_int {
    with_socket("Socket_fd", socket, -1, |socket| Ok(socket.as_raw_fd()))
}

/// Whether a socket has another side, 1 or 0; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_isconnected(socket: Socket_T) -> c_int {
    with_socket("Socket_isconnected", socket, 0, |socket| Ok(socket.peer_addr().is_ok().into()))
}

/// Whether a socket has a port of its own, 1 or 0; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_isbound(socket: Socket_T) -> c_int {
    with_socket("Socket_isbound", socket, 0, |socket| Ok((port_of(socket.local_addr()) != 0).into()))
}

/// Whether a socket waits for connections, 1 or 0; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_islistening(socket: Socket_T) -> c_int {
    with_socket("Socket_islistening", socket, 0, |socket| Ok(socket.is_listener().unwrap_or(false).into()))
}

/// The address of the other side as text, such as "192.0.2.1"; "(unknown)" if it has none, and for a bad handle. Never NULL.
/// Valid until the thread has asked for seven more texts.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_getpeeraddr(socket: Socket_T) -> *const c_char {
    text("Socket_getpeeraddr", socket, Socket::peer_addr)
}

/// The socket's own address as text; else as `Socket_getpeeraddr`.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_getlocaladdr(socket: Socket_T) -> *const c_char {
    text("Socket_getlocaladdr", socket, Socket::local_addr)
}

/// The port of the other side; 0 if it has none, and for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_getpeerport(socket: Socket_T) -> c_int {
    with_socket("Socket_getpeerport", socket, 0, |socket| Ok(port_of(socket.peer_addr())))
}

/// The socket's own port; 0 if it has none, and for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_getlocalport(socket: Socket_T) -> c_int {
    with_socket("Socket_getlocalport", socket, 0, |socket| Ok(port_of(socket.local_addr())))
}

/// Makes calls with a socket return at once, whether or not there is something to do. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_setnonblocking(socket: Socket_T) -> c_int {
    with_socket("Socket_setnonblocking", socket, -1, |socket| {
        done(socket.set_nonblocking(true).map_err(system("fcntl")))
    })
}

/// Lets `Socket_bind` take an address on which connections of before are still ending (SO_REUSEADDR). 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_setreuseaddr(socket: Socket_T) -> c_int {
    with_socket("Socket_setreuseaddr", socket, -1, |socket| {
        done(socket.set_reuse_address(true).map_err(system("SO_REUSEADDR")))
    })
}

/// Whether small messages go out at once and not with the next (TCP_NODELAY): 0 for no, else yes. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_setnodelay(socket: Socket_T, nodelay: c_int) -> c_int {
    with_socket("Socket_setnodelay", socket, -1, |socket| {
        done(socket.set_tcp_nodelay(nodelay != 0).map_err(system("TCP_NODELAY")))
    })
}

/// Asks a silent other side whether it is there: after `idle` seconds (1 to 32,767), every `interval` seconds (1 to 32,767),
/// and gives it up after `count` (1 to 127) questions without an answer. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_setkeepalive(socket: Socket_T, idle: c_int, interval: c_int, count: c_int) -> c_int {
    with_socket("Socket_setkeepalive", socket, -1, |socket| {
        let within = |argument: &str, value: c_int, most: u32| match value.unsigned_abs() {
            size if value > 0 && size <= most => Ok(size),
            _ => Err(Failure::argument(argument, format_args!("is {value}, must be from 1 to {most}"))),
        };
        let idle = Duration::from_secs(within("idle", idle, 32_767)?.into());
        let interval = Duration::from_secs(within("interval", interval, 32_767)?.into());
        let count = within("count", count, 127)?;
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
        done(socket.set_tcp_keepalive(&keepalive).map_err(system("SO_KEEPALIVE")))
    })
}

fn done(done: Result<(), Failure>) -> Result<c_int, Failure> {
    done.map(|()| 0)
}

fn text(
    function: &str,
    socket: Socket_T,
    address: impl FnOnce(&Socket) -> io::Result<SockAddr>,
) -> *const c_char {
    with_socket(function, socket, texts::UNKNOWN.as_ptr(), |socket| {
        let address = internet(address(&socket));
        Ok(address.map_or(texts::UNKNOWN.as_ptr(), |at| texts::lend(&at.ip().to_canonical().to_string())))
    })
}

fn port_of(address: io::Result<SockAddr>) -> c_int {
    internet(address).map_or(0, |address| address.port().into())
}

/// A socket that has no address, or one of another family, has none that could be shown.
fn internet(address: io::Result<SockAddr>) -> Option<SocketAddr> {
    address.ok().and_then(|address| address.as_socket())
}
