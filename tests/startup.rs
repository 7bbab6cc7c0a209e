//! What a pool says and checks when it starts: one line with its limits, a warning where the machine contradicts them,
//! and an error that names field, value and bound for every limit that cannot hold.

mod real;

use std::cell::RefCell;
use std::time::Duration;

use log::Level;
use real::server::Server;
use socketpool::{ByteRate, Config, Error, ListenOptions, Rate, ReadStall, SocketPool, SynProtection};

/// Keeps what each thread logs.
struct Kept;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push((record.level(), record.args().to_string())));
    }

    fn flush(&self) {}
}

/// What `what` logs at `level`.
fn logged(level: Level, what: impl FnOnce()) -> Vec<String> {
    // Another test may have been first.
    let _ = log::set_logger(&Kept);
    log::set_max_level(log::LevelFilter::Info);
    LINES.take();
    what();
    LINES.take().into_iter().filter(|(at, _)| *at == level).map(|(_, line)| line).collect()
}

fn build(max_connections: u32) -> SocketPool<()> {
    SocketPool::builder().max_connections(max_connections).build().unwrap()
}

#[test]
fn one_line_tells_the_limits() {
    let lines = logged(Level::Info, || drop(build(500)));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let words = [
        &format!("socketpool {}:", env!("CARGO_PKG_VERSION")),
        "max=500",
        "first_message=30s",
        "idle=300s",
        "lifetime=off",
        "write_stall=30s",
        "eviction=oldest_unproven",
        "when_full=wait",
        &format!("fd_limit={}", descriptor_limit()),
    ];
    for word in words {
        assert!(lines[0].contains(word), "{word} in {}", lines[0]);
    }
}

#[test]
fn the_line_tells_every_limit_that_is_on() {
    let builder = SocketPool::<()>::builder().read_stall(ReadStall::default()).max_per_ip(7);
    let builder = builder.received_rate(ByteRate::per_second(1_000)).sent_rate(ByteRate::per_second(2_000));
    let builder = builder.deny(["192.0.2.0/24".parse().unwrap()]).max_buffer_bytes(1 << 20);
    let lines = logged(Level::Info, || drop(builder.accept_rate(Rate::per_second(9)).build().unwrap()));
    for words in [
        " read_stall=640 B per 10s",
        " max_per_ip=7",
        " received_rate=1000 B/s",
        " sent_rate=2000 B/s",
        " deny=1 networks",
        " buffers<=1048576",
        " accept_rate=9 per 1s",
    ] {
        assert!(lines[0].contains(words), "{words} in {}", lines[0]);
    }
}

#[test]
fn more_connections_than_descriptors_is_warned_about() {
    let server = Server::start(&[], Some(64));
    let warning = "max_connections is 10000 but this process may open 64 descriptors; raise RLIMIT_NOFILE to 10016 or \
                   more, or expect newcomers to wait";
    assert!(server.line_with(warning).is_some(), "{:?}", server.log());
    let small = Server::start(&["--max-connections", "10"], Some(64));
    assert_eq!(small.line_with("descriptors"), None, "what fits is not complained about");
}

#[test]
fn a_backlog_that_the_kernel_cuts_is_warned_about() {
    let most: u32 = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    let mut pool = build(10);
    let mut warnings = |backlog| {
        logged(Level::Warn, || {
            pool.listen_with("127.0.0.1:0", ListenOptions::default().backlog(backlog)).unwrap();
        })
    };
    assert_eq!(warnings(most.min(65_535)), [""; 0]);
    if most < 65_535 {
        let warned = warnings(65_535);
        assert!(
            warned[0].ends_with(&format!("backlog cut from 65535 to {most}; raise net.core.somaxconn")),
            "{warned:?}"
        );
    }
}

type Spoil = fn(&mut Config);

const ZERO: Option<Duration> = Some(Duration::ZERO);
const FOREVER: Option<Duration> = Some(Duration::MAX);
const SECOND: Duration = Duration::from_secs(1);

