//! How long the lower rooms take, as ratios to something plain in the same run: absolute times say little on a shared
//! machine.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;

use crate::admission::{Decision, Gate, Intake, Limits, Origin, Permit, Proof, Room, SynProtection};
use crate::bucket::{Bucket, ByteBucket, ByteRate, Level, Moment, Rate};
use crate::buffer::ChunkStore;
use crate::clock::Nanos;
use crate::peer::Peer;
use crate::timer::Timers;

/// Measures everything and prints the table.
pub fn run() {
    let results = results();
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .output_directory(&results)
        .configure_from_args();
    buffers(&mut criterion);
    rates(&mut criterion);
    deadlines(&mut criterion);
    addresses(&mut criterion);
    criterion.final_summary();
    print_ratios(&results);
}

/// What waits costs one copy in and none out; the baseline is one copy.
fn buffers(criterion: &mut Criterion) {
    for len in [64, 4096] {
        let mut group = criterion.benchmark_group(format!("buffer {len} B"));
        let source = vec![7_u8; len];
        let mut target = vec![0_u8; len];
        group.bench_function(BASELINE, |b| {
            b.iter(|| black_box(&mut target).copy_from_slice(black_box(&source)));
        });
        let mut store = ChunkStore::new(1 << 20);
        group.bench_function("input ring: borrow, fill, empty, give back", |b| {
            b.iter(|| {
                let mut ring = store.ring(len).expect("memory");
                ring.push(black_box(&source));
                let seen = black_box(ring.contiguous()).len();
                ring.consume(seen);
                store.give_back(ring);
            });
        });
        group.bench_function("output: borrow, fill, empty, give back", |b| {
            b.iter(|| {
                let mut output = store.output().expect("memory");
                output.push(black_box(&source), &mut store).expect("memory");
                output.advance(len, &mut store);
                store.give_back_output(output);
            });
        });
    }
}

/// One check against a bucket; the baseline is the algorithm in one line over a plain u64.
fn rates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rate check");
    let (period, span) = (1_000_000_u64, 100_000_000_u64);
    let (mut tat, mut now) = (0_u64, 1_u64);
    group.bench_function(BASELINE, |b| {
        b.iter(|| {
            now += 900_000;
            let next = black_box(tat).max(now) + period;
            let allowed = next <= now + span;
            if allowed {
                tat = next;
            }
            black_box(allowed)
        });
    });
    let operations = Bucket::new(Rate::per_second(1_000).burst(100));
    for (name, step) in [("operations, bucket full", 2_000_000), ("operations, bucket in use", 999_999)] {
        let level = Level::full();
        let mut now = 1;
        group.bench_function(name, |b| {
            b.iter(|| {
                now += step;
                black_box(operations.check(black_box(&level), Moment::of(Nanos::new(now))).is_ok())
            });
        });
    }
    let bytes = ByteBucket::new(ByteRate::per_second(1_000_000).burst(100_000));
    for (name, step) in [("bytes, bucket full", 2_000_000), ("bytes, bucket in use", 63_000)] {
        let level = Level::full();
        let mut now = 1;
        group.bench_function(name, |b| {
            b.iter(|| {
                now += step;
                let now = Moment::of(Nanos::new(now));
                let most = bytes.allowance(black_box(&level), now);
                bytes.spend(&level, 64.min(most as usize), now);
                black_box(most)
            });
        });
    }
}

/// One deadline of 10,000 moved by 30 s, and what is due taken out; the baseline is an ordered map.
fn deadlines(criterion: &mut Criterion) {
    const SLOTS: u32 = 10_000;
    let mut group = criterion.benchmark_group("deadline of 10,000");
    let mut map: BTreeMap<(Nanos, u32), ()> = BTreeMap::new();
    let mut due = vec![Nanos::ZERO; SLOTS as usize];
    let (mut slot, mut now) = (0_u32, Nanos::ZERO);
    group.bench_function(BASELINE, |b| {
        b.iter(|| {
            slot = (slot + 7_919) % SLOTS;
            now = now + Duration::from_micros(100);
            map.remove(&(due[slot as usize], slot));
            due[slot as usize] = now + Duration::from_secs(30);
            map.insert((due[slot as usize], slot), ());
            black_box(map.first_key_value().is_some_and(|((due, _), ())| *due <= now))
        });
    });
    let mut timers = Timers::new();
    timers.try_reserve(SLOTS as usize).expect("memory for 10,000 deadlines");
    let (mut slot, mut now) = (0, Nanos::ZERO);
    group.bench_function("moved in the wheel", |b| {
        b.iter(|| {
            slot = (slot + 7_919) % SLOTS;
            now = now + Duration::from_micros(100);
            timers.arm(slot, now + Duration::from_secs(30));
            black_box(timers.expired(now))
        });
    });
    group.bench_function("touched lazily, nothing due", |b| {
        b.iter(|| {
            slot = (slot + 7_919) % SLOTS;
            now = now + Duration::from_nanos(100);
            timers.arm_by(slot, now + Duration::from_secs(30));
            black_box(timers.expired(now))
        });
    });
}

