//! Who waits how long when many want the same few resources, and who is overtaken by whom.
//!
//! Every worker takes a ticket before it asks and another number when it is served; all the rest is arithmetic after
//! the run. Preemption between ticket and call looks like being overtaken: on threads, a few are noise.

use crate::roster::{self, Async, Blocking, Runtime};
use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A crowd in front of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: &'static str,
    pub about: &'static str,
    pub workers: usize,
    pub size: usize,
    pub hold: Hold,
}

/// What a worker does with the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Waits for a peer, as far as the pool can see: threads 50 us, tasks 1 ms, the shortest that tokio's timers know.
    Io,
    /// Computes for 2 us, less than a context switch takes.
    Busy,
}

/// What [`of_threads`] and [`of_tasks`] find, in this order.
pub const FIGURES: [&str; 8] = [
    "wait_p50_us",
    "wait_p99_us",
    "wait_max_us",
    "overtaken_p99",
    "overtaken_max",
    "slowest_worker",
    "fastest_worker",
    "ops_per_second",
];

impl Queue {
    pub const ALL: [Self; 3] = [
        Self {
            name: "io-64",
            about: "64 workers, pool 4, hold like I/O",
            workers: 64,
            size: 4,
            hold: Hold::Io,
        },
        Self { name: "io-8", about: "8 workers, pool 4, hold like I/O", workers: 8, size: 4, hold: Hold::Io },
        Self { name: "busy-8", about: "8 workers, pool 1, 2 us busy", workers: 8, size: 1, hold: Hold::Busy },
    ];

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.name == name)
    }

    /// Tasks on one thread that hold without awaiting meet nobody.
    pub fn suits(self, runtime: Runtime) -> bool {
        self.hold == Hold::Io || runtime != Runtime::CurrentThread
    }
}

pub fn of_threads<P: Blocking>(_: Runtime, queue: Queue, limit: Duration) -> Vec<f64> {
    let pool = roster::stock_threads::<P>(queue.size);
    let run = Run::start(queue, limit);
    let workers: Vec<_> = (0..queue.workers)
        .map(|_| {
            thread::spawn(move || {
                let mut turns = Vec::new();
                while !run.is_over() {
                    let arrival = run.arrive();
                    let mut guard = pool.acquire();
                    turns.push(run.serve(arrival));
                    *guard += 1;
                    match queue.hold {
                        Hold::Io => thread::sleep(IO_THREADS),
                        Hold::Busy => compute(),
                    }
                }
                turns
            })
        })
        .collect();
    let turns = workers.into_iter().map(|worker| worker.join().expect("workers do not panic")).collect();
    run.figures(turns)
}

pub fn of_tasks<P: Async>(runtime: Runtime, queue: Queue, limit: Duration) -> Vec<f64> {
    runtime.start().block_on(async {
        let pool = roster::stock_tasks::<P>(queue.size).await;
        let run = Run::start(queue, limit);
        let workers: Vec<_> = (0..queue.workers)
            .map(|_| {
                tokio::spawn(async move {
                    let mut turns = Vec::new();
                    while !run.is_over() {
                        let arrival = run.arrive();
                        let mut guard = pool.acquire().await;
                        turns.push(run.serve(arrival));
                        *guard += 1;
                        match queue.hold {
                            Hold::Io => tokio::time::sleep(IO_TASKS).await,
                            Hold::Busy => compute(),
                        }
                    }
                    turns
                })
            })
            .collect();
        let mut turns = Vec::new();
        for worker in workers {
            turns.push(worker.await.expect("workers do not panic"));
        }
        run.figures(turns)
    })
}

/// What all workers of one run share.
struct Run {
    begin: Instant,
    arrivals: AtomicU64,
    served: AtomicU64,
    over: AtomicBool,
    /// Nanoseconds after the begin, and how many had been served, when it was over.
    end: [AtomicU64; 2],
}

/// A worker in the line.
struct Arrival {
    ticket: u64,
    at: Instant,
}

/// A worker that has been served.
struct Turn {
    ticket: u64,
    served: u64,
    wait: Duration,
    /// Those served after the end say how long they waited, but count for nobody.
    in_time: bool,
}

