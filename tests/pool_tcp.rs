//! Connections to a real server that is killed and started again in the middle: who holds one sees it fail, nobody else
//! does, and soon after the server is back everything works as before.

#[path = "pool/fake.rs"]
mod fake;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fake::{PATIENCE, until};
use socket2::{Domain, SockRef, Socket, Type};
use socketpool::{BreakerConfig, Health, Manager, Pool, PoolConfig, Timeouts};

/// A server that sends back what it is sent, a thread for each connection.
struct Echo {
    address: SocketAddr,
    killed: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let (killed, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ends, theirs) = (Arc::clone(&killed), Arc::clone(&streams));
        let acceptor = thread::spawn(move || {
            let mut servers = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                let server = stream.try_clone().expect("a descriptor");
                theirs.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                servers.push(thread::spawn(move || echo(server)));
            }
            drop(listener);
            for stream in theirs.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                // A server that is killed has its connections reset.
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            servers.into_iter().for_each(|server| server.join().expect("an echo"));
        });
        Ok(Self { address, killed, streams, acceptor: Some(acceptor) })
    }

    /// Ends it with all of its connections.
    fn kill(mut self) {
        self.killed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.acceptor.take().expect("killed once").join().expect("the acceptor");
        assert!(self.streams.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 || stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

/// Streams to the server; one looks broken when there is anything to read that nobody asked for, the end included.
struct Upstream(SocketAddr);

impl Manager for Upstream {
    type Connection = TcpStream;
    type Error = io::Error;

    fn connect(&self, within: &Timeouts) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.0, within.connect.unwrap_or(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn validate(&self, stream: &mut TcpStream, _: &Timeouts) -> io::Result<()> {
        ping(stream)
    }

    fn is_broken(&self, stream: &mut TcpStream) -> bool {
        let _ = stream.set_nonblocking(true);
        let looks = stream.peek(&mut [0]);
        let _ = stream.set_nonblocking(false);
        !matches!(looks, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if &answer == b"ping" { Ok(()) } else { Err(io::Error::other("not what was sent")) }
}

fn pool(address: SocketAddr) -> Pool<Upstream> {
    let breaker = BreakerConfig {
        failures: 1_000_000,
        max_delay: Duration::from_millis(100),
        ..BreakerConfig::default()
    };
    let config = PoolConfig {
        max_size: 4,
        acquire_timeout: Some(PATIENCE),
        connect_timeout: Some(PATIENCE),
        breaker: Some(breaker),
        ..PoolConfig::default()
    };
    Pool::builder(Upstream(address)).config(config).build().unwrap()
}

/// Descriptors are counted, so these tests run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptors() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

#[test]
fn a_server_that_is_killed_and_comes_back_costs_no_more_than_what_was_connected() {
    let _alone = alone();
    let before = descriptors();
    let server = Echo::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address;
    let pool = pool(address);
    let (served, failed, over) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // While the server is away this waits: a connect that fails costs nobody his place.
                    let Ok(mut lease) = pool.acquire() else { continue };
                    match ping(&mut lease) {
                        Ok(()) => served.fetch_add(1, Ordering::Relaxed),
                        Err(_) => {
                            lease.invalidate();
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let works = |more: u32| {
            let goal = served.load(Ordering::Relaxed) + more;
            until("it works", || served.load(Ordering::Relaxed) >= goal);
        };
        works(1_000);
        let mut server = server;
        for _ in 0..3 {
            let before = failed.load(Ordering::Relaxed);
            let alive = pool.stats().total_connections;
            assert!(alive <= 4);
            server.kill();
            until("connects fail", || matches!(pool.health(), Health::Unhealthy { .. }));
            let failures = failed.load(Ordering::Relaxed) - before;
            assert!(failures <= 4, "{failures} failures of 4 connections");
            server = Echo::start(address).unwrap();
            works(1_000);
            let failures = failed.load(Ordering::Relaxed) - before;
            assert!(failures <= 4, "{failures} failures of 4 connections");
        }
        over.store(true, Ordering::Relaxed);
        works(0);
        // Those who wait are served before the server goes for good.
        until("all are back", || pool.stats().active_connections == 0);
        server.kill();
    });
    drop(pool);
    until("every descriptor is back", || descriptors() <= before);
}

#[test]
fn what_the_server_closed_while_it_was_idle_is_handed_to_nobody() {
    let _alone = alone();
    let server = Echo::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address;
    let pool = pool(address);
    let mut leases: Vec<_> = (0..4).map(|_| pool.acquire().unwrap()).collect();
    leases.iter_mut().for_each(|lease| ping(lease).unwrap());
    drop(leases);
    server.kill();
    let server = Echo::start(address).unwrap();
    for _ in 0..20 {
        let mut lease = pool.acquire().unwrap();
        ping(&mut lease).expect("the stale ones were found before");
    }
    assert!(pool.stats().total_connections <= 4);
    drop(pool);
    server.kill();
}

#[test]
fn a_ping_in_the_background_finds_them_too() {
    let _alone = alone();
    let server = Echo::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let pool = pool(server.address);
    drop((pool.acquire().unwrap(), pool.acquire().unwrap()));
    assert_eq!(pool.check_health(), 0);
    server.kill();
    assert_eq!(pool.check_health(), 2);
}
