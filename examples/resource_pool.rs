//! Many threads over a few connections to redis, the server restarted in the middle, and a drain at the end. Without a
//! `redis-server` a thread stands in for it. SIGTERM or SIGINT drains, a second one ends.
//!
//! ```text
//! cargo run --release --example resource_pool -- --threads 32 --connections 4 --seconds 3
//! ```

#[path = "shared/command_line.rs"]
mod command_line;
#[path = "shared/redis.rs"]
mod redis;
#[path = "shared/signals.rs"]
mod signals;
#[path = "shared/streams.rs"]
mod streams;

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use Step::{BringBack, Look, TakeAway};
use command_line::{CommandLine, Flag, Wrong};
use redis::{Kind, Redis, Server};
use socketpool::{BreakerConfig, Pool, PoolConfig, PoolError};
use streams::{complain, say};

const HELP: &str = "\
usage: resource_pool [FLAG VALUE]..

  --threads N       threads that ask for a connection, 1 to 1000 [32]
  --connections N   connections that there may be, 1 to 1000 [4]
  --seconds N       how long it takes, 1 to 3600; the server is gone for a tenth of it [3]
  --stand-in        a thread serves, even if there is a redis-server
  --help            this text
";

struct Options {
    threads: u32,
    connections: u32,
    seconds: u32,
    server: Kind,
}

enum Step {
    Look,
    TakeAway,
    BringBack,
}

/// What happens, each after so many tenths of the time.
const STORY: [(u32, Step); 5] = [(2, Look), (2, TakeAway), (1, BringBack), (2, Look), (3, Look)];
const TENTH: Duration = Duration::from_millis(100);
/// How long a drain waits for whoever holds a connection.
const DRAIN: Duration = Duration::from_secs(5);

/// What the callers saw.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Seen {
    fn failed(&self, error: &dyn Error) {
        *self.errors.lock().expect("nothing panics with it").entry(error.to_string()).or_default() += 1;
    }
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    let result = match parse(CommandLine::new(std::env::args_os().skip(1))) {
        Ok(Some(options)) => run(&options),
        Ok(None) => say(HELP).map_err(Into::into),
        Err(wrong) => Err(wrong.into()),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    complain(format_args!("resource_pool: {error}"));
    ExitCode::from(if error.is::<Wrong>() { 2 } else { 1 })
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let interrupted = signals::interrupts()?;
    let mut server = Server::start(options.server)?;
    // A server that is only restarted is asked again soon, and never given a rest of half a minute.
    let breaker = BreakerConfig { failures: u32::MAX, max_delay: TENTH, ..BreakerConfig::default() };
    let config = PoolConfig {
        max_size: options.connections,
        op_timeout: Some(Duration::from_secs(1)),
        breaker: Some(breaker),
        ..PoolConfig::default()
    };
    let pool = Pool::builder(Redis(server.address())).config(config).build()?;
    let Options { threads, connections, server: what, .. } = options;
    say(format_args!("{threads} threads, {connections} connections, {what} at {}\n\n", server.address()))?;
    say(" seconds   answered  failed                  pool\n")?;

    let (seen, begun) = (Arc::new(Seen::default()), Instant::now());
    let workers: Vec<_> = (0..options.threads)
        .map(|_| {
            let (pool, seen) = (pool.clone(), Arc::clone(&seen));
            thread::spawn(move || ask_again_and_again(&pool, &seen))
        })
        .collect();
    let row = |what: &str| {
        let answered = seen.answered.load(Ordering::Relaxed);
        let failed: u64 = seen.errors.lock().expect("nothing panics with it").values().sum();
        let (at, stats) = (begun.elapsed().as_secs_f64(), pool.stats());
        say(format_args!("{at:>8.2}  {answered:>9}  {failed:>6}  {what:<14}  {stats}\n"))
    };
    for (tenths, step) in STORY {
        // An interrupt goes straight on to the drain.
        if interrupted.recv_timeout(TENTH * options.seconds * tenths).is_ok() {
            break;
        }
        match step {
            Look => row("")?,
            TakeAway => {
                server.take_away();
                row("server gone")?;
            }
            BringBack => {
                let (back, before) = (Instant::now(), seen.answered.load(Ordering::Relaxed));
                server.bring_back()?;
                while seen.answered.load(Ordering::Relaxed) == before && back.elapsed() < DRAIN {
                    thread::park_timeout(Duration::from_millis(1));
                }
                row(&format!("back in {} ms", back.elapsed().as_millis()))?;
            }
        }
    }
    row("draining")?;
    row(pool.drain(DRAIN).as_str())?;
    workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked"))?;
    report(&pool, &seen)
}

/// What one thread does until the pool takes nobody any more.
fn ask_again_and_again(pool: &Pool<Redis>, seen: &Seen) {
    loop {
        let mut client = match pool.acquire() {
            Ok(client) => client,
            Err(PoolError::Closed) => return,
            Err(error) => {
                seen.failed(&error);
                continue;
            }
        };
        match client.command(&["INCR", "visits"]) {
            Ok(_) => _ = seen.answered.fetch_add(1, Ordering::Relaxed),
            // The manager's `is_broken` knows, so the pool closes it when it is dropped here.
            Err(error) => seen.failed(&error),
        }
    }
}

fn report(pool: &Pool<Redis>, seen: &Seen) -> Result<(), Box<dyn Error>> {
    let stats = pool.stats();
    let (created, refused) = (stats.connections_created, stats.connection_errors.connect);
    say(format_args!("\nconnects  {created} begun, of which {refused} came to nothing\n"))?;
    say(format_args!(
        "hit rate  {:.2} % got a connection that had served before\n",
        stats.hit_rate() * 100.0
    ))?;
    let waits = stats.waits;
    say(format_args!("waits     {:.1?} p50, {:.1?} p99, {:.1?} max\n", waits.p50, waits.p99, waits.max))?;
    let errors = seen.errors.lock().expect("nothing panics with it");
    say(if errors.is_empty() { "errors    none\n" } else { "errors\n" })?;
    errors.iter().try_for_each(|(error, times)| say(format_args!("{times:>8}  {error}\n")))?;
    Ok(())
}

fn parse(mut line: CommandLine<impl Iterator<Item = std::ffi::OsString>>) -> Result<Option<Options>, Wrong> {
    let mut options = Options { threads: 32, connections: 4, seconds: 3, server: Kind::found() };
    while let Some(flag) = line.flag()? {
        let mut number = |flag: &Flag, range: RangeInclusive<u32>| {
            let wanted = format!("a number from {} to {}", range.start(), range.end());
            let value = line.value(flag, &wanted)?;
            value
                .parse()
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| flag.wrong(&value, &wanted))
        };
        match flag.name.as_str() {
            "--threads" => options.threads = number(&flag, 1..=1_000)?,
            "--connections" => options.connections = number(&flag, 1..=1_000)?,
            "--seconds" => options.seconds = number(&flag, 1..=3_600)?,
            "--stand-in" => flag.alone().map(|()| options.server = Kind::StandIn)?,
            "--help" | "-h" => return flag.alone().map(|()| None),
            _ => return Err(flag.unknown()),
        }
    }
    Ok(Some(options))
}