/// Admits and lets go one connection among so many addresses; the baseline counts them in a std map.
fn addresses(criterion: &mut Criterion) {
    for known in [1_000_u32, 100_000] {
        let mut group = criterion.benchmark_group(format!("admission, {known} addresses"));
        let ip = |n: u32| Ipv4Addr::from(0x0a00_0000 + n.wrapping_mul(2_654_435_761) % known);
        let mut counts: HashMap<IpAddr, u32> = (0..known).map(|n| (ip(n).into(), 1)).collect();
        let mut n = 0_u32;
        group.bench_function(BASELINE, |b| {
            b.iter(|| {
                n = n.wrapping_add(1);
                *counts.entry(ip(n).into()).or_insert(0) += 1;
                *counts.entry(ip(n).into()).or_insert(0) -= 1;
            });
        });
        let limits = Limits {
            max_per_ip: Some(1_000),
            v4_prefix: 32,
            v6_prefix: 64,
            accept_rate: Some(Rate::per_second(1_000_000).burst(1_000_000_000)),
            ..Limits::default()
        };
        for (name, syn) in
            [("count and rate", None), ("count, rate and SYN score", Some(SynProtection::default()))]
        {
            let mut gate = Gate::new(Limits { syn, ..limits.clone() }, 200_000).expect("limits are valid");
            let mut now = Nanos::new(1);
            let peer = |n: u32| Peer::from(SocketAddr::from((ip(n), 1)));
            let mut admit = |gate: &mut Gate, n: u32| -> Option<Permit> {
                now = now + Duration::from_millis(1);
                let peer = peer(n);
                match gate.decide(&peer, Origin::Accepted, Intake::Open, Room::Available, now) {
                    Decision::Admit(permit) | Decision::Delay(permit, _) => Some(permit),
                    Decision::Refuse(_) => None,
                }
            };
            let held: Vec<Option<Permit>> = (0..known).map(|n| admit(&mut gate, n)).collect();
            let mut n = 0_u32;
            group.bench_function(name, |b| {
                b.iter(|| {
                    n = n.wrapping_add(1);
                    if let Some(permit) = admit(&mut gate, n) {
                        gate.release(permit, &peer(n), Proof::Proven, Nanos::new(1));
                    }
                });
            });
            for (permit, n) in held.into_iter().zip(0..) {
                if let Some(permit) = permit {
                    gate.release(permit, &peer(n), Proof::Proven, Nanos::new(1));
                }
            }
        }
    }
}

/// Where criterion keeps what it has measured.
fn results() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("criterion")
}

fn print_ratios(results: &Path) {
    println!("\n{:<34} {:<44} {:>9} {:>7}", "", "", "ns", "ratio");
    let mut groups: Vec<PathBuf> = children(results);
    groups.sort();
    for group in groups {
        let Some(baseline) = median(&group.join(BASELINE)) else { continue };
        let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut benches = children(&group);
        benches.sort();
        for bench in benches {
            if let Some(ns) = median(&bench) {
                let what = bench.file_name().unwrap_or_default().to_string_lossy().into_owned();
                println!("{name:<34} {what:<44} {ns:>9.2} {:>7.2}", ns / baseline);
            }
        }
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The median that criterion has written, in nanoseconds.
fn median(bench: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(bench.join("new/estimates.json")).ok()?;
    let (_, median) = text.split_once("\"median\":")?;
    let (_, value) = median.split_once("\"point_estimate\":")?;
    value.split([',', '}']).next()?.trim().parse().ok()
}

const BASELINE: &str = "baseline";
