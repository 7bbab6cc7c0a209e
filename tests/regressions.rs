//! What a strict reading found, one story for each mistake, so that none comes back.

mod support;

#[path = "regressions/draining.rs"]
mod draining;
#[path = "regressions/limits.rs"]
mod limits;
#[path = "regressions/pipelining.rs"]
mod pipelining;
#[path = "regressions/promises.rs"]
mod promises;
#[path = "regressions/room.rs"]
mod room;
#[path = "regressions/time.rs"]
mod time;
#[path = "regressions/tokens.rs"]
mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use socketpool::net::sim::Client;
use socketpool::{Builder, Event, Peer, SocketPool};
use support::{Pool, Rig, Seen};

const SECOND: Duration = Duration::from_secs(1);

fn builder() -> Builder<()> {
    SocketPool::builder()
}

fn peer(address: &str) -> Peer {
    address.parse::<SocketAddr>().expect("an address").into()
}

fn connect(rig: &Rig<()>, port: u16) -> Client {
    rig.world.connect(&format!("192.0.2.1:{port}"))
}

/// Clients on the ports from `first` on that have asked one line each.
fn asked(rig: &Rig<()>, first: u16, count: u16) -> Vec<Client> {
    let clients: Vec<Client> = (first..first + count).map(|port| connect(rig, port)).collect();
    clients.iter().for_each(|client| client.send(b"a\n"));
    clients
}

/// Uses up what comes, answers nothing and holds the connection.
fn hold(seen: &mut Seen) -> impl FnMut(&mut Pool<()>, Event<()>) + '_ {
    |pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            conn.receive();
            conn.consume(usize::MAX);
            conn.hold();
        }
    }
}