impl Run {
    /// A thread ends it as soon as the mean worker has had enough turns, or at the limit.
    fn start(queue: Queue, limit: Duration) -> &'static Self {
        let run: &'static Self = Box::leak(Box::new(Self {
            begin: Instant::now(),
            arrivals: AtomicU64::new(0),
            served: AtomicU64::new(0),
            over: AtomicBool::new(false),
            end: [AtomicU64::new(0), AtomicU64::new(0)],
        }));
        let goal = TURNS * queue.workers as u64;
        thread::spawn(move || {
            loop {
                thread::sleep(LOOK);
                let elapsed = run.begin.elapsed();
                let served = run.served.load(Ordering::Relaxed);
                if elapsed >= limit || (elapsed >= SHORTEST && served >= goal) {
                    run.end[0].store(elapsed.as_nanos() as u64, Ordering::Relaxed);
                    run.end[1].store(served, Ordering::Relaxed);
                    run.over.store(true, Ordering::Release);
                    return;
                }
            }
        });
        run
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn arrive(&self) -> Arrival {
        Arrival { at: Instant::now(), ticket: self.arrivals.fetch_add(1, Ordering::Relaxed) }
    }

    fn serve(&self, arrival: Arrival) -> Turn {
        let served = self.served.fetch_add(1, Ordering::Relaxed);
        Turn { ticket: arrival.ticket, served, wait: arrival.at.elapsed(), in_time: !self.is_over() }
    }

    fn figures(&self, workers: Vec<Vec<Turn>>) -> Vec<f64> {
        let counts: Vec<usize> =
            workers.iter().map(|turns| turns.iter().filter(|turn| turn.in_time).count()).collect();
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        let relative = |count: Option<&usize>| count.map_or(f64::NAN, |count| *count as f64 / mean);
        let [nanos, served] = [0, 1].map(|n| self.end[n].load(Ordering::Relaxed) as f64);
        let mut turns: Vec<(Turn, f64)> = workers.into_iter().flat_map(weighted).collect();
        turns.sort_by_key(|(turn, _)| turn.served);
        let tickets: Vec<usize> = turns.iter().map(|(turn, _)| turn.ticket as usize).collect();
        let overtaken = overtaken(&tickets).into_iter().map(f64::from);
        let overtaken = sorted(overtaken.zip(turns.iter().map(|(_, weight)| *weight)));
        let waits = sorted(turns.iter().map(|(turn, weight)| (turn.wait.as_nanos() as f64 / 1e3, *weight)));
        vec![
            percentile(&waits, 50.0),
            percentile(&waits, 99.0),
            percentile(&waits, 100.0),
            percentile(&overtaken, 99.0),
            percentile(&overtaken, 100.0),
            relative(counts.iter().min()),
            relative(counts.iter().max()),
            served / nanos * 1e9,
        ]
    }
}

/// Gives each worker the same weight, however few turns it has had. Were each turn to weigh the same, a pool that serves
/// four of sixty-four over and over again would seem to keep nobody waiting.
fn weighted(turns: Vec<Turn>) -> impl Iterator<Item = (Turn, f64)> {
    let weight = 1.0 / turns.len() as f64;
    turns.into_iter().map(move |turn| (turn, weight))
}

fn sorted(figures: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    figures
}

/// The lowest figure that so many per cent of the weight do not exceed.
fn percentile(sorted: &[(f64, f64)], percent: f64) -> f64 {
    let mut rest = sorted.iter().map(|(_, weight)| weight).sum::<f64>() * percent / 100.0;
    let reaches = sorted.iter().find(|(_, weight)| {
        rest -= weight;
        // Sums of fractions are not exact.
        rest < weight * 1e-6
    });
    reaches.or(sorted.last()).map_or(f64::NAN, |(figure, _)| *figure)
}

/// For each ticket, in the order in which they were served: how many higher ones came before it. The tickets are
/// 0 to n-1, each once. A tree of partial sums (Fenwick), since a run has up to a million turns.
fn overtaken(tickets: &[usize]) -> Vec<u32> {
    let mut sums = vec![0_u32; tickets.len() + 1];
    let mut overtaken = Vec::with_capacity(tickets.len());
    for (before, ticket) in tickets.iter().enumerate() {
        let mut lower = 0;
        let mut index = *ticket;
        while index > 0 {
            lower += sums[index];
            index &= index - 1;
        }
        overtaken.push(before as u32 - lower);
        index = *ticket + 1;
        while index < sums.len() {
            sums[index] += 1;
            index += index & index.wrapping_neg();
        }
    }
    overtaken
}

fn compute() {
    let begin = Instant::now();
    while begin.elapsed() < BUSY {
        hint::spin_loop();
    }
}

/// Turns of the mean worker after which a run ends.
const TURNS: u64 = 200;
/// A run of very short turns is this long nevertheless.
const SHORTEST: Duration = Duration::from_millis(250);
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(5);
const IO_THREADS: Duration = Duration::from_micros(50);
const IO_TASKS: Duration = Duration::from_millis(1);
const BUSY: Duration = Duration::from_micros(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_served_in_order_are_not_overtaken() {
        assert_eq!(overtaken(&[0, 1, 2, 3]), [0, 0, 0, 0]);
    }

    #[test]
    fn half_of_the_workers_make_the_median_however_few_turns_they_have() {
        let busy = (0..8).map(|_| (1.0, 1.0 / 8.0));
        let starved = [(9.0, 1.0), (9.0, 1.0)].into_iter();
        let figures = sorted(busy.chain(starved));
        assert_eq!(percentile(&figures, 33.0), 1.0);
        assert_eq!(percentile(&figures, 50.0), 9.0);
    }

    #[test]
    fn percentiles_of_equals_are_the_usual_ones() {
        let figures = sorted((1..=100).map(|n| (f64::from(n), 0.01)));
        assert_eq!([50.0, 99.0, 100.0].map(|percent| percentile(&figures, percent)), [50.0, 99.0, 100.0]);
    }

    #[test]
    fn every_later_ticket_that_is_served_first_counts() {
        assert_eq!(overtaken(&[3, 1, 2, 0]), [0, 1, 1, 3]);
    }
}
