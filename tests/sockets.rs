//! The pool on real sockets: every kind of listener and stream, every way to drive it, and what peers may do to them.

mod real;

#[path = "sockets/driving.rs"]
mod driving;
#[path = "sockets/listening.rs"]
mod listening;
#[path = "sockets/streams.rs"]
mod streams;

use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

use socketpool::{Event, SocketPool};

/// A pool that listens on loopback.
fn listening_pool() -> (SocketPool<u32>, SocketAddr) {
    let mut pool = SocketPool::builder().build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    (pool, address)
}

/// Runs `client` in a thread, serves lines until it is done, and returns what it did.
fn served<T: Send + 'static, U>(pool: &mut SocketPool<U>, client: impl FnOnce() -> T + Send + 'static) -> T {
    let handle = pool.handle();
    let client: JoinHandle<T> = std::thread::spawn(move || {
        let result = client();
        // The pool may sleep when the client is done.
        let _ = handle.wake();
        result
    });
    while !client.is_finished() {
        real::echo_turn(pool, std::time::Duration::from_millis(20));
    }
    client.join().expect("the client does not panic")
}

/// Connects and waits until the pool has opened it.
fn opened(pool: &mut SocketPool<u32>, address: SocketAddr) -> (TcpStream, socketpool::ConnId) {
    let stream = TcpStream::connect(address).unwrap();
    let mut opened = None;
    real::turn_until(pool, |_, event| {
        if let Event::Opened(id) = event {
            opened = Some(id);
        }
        opened.is_some()
    });
    (stream, opened.expect("told by an event"))
}
