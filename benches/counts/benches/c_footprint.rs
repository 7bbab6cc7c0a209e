//! What an idle connection costs a program that uses the C interface: user bytes, by step.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::ptr::null_mut;

use socketpool::capi::*;

mod fakes;

fn main() {
    // Each in a process of its own: memory that one gives back another one takes.
    let rows: [(&str, fn()); 6] = [
        ("guide", || guide("9,000 real", 9_000, real)),
        ("guide_all", || guide_with("9,000 real, all limits", 9_000, real, every_limit)),
        ("loop", || driven_by_pool("9,000 real", 9_000, real)),
        ("guide_million", || guide("1,000,000 fake", 1_000_000, fake)),
        ("guide_all_million", || guide_with("1,000,000 fake, all limits", 1_000_000, fake, every_limit)),
        ("loop_million", || driven_by_pool("1,000,000 fake", 1_000_000, fake)),
    ];
    let wanted = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    for (name, row) in rows {
        if wanted.as_deref() == Some(name) {
            return row();
        }
    }
    println!("user bytes for an idle connection through the C interface, fixed costs of the pool included");
    let this = std::env::current_exe().expect("a program has a path");
    for (name, _) in rows {
        let status = std::process::Command::new(&this).arg(name).status().expect("it runs once more");
        assert!(status.success(), "{name}: {status}");
    }
}

/// Makes so many descriptors, and what must stay for as long as they are used.
type Make = fn(u32) -> (Vec<i32>, Vec<TcpStream>);

fn real(count: u32) -> (Vec<i32>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let mut ours = Vec::with_capacity(count as usize);
    let mut theirs = Vec::with_capacity(count as usize);
    for _ in 0..count {
        theirs.push(TcpStream::connect(address).expect("descriptors are there (ulimit -n)"));
        ours.push(listener.accept().expect("it has connected").0.into_raw_fd());
    }
    (ours, theirs)
}

fn fake(count: u32) -> (Vec<i32>, Vec<TcpStream>) {
    ((0..count).map(fakes::descriptor).collect(), Vec::new())
}

fn no_limit(_: SocketPool_T) {}

fn every_limit(pool: SocketPool_T) {
    let protection = SocketSYNProtect_new(null_mut(), 1_000_000, 10_000);
    assert_eq!(SocketPool_set_idle_timeout(pool, 600_000), 0);
    assert_eq!(SocketPool_set_max_lifetime(pool, 600_000), 0);
    assert_eq!(SocketPool_set_first_message_timeout(pool, 600_000), 0);
    assert_eq!(SocketPool_set_write_stall_timeout(pool, 600_000), 0);
    assert_eq!(SocketPool_setconnrate(pool, 1_000_000, 1_000), 0);
    assert_eq!(SocketPool_set_global_rate(pool, 1_000_000, 1_000), 0);
    assert_eq!(SocketPool_setmaxperip(pool, 65_535), 0);
    assert_eq!(SocketPool_set_syn_protection(pool, protection), 0);
}

fn guide(title: &str, live: u32, make: Make) {
    guide_with(title, live, make, no_limit);
}

/// The guide's flow: a socket, added, and in a poll.
fn guide_with(title: &str, live: u32, make: Make, limit: fn(SocketPool_T)) {
    let (descriptors, _theirs) = make(live);
    // What the program itself remembers is none of the library's.
    let mut connections = vec![null_mut::<sp_connection>(); live as usize];
    connections.fill(std::ptr::dangling_mut());
    let steps = Steps::begin(live);
    for (place, fd) in connections.iter_mut().zip(&descriptors) {
        *place = Socket_new_from_fd(*fd).cast();
    }
    let named = steps.so_far();
    let pool = SocketPool_new(null_mut(), live as usize, 65_536);
    limit(pool);
    for place in &mut connections {
        *place = SocketPool_add(pool, place.cast());
        assert!(!place.is_null(), "there is room");
    }
    let added = steps.so_far();
    let poll = SocketPoll_new(64);
    for (connection, fd) in connections.iter().zip(&descriptors) {
        assert_eq!(sp_poll_add_fd(poll, *fd, 1, connection.cast()), 0);
    }
    let mut events = null_mut();
    // SAFETY: the pointer is to a local.
    let ready = unsafe { SocketPoll_wait(poll, &raw mut events, 0) };
    assert_eq!(ready, 0, "nobody has sent anything");
    let polled = steps.so_far();
    println!(
        "  guide, {title:<28} {polled:>4} B each: socket {named}, add {}, poll {}",
        added - named,
        polled - added
    );
}

/// The pool's own loop, which sockets are added to.
fn driven_by_pool(title: &str, live: u32, make: Make) {
    let (descriptors, _theirs) = make(live);
    let mut event = std::mem::MaybeUninit::<sp_event>::zeroed();
    let steps = Steps::begin(live);
    let pool = SocketPool_new(null_mut(), live as usize, 65_536);
    assert_eq!(SocketPool_turn(pool, 0), 0);
    for fd in &descriptors {
        assert!(!SocketPool_add(pool, Socket_new_from_fd(*fd)).is_null(), "there is room");
    }
    let mut told = 0;
    loop {
        assert_eq!(SocketPool_turn(pool, 0), 0);
        let before = told;
        // SAFETY: the pointer is to a local.
        while unsafe { SocketPool_next_event(pool, event.as_mut_ptr()) } == 1 {
            told += 1;
        }
        if told == before {
            break;
        }
    }
    assert_eq!(told, live, "each is told of once");
    println!("  loop,  {title:<28} {:>4} B each", steps.so_far());
}

/// How memory grows with what is done for each of so many.
struct Steps {
    live: u32,
    before: u64,
}

impl Steps {
    fn begin(live: u32) -> Self {
        Self { live, before: resident() }
    }

    fn so_far(&self) -> u64 {
        (resident() - self.before) / u64::from(self.live)
    }
}

/// Bytes of this process that are in memory and come from no file: code that runs for the first time is not the pool's.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a process has memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}
