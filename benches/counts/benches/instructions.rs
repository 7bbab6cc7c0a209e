//! How many instructions things take, by callgrind: identical in every run, whatever else the machine does.
//!
//! Every count stands for as many operations as the bench's name says (`x8000`); `cargo bench` in the library prints the
//! table for one. What is counted are the functions of `counted`, and what they call; preparations are not.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use counts::{Mill, Plant, Protections, READY_A_TURN, REQUEST_BYTES, echo};
use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint, LibraryBenchmarkConfig};
use socketpool::{ConnId, Reactor, SocketPool};

/// What is counted.
mod counted {
    use super::*;

    /// A turn on real sockets.
    #[inline(never)]
    pub(super) fn turn(pool: &mut SocketPool<()>) -> usize {
        pool.turn(Some(Duration::ZERO)).expect("the poller works");
        echo(pool)
    }

    /// A turn on the mill.
    #[inline(never)]
    pub(super) fn turn_mill(pool: &mut SocketPool<(), Mill>, reactor: &mut Reactor<Mill>) -> usize {
        reactor.turn(pool.next_timeout()).expect("the mill does not fail");
        pool.process(reactor);
        echo(pool)
    }

    #[inline(never)]
    pub(super) fn look_up(pool: &mut SocketPool<(), Mill>, ids: &[ConnId]) {
        for id in ids {
            black_box(pool.get(*id).is_some());
        }
    }

    #[inline(never)]
    pub(super) fn touch(pool: &mut SocketPool<(), Mill>, ids: &[ConnId]) {
        for id in ids {
            pool.conn(*id).touch();
        }
    }

    #[inline(never)]
    pub(super) fn check_rate(pool: &mut SocketPool<(), Mill>, ids: &[ConnId]) {
        for id in ids {
            black_box(pool.conn(*id).check_operation().is_ok());
        }
    }

    /// Adds and kills, and hears of both.
    #[inline(never)]
    pub(super) fn add_and_remove(plant: &mut Plant, count: usize) {
        for _ in 0..count {
            let id = plant.add();
            plant.pool.kill(id);
            hear(plant);
        }
    }

    /// Accepts, admits, seats, registers and reports whoever waits in the backlog.
    #[inline(never)]
    pub(super) fn accept(plant: &mut Plant) -> usize {
        hear(plant)
    }

    /// A turn of a drain.
    #[inline(never)]
    pub(super) fn drain(plant: &mut Plant) -> usize {
        hear(plant)
    }

    /// A turn in which nothing is due and nothing happens.
    #[inline(never)]
    pub(super) fn idle_turn(plant: &mut Plant) -> usize {
        hear(plant)
    }
}

/// A turn, and how many events it brings. Not in `counted`: a counted function that calls another one stops the count.
#[inline(always)]
fn hear(plant: &mut Plant) -> usize {
    plant.reactor.turn(Some(Duration::ZERO)).expect("the mill does not fail");
    plant.pool.process(&mut plant.reactor);
    let mut told = 0;
    while plant.pool.next_event().is_some() {
        told += 1;
    }
    told
}

/// 64 connections over the loopback, each served 125 times.
struct Shop {
    pool: SocketPool<()>,
    clients: Vec<TcpStream>,
}

impl Shop {
    fn new(protections: Protections) -> Self {
        let mut pool = protections.builder(1024).build().expect("limits of a bench are valid");
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let clients = (0..READY_A_TURN)
            .map(|_| {
                let client = TcpStream::connect(address).expect("the listener has room");
                client.set_nodelay(true).expect("a TCP socket");
                pool.add(listener.accept().expect("a client waits").0).expect("there is room");
                client
            })
            .collect();
        let mut shop = Self { pool, clients };
        // What happens once in a connection's life is over after the first two rounds.
        shop.rounds(2, |pool| {
            pool.turn(Some(Duration::ZERO)).expect("the poller works");
            echo(pool)
        });
        shop
    }

    fn rounds(&mut self, count: usize, turn: impl Fn(&mut SocketPool<()>) -> usize) {
        let mut bytes = [7; REQUEST_BYTES];
        for _ in 0..count {
            for client in &mut self.clients {
                client.write_all(&bytes).expect("a request is sent");
            }
            let mut answered = 0;
            while answered < READY_A_TURN {
                answered += turn(&mut self.pool);
            }
            for client in &mut self.clients {
                client.read_exact(&mut bytes).expect("an answer comes");
            }
        }
    }
}

