//! What an idle connection costs: a server in a process of its own, with thousands of connections and with none.
//!
//! Counted is the memory that the server's process has to itself, so pages that it shares with the first process, as
//! those of the program's code, are not. The kernel's memory for a socket is not the pool's and is not counted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::crowd::Crowd;
use crate::link::{Link, Order, Word, hear_orders};
use crate::machine;
use crate::plan::{IDLE_CONNECTIONS, Role, SPARE_DESCRIPTORS};
use crate::server::{Server, Settings};

/// What each of so many idle connections takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) connections: u32,
    pub(crate) bytes: i64,
}

/// (private memory with so many idle connections - the same with none and room for one) / their number, for as many
/// as the descriptors allow.
pub(crate) fn of_idle_connections(descriptors: u64) -> io::Result<Idle> {
    let allowed = u32::try_from(descriptors.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(u32::MAX);
    let connections = allowed.clamp(1, IDLE_CONNECTIONS);
    let none = private_bytes(1, 0)?;
    let many = private_bytes(connections, connections)?;
    Ok(Idle { connections, bytes: (many - none) / i64::from(connections) })
}

/// The role of the server that is measured: echoes lines, and says what it holds when asked.
pub(crate) fn serve(room: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Server::start(&Settings::idle(room))?;
    Word::Listening { port: server.port().into() }.say()?;
    let orders = hear_orders(server.waker())?;
    loop {
        server.turn(Duration::from_secs(1))?;
        if orders.try_iter().any(|order| order == Order::Measure) {
            Word::Memory { bytes: machine::private_memory()? }.say()?;
        }
    }
}

fn private_bytes(room: u32, connections: u32) -> io::Result<i64> {
    let mut link = Link::start(&Role::Idle(room).flags(), || {})?;
    let Word::Listening { port } = link.hear()? else { return Err(out_of_turn()) };
    let server = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).map_err(|_| out_of_turn())?));
    let idle: Vec<TcpStream> =
        (0..connections).map(|number| connect(server, number)).collect::<io::Result<_>>()?;
    thread::sleep(SETTLE);
    link.order(Order::Measure)?;
    let Word::Memory { bytes } = link.hear()? else { return Err(out_of_turn()) };
    drop(idle);
    i64::try_from(bytes).map_err(|_| out_of_turn())
}

/// A connection that has asked once and been answered.
fn connect(server: SocketAddr, number: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(Crowd::Honest.address(number / 8), 0)).into())?;
    socket.connect(&server.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"hello\n")?;
    stream.read_exact(&mut [0; 6])?;
    Ok(stream)
}

fn out_of_turn() -> io::Error {
    io::Error::other("the idle server said something out of turn")
}

/// Time for the server to put away what the last line needed.
const SETTLE: Duration = Duration::from_millis(200);
