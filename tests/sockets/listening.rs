//! Listeners of every family, backlogs, adopted listeners, accepting that is paused.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use socketpool::{Address, Clock, Event, Families, ListenOptions, Peer, PortSharing, Reason, SocketPool};

use super::{listening_pool, served};
use crate::real::{PATIENCE, ask, connect_from, echo_turn, turn_until};

#[test]
fn every_kind_of_listener_is_served_at_the_same_time() {
    let path = socket_path("kinds");
    let mut pool = SocketPool::<()>::builder().build().unwrap();
    let v4 = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    let v6 = pool.listen("[::1]:0").unwrap().tcp().unwrap();
    assert_eq!(pool.listen(&format!("unix:{}", path.display())).unwrap(), Address::Unix(path.clone()));
    assert_eq!(pool.addresses().count(), 3);

    served(&mut pool, move || {
        for address in [v4, v6] {
            ask(&mut TcpStream::connect(address).unwrap(), "over tcp\n", PATIENCE).unwrap();
        }
        let mut unix = UnixStream::connect(&path).unwrap();
        unix.write_all(b"over unix\n").unwrap();
        let mut answer = [0; 10];
        unix.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"over unix\n");
    });
    assert_eq!(pool.snapshot().counters.operations, 3);
    pool.assert_invariants();
}

