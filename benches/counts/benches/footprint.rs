//! What a pool costs that does nothing: memory for each idle connection, and sleep.

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use counts::{Plant, Protections};

fn main() {
    println!(
        "user bytes for an idle connection, every protection on (RSS; sizes by part as the pool tells them)"
    );
    million();
    real(9_000);
    sleep();
}

/// A million fake descriptors.
fn million() {
    const LIVE: u32 = 1_000_000;
    let empty = Plant::new(Protections::On, 1, 1);
    let before = resident();
    let mut plant = Plant::new(Protections::On, LIVE, LIVE);
    let bytes = (resident() - before) / u64::from(LIVE);
    println!("  1,000,000 fake descriptors  {bytes} B each");
    println!("  by part, total: {}", plant.pool.snapshot().memory);
    drop(empty);
}

/// Socketpairs; the kernel's memory is not the process's.
fn real(live: u32) {
    let mut theirs = Vec::with_capacity(live as usize);
    let before = resident();
    let mut pool = Protections::On.builder(live).build().expect("limits of a bench are valid");
    for made in 0..live {
        let Ok((ours, other)) = UnixStream::pair() else {
            println!("  real sockets: only {made} of {live} (ulimit -n)");
            return;
        };
        pool.add(ours).expect("there is room");
        theirs.push(other);
    }
    loop {
        pool.turn(Some(Duration::ZERO)).expect("the poller works");
        let mut told = 0;
        while pool.next_event().is_some() {
            told += 1;
        }
        if told == 0 {
            break;
        }
    }
    println!("  {live} real sockets         {} B each", (resident() - before) / u64::from(live));
}

/// How long the loop may sleep when nothing is due.
fn sleep() {
    let mut plant = Plant::new(Protections::Off, 10_000, 10_000);
    plant.reactor.turn(plant.pool.next_timeout()).expect("the mill does not fail");
    println!("idle, no deadline set: sleeps {}", told(plant.works.slept()));
    assert_eq!(plant.works.slept(), None, "a pool without deadlines wakes up for nothing");
    let mut plant = Plant::new(Protections::On, 10_000, 10_000);
    plant.reactor.turn(plant.pool.next_timeout()).expect("the mill does not fail");
    println!("idle, 10,000 deadlines: sleeps {}", told(plant.works.slept()));
    assert!(plant.works.slept() > Some(Duration::from_secs(1)), "it sleeps until the first of them");
}

fn told(slept: Option<Duration>) -> String {
    slept.map_or_else(|| "until something happens".to_owned(), |slept| format!("{slept:?}"))
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}
