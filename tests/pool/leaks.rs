//! A lease that lasts too long is told of once, with the place where it was taken.

use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};

use log::{Level, LevelFilter, Log, Metadata, Record};
use socketpool::PoolConfig;

use crate::scene::{Scene, quiet, secs};

/// Keeps what is logged, with the thread that logged it.
struct Kept(Mutex<Vec<(ThreadId, Level, String)>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl Log for Kept {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let line = (thread::current().id(), record.level(), record.args().to_string());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}

/// What this thread has logged of leaks. A pool that is driven by hand logs in the thread of its test.
fn leaks() -> Vec<String> {
    let kept = KEPT.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mine = kept.iter().filter(|(thread, ..)| *thread == thread::current().id());
    mine.map(|(.., line)| line.clone()).filter(|line| line.contains("leak")).collect()
}

pub(crate) fn keep_logs() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&KEPT).expect("no other logger in this binary");
        log::set_max_level(LevelFilter::Warn);
    });
}

#[test]
fn a_lease_that_lasts_too_long_is_told_of_once_with_its_place() {
    keep_logs();
    let scene = Scene::new(PoolConfig { leak_threshold: Some(secs(60)), ..quiet(2) });
    let _leaked = scene.pool.acquire().unwrap();
    let line = line!() - 1;
    for _ in 0..59 {
        scene.pass(secs(1));
    }
    assert_eq!(leaks(), Vec::<String>::new());
    for _ in 0..120 {
        scene.pass(secs(1));
    }
    let told = leaks();
    assert_eq!(told.len(), 1, "{told:?}");
    let place = format!("{}:{line}:", file!());
    assert!(told[0].contains(&place), "{} does not name {place}", told[0]);
}

#[test]
fn the_place_of_a_future_and_of_a_function_is_where_they_were_asked_for() {
    keep_logs();
    let scene = Scene::new(PoolConfig { leak_threshold: Some(secs(60)), ..quiet(2) });
    let mut future = crate::waiters::ByHand::in_line(scene.pool.acquire_async().into_owned());
    let line_of_future = line!() - 1;
    scene.tick();
    let _leaked = future.get().unwrap();
    let (give, take) = std::sync::mpsc::channel();
    scene.pool.acquire_with(move |got| give.send(got).unwrap());
    let line_of_function = line!() - 1;
    scene.tick();
    let _leaked_too = take.recv().unwrap().unwrap();
    for _ in 0..180 {
        scene.pass(secs(1));
    }
    let told = leaks();
    assert_eq!(told.len(), 2, "{told:?}");
    for line in [line_of_future, line_of_function] {
        let place = format!("{}:{line}:", file!());
        assert!(told.iter().any(|told| told.contains(&place)), "{told:?} do not name {place}");
    }
}

#[test]
fn who_gives_back_in_time_is_not_told_of() {
    keep_logs();
    let scene = Scene::new(PoolConfig { leak_threshold: Some(secs(60)), ..quiet(1) });
    for _ in 0..10 {
        let lease = scene.acquire();
        scene.pass(secs(59));
        scene.release(lease);
    }
    assert_eq!(leaks(), Vec::<String>::new());
}

#[test]
fn the_next_lease_of_a_connection_is_told_of_anew() {
    keep_logs();
    let scene = Scene::new(PoolConfig { leak_threshold: Some(secs(60)), ..quiet(1) });
    for round in 1..=3 {
        let lease = scene.acquire();
        scene.pass(secs(60));
        scene.pass(secs(60));
        scene.release(lease);
        assert_eq!(leaks().len(), round);
    }
}