#[test]
fn a_dual_stack_listener_shows_an_ipv4_peer_as_ipv4() {
    let mut pool = SocketPool::<u32>::builder().max_per_ip(1).build().unwrap();
    let port = pool.listen("[::]:0").unwrap().port().unwrap();
    let v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    assert_eq!(peer_of_next(&mut pool), Peer::from(v4.local_addr().unwrap()));
    let v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    let peer = peer_of_next(&mut pool);
    assert_eq!(peer, Peer::from(v6.local_addr().unwrap()));
    assert_eq!(peer.ip(), Some(IpAddr::from(Ipv6Addr::LOCALHOST)));

    // The second IPv4 peer of one address is refused: it is counted as what it is.
    let mut second = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    for _ in 0..10 {
        echo_turn(&mut pool, Duration::from_millis(5));
    }
    assert_eq!(pool.snapshot().refused(socketpool::Refusal::PerIp), 1);
    assert_eq!(second.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_ipv6_only_listener_takes_no_ipv4() {
    let mut pool = SocketPool::<()>::builder().build().unwrap();
    let options = ListenOptions::default().families(Families::V6Only);
    let port = pool.listen_with("[::]:0", options).unwrap().port().unwrap();
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[test]
fn the_default_backlog_holds_five_hundred_who_come_at_once() {
    let (mut pool, address) = listening_pool();
    let crowd: Vec<TcpStream> = (0..500).map_while(|_| try_connect(address)).collect();
    assert_eq!(crowd.len(), 500, "as mio's own listener has it, it would be 129");
    turn_until(&mut pool, |pool, _| pool.len() == 500);
}

#[test]
fn the_backlog_is_the_one_that_was_asked_for() {
    let mut pool = SocketPool::<()>::builder().build().unwrap();
    let address = pool.listen_with("127.0.0.1:0", ListenOptions::default().backlog(10)).unwrap();
    let crowd: Vec<TcpStream> = (0..20).map_while(|_| try_connect(address.tcp().unwrap())).collect();
    // Linux lets one more in than it was asked to.
    assert!((10..=11).contains(&crowd.len()), "{} came in", crowd.len());
}

/// Whoever waits in a backlog that is full to the brim has connected as far as he knows.
#[test]
fn a_drain_takes_everybody_out_of_a_full_backlog() {
    let path = socket_path("brim");
    for text in ["127.0.0.1:0", &format!("unix:{}", path.display())] {
        let mut pool = SocketPool::<()>::builder().build().unwrap();
        let address = pool.listen_with(text, ListenOptions::default().backlog(10)).unwrap();
        let target = match &address {
            Address::Tcp(addr) => SockAddr::from(*addr),
            _ => SockAddr::unix(&path).unwrap(),
        };
        let crowd: Vec<Socket> = (0..11)
            .map(|_| {
                let client = Socket::new(target.domain(), Type::STREAM, None).unwrap();
                client.connect(&target).unwrap();
                client.send(b"hello\n").unwrap();
                client
            })
            .collect();
        pool.drain(PATIENCE);
        served(&mut pool, move || {
            for mut client in crowd {
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).expect("it is not reset");
                assert_eq!(answer, b"hello\n");
            }
        });
        assert_eq!(pool.snapshot().counters.accepted, 11, "{address}");
    }
    assert!(!path.exists());
}

/// An old process makes way for a new one on the same port.
#[test]
fn of_two_that_share_a_port_one_can_drain_and_nobody_is_lost() {
    let shared = || ListenOptions::default().sharing(PortSharing::ReusePort);
    let mut old = SocketPool::<()>::builder().build().unwrap();
    let mut new = SocketPool::<()>::builder().build().unwrap();
    let address = old.listen_with("127.0.0.1:0", shared()).unwrap();
    new.listen_with(&address.to_string(), shared()).unwrap();
    let target = address.tcp().unwrap();
    let ask_each = || -> Vec<TcpStream> {
        let clients = (0..40).map(|_| TcpStream::connect(target).unwrap());
        clients.inspect(|mut client| client.write_all(b"hello\n").unwrap()).collect()
    };
    let early = ask_each();
    old.drain(PATIENCE);
    let late = ask_each();
    let client = std::thread::spawn(move || {
        for mut client in early.into_iter().chain(late) {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.read_exact(&mut [0; 6]).expect("it is answered by one of them");
        }
    });
    while !client.is_finished() {
        echo_turn(&mut old, Duration::from_millis(1));
        echo_turn(&mut new, Duration::from_millis(1));
    }
    client.join().unwrap();
    let (of_old, of_new) = (old.snapshot().counters, new.snapshot().counters);
    assert_eq!(of_old.operations + of_new.operations, 80);
    assert!(of_old.operations > 0, "whoever was in its backlog was not left to the other");
}

#[test]
fn a_unix_path_whose_owner_takes_nobody_in_is_in_use_and_no_trap() {
    let path = socket_path("busy-owner");
    let owner = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    owner.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    owner.listen(0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let text = format!("unix:{}", path.display());
    let (done, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let error = SocketPool::<()>::builder().build().unwrap().listen(&text).unwrap_err();
        done.send(error.to_string()).unwrap();
    });
    let error = told.recv_timeout(PATIENCE).expect("it does not wait for the owner");
    assert!(error.contains("in use"), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn an_abstract_name_is_served_like_a_path() {
    let mut pool = SocketPool::<()>::builder().build().unwrap();
    let text = format!("unix:@socketpool-served-{}", std::process::id());
    assert_eq!(pool.listen(&text).unwrap().to_string(), text);
    served(&mut pool, move || {
        let name = std::os::unix::net::SocketAddr::from_abstract_name(&text["unix:@".len()..]).unwrap();
        let mut client = UnixStream::connect_addr(&name).unwrap();
        client.write_all(b"hello\n").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
    });
}

#[test]
fn sockets_that_listen_already_are_taken_over() {
    let mut pool = SocketPool::<()>::builder().build().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    assert_eq!(pool.listen_on(tcp).unwrap(), Address::Tcp(address));
    let path = socket_path("adopted");
    pool.listen_on(UnixListener::bind(&path).unwrap()).unwrap();
    let connected = TcpStream::connect(address).unwrap();
    assert!(pool.listen_on(connected).is_err(), "what is connected does not listen");

    let there = path.clone();
    served(&mut pool, move || {
        ask(&mut TcpStream::connect(address).unwrap(), "hello\n", PATIENCE).unwrap();
        let mut unix = UnixStream::connect(there).unwrap();
        unix.write_all(b"hello\n").unwrap();
        unix.read_exact(&mut [0; 6]).unwrap();
    });
    drop(pool);
    assert!(path.exists(), "the path belongs to whoever made it");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn while_accepting_is_paused_newcomers_wait_and_the_others_are_served() {
    let (mut pool, address) = listening_pool();
    let mut early = TcpStream::connect(address).unwrap();
    turn_until(&mut pool, |pool, _| pool.len() == 1);
    pool.pause_accepting();
    let mut late = TcpStream::connect(address).unwrap();
    early = served(&mut pool, move || {
        ask(&mut early, "still here\n", PATIENCE).unwrap();
        early
    });
    assert_eq!(pool.len(), 1, "the newcomer waits");
    pool.resume_accepting();
    served(&mut pool, move || ask(&mut late, "at last\n", PATIENCE).unwrap());
    drop(early);
    assert_eq!(pool.snapshot().counters.accepted, 2);
}

/// A turn that takes longer than the grace must not cost a client its place before its message was looked at.
#[test]
fn a_newcomer_whose_first_message_has_come_is_heard_before_it_can_go() {
    let (clock, hand) = Clock::manual();
    let mut pool = SocketPool::<()>::builder().max_connections(1).clock(clock).build().unwrap();
    let address = pool.listen("127.0.0.1:0").unwrap().tcp().unwrap();
    let mut first = TcpStream::connect(address).unwrap();
    first.write_all(b"hello\n").unwrap();
    turn_until(&mut pool, |_, event| matches!(event, Event::Opened(_)));
    let _second = TcpStream::connect(address).unwrap();
    hand.advance(Duration::from_secs(1));
    for _ in 0..5 {
        assert_eq!(echo_turn(&mut pool, Duration::from_millis(1)), []);
    }
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    first.read_exact(&mut [0; 6]).expect("it is answered");

    // Served and idle for long enough, it makes room.
    hand.advance(Duration::from_secs(1));
    turn_until(&mut pool, |_, event| matches!(event, Event::Closed { reason: Reason::Evicted, .. }));
}

fn peer_of_next(pool: &mut SocketPool<u32>) -> Peer {
    let mut peer = None;
    turn_until(pool, |pool, event| {
        if let Event::Opened(id) = event {
            peer = Some(pool.conn(id).peer());
        }
        peer.is_some()
    });
    peer.expect("told by an event")
}

fn try_connect(address: SocketAddr) -> Option<TcpStream> {
    connect_from(Ipv4Addr::new(127, 0, 4, 1), address, Duration::from_millis(300)).ok()
}

fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("socketpool-{name}-{}.sock", std::process::id()))
}