/// Every limit with values that cannot hold, and what is said about each.
const BAD: &[(Spoil, &str)] = &[
    (|c| c.max_connections = 0, "max_connections is 0, must be from 1 to 16777216"),
    (|c| c.max_connections = u32::MAX, "max_connections is 4294967295, must be from 1 to 16777216"),
    (|c| c.eviction_grace = Duration::MAX, "eviction_grace is MAX, must be from 0ns to ten years"),
    (|c| c.eviction_idle = Duration::ZERO, "eviction_idle is 0ns, must be from 1ms to 1 hour"),
    (|c| c.eviction_idle = Duration::MAX, "eviction_idle is MAX, must be from 1ms to 1 hour"),
    (|c| c.first_message_timeout = ZERO, "first_message_timeout is 0ns, must be from 1ms to ten years"),
    (|c| c.first_message_timeout = FOREVER, "first_message_timeout is MAX, must be from 1ms to ten years"),
    (|c| c.idle_timeout = ZERO, "idle_timeout is 0ns, must be from 1ms to ten years"),
    (
        |c| c.idle_timeout = Some(Duration::from_nanos(999_999)),
        "idle_timeout is 999.999µs, must be from 1ms to ten years",
    ),
    (|c| c.idle_timeout = FOREVER, "idle_timeout is MAX, must be from 1ms to ten years"),
    (|c| c.lifetime = ZERO, "lifetime is 0ns, must be from 1ms to ten years"),
    (|c| c.lifetime = FOREVER, "lifetime is MAX, must be from 1ms to ten years"),
    (|c| c.write_stall_timeout = ZERO, "write_stall_timeout is 0ns, must be from 1ms to ten years"),
    (|c| c.write_stall_timeout = FOREVER, "write_stall_timeout is MAX, must be from 1ms to ten years"),
    (|c| c.lifetime_jitter_percent = 51, "lifetime_jitter_percent is 51, must be from 0 to 50"),
    (
        |c| c.read_stall = Some(ReadStall { bytes: 1, window: Duration::ZERO }),
        "read_stall.window is 0ns, must be from 1ms to 1 hour",
    ),
    (
        |c| c.read_stall = Some(ReadStall { bytes: 0, window: SECOND }),
        "read_stall.bytes is 0, must be from 1 to 4294967295",
    ),
    (|c| c.max_input = 0, "max_input is 0, must be from 64 to 16777216"),
    (|c| c.max_input = usize::MAX, "max_input is 18446744073709551615, must be from 64 to 16777216"),
    (|c| c.max_output = 63, "max_output is 63, must be from 64 to 16777216"),
    (|c| c.max_output = usize::MAX, "max_output is 18446744073709551615, must be from 64 to 16777216"),
    (|c| c.output_high = 0, "output_high is 0, must be from 2 to 262144"),
    (|c| c.output_high = 262_145, "output_high is 262145, must be from 2 to 262144"),
    (|c| c.max_output = 65_535, "output_high is 65536, must be from 2 to 65535"),
    (|c| c.output_low = 0, "output_low is 0, must be from 1 to 65535"),
    (|c| c.output_low = 65_536, "output_low is 65536, must be from 1 to 65535"),
    (|c| c.max_buffer_bytes = Some(0), "max_buffer_bytes is 0, must be from 65536 to 9223372036854775807"),
    (
        |c| c.max_buffer_bytes = Some(usize::MAX),
        "max_buffer_bytes is 18446744073709551615, must be from 65536 to 9223372036854775807",
    ),
    (
        |c| c.operation_rate = Some(Rate::per_second(0)),
        "operation_rate is 0 per 1s, burst 0, must be at least 1 per window (use None for no limit)",
    ),
    (
        |c| c.operation_rate = Some(Rate::new(1, Duration::ZERO)),
        "operation_rate is 1 per 0ns, burst 1, must be over a window longer than 0",
    ),
    (
        |c| c.operation_rate = Some(Rate::per_second(1).burst(0)),
        "operation_rate is 1 per 1s, burst 0, must be of a burst of at least 1",
    ),
    (
        |c| c.operation_rate = Some(Rate::per_second(u32::MAX)),
        "operation_rate is 4294967295 per 1s, burst 4294967295, must be at most 1000000 per second",
    ),
    // The quotas that wrapped in silence, and the one that panicked, in the limiter below (`period * burst >= 2^64 ns`).
    (
        |c| c.operation_rate = Some(Rate::new(1, Duration::from_secs(3600)).burst(5_124_096)),
        "operation_rate is 1 per 3600s, burst 5124096, must be so that the burst refills within 146 years",
    ),
    (
        |c| c.pool_operation_rate = Some(Rate::new(1, Duration::from_secs(3600)).burst(6_000_000)),
        "pool_operation_rate is 1 per 3600s, burst 6000000, must be so that the burst refills within 146 years",
    ),
    (
        |c| c.pool_operation_rate = Some(Rate::new(1, Duration::MAX)),
        "pool_operation_rate is 1 per MAX, burst 1, must be so that the burst refills within 146 years",
    ),
    (
        |c| c.accept_rate = Some(Rate::new(u32::MAX, Duration::MAX)),
        "accept_rate is 4294967295 per MAX, burst 4294967295, must be so that the burst refills within 146 years",
    ),
    (
        |c| c.accept_rate = Some(Rate::per_second(0)),
        "accept_rate is 0 per 1s, burst 0, must be at least 1 per window (use None for no limit)",
    ),
    (
        |c| c.received_rate = Some(ByteRate::per_second(0)),
        "received_rate is 0 B/s, burst 0 B, must be at least 1 B/s (use None for no limit)",
    ),
    (
        |c| c.received_rate = Some(ByteRate::per_second(u64::MAX)),
        "received_rate is 18446744073709551615 B/s, burst 18446744073709551615 B, must be at most 100000000000 B/s",
    ),
    (
        |c| c.sent_rate = Some(ByteRate::per_second(1).burst(0)),
        "sent_rate is 1 B/s, burst 0 B, must be of a burst of at least 1 B",
    ),
    (
        |c| c.sent_rate = Some(ByteRate::per_second(1).burst(u64::MAX)),
        "sent_rate is 1 B/s, burst 18446744073709551615 B, must be so that the burst refills within 4 years",
    ),
    (|c| c.max_per_ip = Some(0), "max_per_ip is 0, must be at least 1 (use None for no limit)"),
    (|c| c.v4_prefix = 0, "v4_prefix is 0, must be from 1 to 32"),
    (|c| c.v4_prefix = 33, "v4_prefix is 33, must be from 1 to 32"),
    (|c| c.v6_prefix = 0, "v6_prefix is 0, must be from 1 to 128"),
    (|c| c.v6_prefix = 129, "v6_prefix is 129, must be from 1 to 128"),
    (
        |c| c.syn_protection = Some(SynProtection::default().window(Duration::ZERO)),
        "syn_protection.window is 0ns, must be from 1ms to 3600s",
    ),
    (
        |c| c.syn_protection = Some(SynProtection::default().max_attempts(0)),
        "syn_protection.max_attempts is 0, must be from 1 to 10000",
    ),
    (
        |c| c.syn_protection = Some(SynProtection::default().failure_penalty(f32::NAN)),
        "syn_protection.failure_penalty is NaN, must be from 0 to 1",
    ),
    (
        |c| c.syn_protection = Some(SynProtection::default().max_tracked(u32::MAX)),
        "syn_protection.max_tracked is 4294967295, must be from 1 to 16777216",
    ),
];