#[library_benchmark(setup = Shop::new)]
#[bench::on_x8000(Protections::On)]
#[bench::without_byte_rates_x8000(Protections::WithoutByteRates)]
#[bench::off_x8000(Protections::Off)]
fn request(mut shop: Shop) -> Shop {
    shop.rounds(125, counted::turn);
    shop
}

fn small_plant(protections: Protections) -> Plant {
    let mut plant = Plant::new(protections, READY_A_TURN as u32, 1024);
    grind(&mut plant, 2, uncounted_turn);
    plant
}

fn uncounted_turn(plant: &mut Plant) -> usize {
    plant.reactor.turn(Some(Duration::ZERO)).expect("the mill does not fail");
    plant.pool.process(&mut plant.reactor);
    echo(&mut plant.pool)
}

fn grind(plant: &mut Plant, rounds: usize, turn: impl Fn(&mut Plant) -> usize) {
    for _ in 0..rounds {
        plant.works.make_ready();
        assert_eq!(turn(plant), READY_A_TURN);
    }
}

#[library_benchmark(setup = small_plant)]
#[bench::on_x8000(Protections::On)]
#[bench::without_byte_rates_x8000(Protections::WithoutByteRates)]
#[bench::off_x8000(Protections::Off)]
fn request_without_kernel(mut plant: Plant) -> Plant {
    grind(&mut plant, 125, |plant| counted::turn_mill(&mut plant.pool, &mut plant.reactor));
    plant
}

/// A pool with so many connections, and a thousand of them far apart. The same one comes again after a hundred at the
/// earliest, so each is put in order again in between.
fn crowd(live: u32) -> (Plant, Vec<ConnId>) {
    let plant = Plant::new(Protections::On, live, live + 1_000);
    let ids: Vec<ConnId> = plant.pool.ids().collect();
    let picks = (0..1_000).map(|n| ids[n * 7_919 % ids.len()]).collect();
    (plant, picks)
}

macro_rules! at_every_size {
    ($($(#[$doc:meta])* $name:ident = |$plant:ident, $ids:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[library_benchmark(setup = crowd)]
        #[bench::at_100_x1000(100)]
        #[bench::at_10000_x1000(10_000)]
        #[bench::at_1000000_x1000(1_000_000)]
        fn $name((mut $plant, $ids): (Plant, Vec<ConnId>)) -> Plant {
            $body;
            $plant
        }
    )*};
}

at_every_size! {
    look_up = |plant, ids| counted::look_up(&mut plant.pool, &ids);
    touch = |plant, ids| counted::touch(&mut plant.pool, &ids);
    check_rate = |plant, ids| counted::check_rate(&mut plant.pool, &ids);
    add_and_remove = |plant, ids| counted::add_and_remove(&mut plant, ids.len());
    accept_and_admit = |plant, ids| {
        let mut left = ids.len();
        while left > 0 {
            plant.works.queue_newcomers(left.min(50) as u32);
            left -= counted::accept(&mut plant);
        }
    };
    idle_turn = |plant, ids| for _ in &ids { assert_eq!(counted::idle_turn(&mut plant), 0); };
}

fn ten_thousand(protections: Protections) -> Plant {
    let mut plant = Plant::new(protections, 10_000, 10_000);
    plant.pool.drain(None);
    plant
}

#[library_benchmark(setup = ten_thousand)]
#[bench::on_x10000(Protections::On)]
fn drain(mut plant: Plant) -> Plant {
    let mut longest = 0;
    while !plant.pool.is_empty() {
        longest = longest.max(counted::drain(&mut plant));
    }
    assert!(longest <= 65, "{longest} ends in one turn");
    plant
}

library_benchmark_group!(
    name = pool;
    benchmarks = request, request_without_kernel, look_up, touch, check_rate, add_and_remove, accept_and_admit, idle_turn, drain
);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().entry_point(EntryPoint::Custom("instructions::counted::*".to_owned())));
    library_benchmark_groups = pool
);