/// Of these every value holds.
const CANNOT_BE_BAD: &[&str] =
    &["eviction", "when_full", "proof", "on_output_high", "over_rate", "allow", "deny"];

#[test]
fn every_limit_that_cannot_hold_is_refused_by_name_value_and_bound() {
    let mut pool = build(100);
    for (spoil, said) in BAD {
        let said = said.replace("MAX", &format!("{:?}", Duration::MAX));
        let mut config = SocketPool::<()>::builder().build().unwrap().config().clone();
        spoil(&mut config);
        let built = SocketPool::<()>::builder().config(config).build().unwrap_err();
        assert_eq!(built.to_string(), said);
        assert!(matches!(built, Error::Config { .. }), "{built:?}");
        let changed = pool.reconfigure(spoil).unwrap_err();
        assert_eq!(changed.to_string(), said, "while it runs");
        assert_eq!(pool.config().max_connections, 100, "nothing was changed");
    }
}

#[test]
fn no_field_is_forgotten_in_the_table_above() {
    let shown = format!("{:#?}", build(100).config());
    let fields = shown.lines().filter_map(|line| {
        let field = line.strip_prefix("    ")?.split_once(':')?.0;
        (!field.starts_with(' ')).then_some(field)
    });
    let mut count = 0;
    for field in fields {
        count += 1;
        let tabled = BAD.iter().any(|(_, said)| {
            said.strip_prefix(field).is_some_and(|rest| rest.starts_with(" is") || rest.starts_with('.'))
        });
        assert!(tabled != CANNOT_BE_BAD.contains(&field), "{field}");
    }
    assert!(count > 20, "fields were found: {count}");
}

#[test]
fn limits_at_their_bounds_are_taken() {
    let ten_years = Duration::from_secs(10 * 365 * 86_400);
    let extremes = SocketPool::<()>::builder()
        .max_connections(1)
        .eviction_grace(Duration::ZERO)
        .first_message_timeout(Duration::from_millis(1))
        .idle_timeout(ten_years)
        .lifetime(ten_years)
        .lifetime_jitter_percent(50)
        .max_input(64)
        .max_output(64)
        .output_high(2)
        .output_low(1)
        .max_buffer_bytes(64 << 10)
        .operation_rate(Rate::per_second(1_000_000))
        .pool_operation_rate(Rate::new(1, Duration::from_secs(3600)).burst(1_000_000))
        .received_rate(ByteRate::per_second(1))
        .sent_rate(ByteRate::per_second(100_000_000_000))
        .max_per_ip(u32::MAX)
        .v4_prefix(1)
        .v6_prefix(128);
    let mut pool = extremes.build().unwrap();
    pool.listen("127.0.0.1:0").unwrap();
    pool.turn(Some(Duration::ZERO)).unwrap();
    pool.assert_invariants();
}

#[test]
fn memory_that_is_not_there_is_an_error_and_no_abort() {
    let most = SocketPool::<[u64; 1 << 24]>::builder().max_connections(1 << 24).build();
    assert!(matches!(most.unwrap_err(), Error::Memory { .. }));
}

/// The soft limit of this process, as the pool shows it.
fn descriptor_limit() -> String {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    match line.split_whitespace().nth(3).unwrap() {
        "unlimited" => "none".into(),
        limit => limit.into(),
    }
}
