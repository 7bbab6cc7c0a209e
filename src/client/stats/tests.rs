//! Every number of a pool in every form, and what the forms do at their edges.

use super::*;
use std::collections::BTreeMap;

/// A pool at rest, every number of which is another.
fn at_rest() -> PoolStats {
    PoolStats {
        max_connections: 40,
        total_connections: 31,
        active_connections: 16,
        idle_connections: 8,
        connecting_connections: 4,
        validating_connections: 2,
        closing_connections: 1,
        pending_requests: 3,
        total_acquisitions: 1_000,
        total_releases: 984,
        timeouts: 5,
        errors: 6,
        connections_created: 131,
        connections_destroyed: 100,
        pool_hits: 910,
        pool_misses: 90,
        total_wait: Duration::from_millis(12_345),
        waits: WaitTimes {
            p50: Duration::from_millis(7),
            p99: Duration::from_millis(99),
            max: Duration::from_millis(150),
            count: 200,
            buckets: [90, 60, 20, 15, 5, 4, 5, 0, 0, 0, 0, 0, 1],
        },
        retries: ErrorCounts { resolve: 21, connect: 22, timeout: 23, tls: 24, validate: 25, closed: 26 },
        connection_errors: ErrorCounts {
            resolve: 41,
            connect: 42,
            timeout: 43,
            tls: 44,
            validate: 45,
            closed: 46,
        },
    }
}

#[test]
fn the_text_is_the_published_one() {
    let stats = PoolStats {
        total_connections: 10,
        idle_connections: 3,
        active_connections: 5,
        closing_connections: 2,
        pending_requests: 1,
        total_acquisitions: 100,
        timeouts: 2,
        ..PoolStats::default()
    };
    let text = "PoolMetrics{ total=10, idle=3, active=5, invalid=2, waiting=1, acquires=100, timeouts=2 }";
    assert_eq!(stats.to_string(), text);
}

#[test]
fn the_json_has_the_seven_published_keys() {
    let json = r#"{"total_connections":31,"available_connections":8,"in_use_connections":16,"wait_queue_length":3,"avg_wait_time_ms":12,"connections_created_total":131,"connections_closed_total":100}"#;
    assert_eq!(at_rest().to_json(), json);
}

#[test]
fn a_new_pool_has_rates_of_zero() {
    let none = PoolStats::default();
    assert_eq!((none.hit_rate(), none.idle_ratio(), none.failure_rate()), (0.0, 0.0, 0.0));
    assert_eq!((none.avg_wait(), none.failed_acquisitions()), (Duration::ZERO, 0));
    assert_eq!((none.retries.total(), none.broken_identity()), (0, None));
}

#[test]
fn rates_are_shares_of_the_whole() {
    let stats = at_rest();
    assert_eq!((stats.hit_rate(), stats.failed_acquisitions()), (0.91, 11));
    assert_eq!(stats.idle_ratio(), 8.0 / 31.0);
    assert_eq!(stats.failure_rate(), 11.0 / 1_011.0);
    assert_eq!(stats.avg_wait(), Duration::from_micros(12_345));
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let most = PoolStats {
        idle_connections: u32::MAX,
        active_connections: u32::MAX,
        timeouts: u64::MAX,
        errors: u64::MAX,
        pool_hits: u64::MAX,
        pool_misses: u64::MAX,
        total_acquisitions: 1,
        total_wait: Duration::MAX,
        retries: ErrorCounts { tls: u64::MAX, closed: 1, ..ErrorCounts::default() },
        ..PoolStats::default()
    };
    assert_eq!((most.hit_rate(), most.idle_ratio()), (0.5, 1.0));
    assert_eq!((most.failed_acquisitions(), most.retries.total()), (u64::MAX, u64::MAX));
    assert_eq!(most.avg_wait(), Duration::from_nanos(u64::MAX));
    assert!(most.broken_identity().is_some());
}

#[test]
fn whichever_identity_is_broken_is_named() {
    let good = at_rest();
    assert_eq!(good.broken_identity(), None);
    let sum = "total = active + idle + connecting + validating + closing";
    let broken = [
        (PoolStats { active_connections: 17, ..good }, sum),
        (PoolStats { idle_connections: 9, ..good }, sum),
        (PoolStats { connecting_connections: 5, ..good }, sum),
        (PoolStats { validating_connections: 3, ..good }, sum),
        (PoolStats { closing_connections: 2, ..good }, sum),
        (PoolStats { total_connections: 30, ..good }, sum),
        (PoolStats { total_releases: 985, ..good }, "acquisitions - releases = active"),
        (PoolStats { total_releases: 1_001, ..good }, "acquisitions - releases = active"),
        (PoolStats { connections_created: 130, ..good }, "created - destroyed = total"),
        (PoolStats { connections_destroyed: 132, ..good }, "created - destroyed = total"),
        (PoolStats { pool_misses: 91, ..good }, "hits + misses = acquisitions"),
    ];
    for (stats, identity) in broken {
        assert_eq!(stats.broken_identity(), Some(identity));
    }
}

#[test]
fn each_kind_has_a_counter_of_its_own() {
    let mut counts = ErrorCounts::default();
    for (times, kind) in ErrorKind::ALL.into_iter().enumerate() {
        (0..=times).for_each(|_| counts.count(kind));
    }
    assert_eq!(ErrorKind::ALL.map(|kind| counts.of(kind)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(counts.total(), 21);
}

/// Reads the page as Prometheus does, strictly: HELP and TYPE before the samples of a name, each once. Gives every
/// sample, and the type of every name.
fn read(page: &str) -> (BTreeMap<&str, f64>, BTreeMap<&str, &str>) {
    let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
    let (mut helped, mut current) = ("", "");
    let (body, end) = page.split_at(page.len() - "# EOF\n".len());
    assert_eq!(end, "# EOF\n");
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a text").0;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, helped, "{line}");
            assert!(types.insert(name, kind).is_none(), "{line}: a second time");
            current = name;
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let name = sample.split('{').next().expect("a name");
            let parts = ["_bucket", "_sum", "_count"].map(|part| name.strip_suffix(part));
            let is_part = types[current] == "histogram" && parts.contains(&Some(current));
            assert!(name == current || is_part, "{line}");
            assert!(samples.insert(sample, value.parse().expect("a number")).is_none(), "{line}: twice");
        }
    }
    (samples, types)
}

#[test]
fn metrics_have_the_published_names_and_the_numbers_of_the_pool() {
    let mut page = String::new();
    at_rest().write_metrics(&mut page, "db").unwrap();
    let (samples, types) = read(&page);
    let expected = [
        ("db_pool_connections_max", 40.0),
        ("db_pool_connections", 31.0),
        ("db_pool_connections_active", 16.0),
        ("db_pool_connections_idle", 8.0),
        ("db_pool_connections_connecting", 4.0),
        ("db_pool_connections_validating", 2.0),
        ("db_pool_connections_closing", 1.0),
        ("db_pool_connections_waiting", 3.0),
        ("db_pool_acquisitions_total", 1_000.0),
        ("db_pool_releases_total", 984.0),
        ("db_pool_timeouts_total", 5.0),
        ("db_pool_errors_total", 6.0),
        ("db_pool_hits_total", 910.0),
        ("db_pool_misses_total", 90.0),
        ("db_pool_connections_created_total", 131.0),
        ("db_pool_connections_closed_total", 100.0),
        ("db_connection_retries_total{reason=\"resolve\"}", 21.0),
        ("db_connection_retries_total{reason=\"connect\"}", 22.0),
        ("db_connection_retries_total{reason=\"timeout\"}", 23.0),
        ("db_connection_retries_total{reason=\"tls\"}", 24.0),
        ("db_connection_retries_total{reason=\"validate\"}", 25.0),
        ("db_connection_retries_total{reason=\"closed\"}", 26.0),
        ("db_connection_errors_total{type=\"resolve\"}", 41.0),
        ("db_connection_errors_total{type=\"connect\"}", 42.0),
        ("db_connection_errors_total{type=\"timeout\"}", 43.0),
        ("db_connection_errors_total{type=\"tls\"}", 44.0),
        ("db_connection_errors_total{type=\"validate\"}", 45.0),
        ("db_connection_errors_total{type=\"closed\"}", 46.0),
        ("db_pool_wait_seconds_bucket{le=\"0.001\"}", 90.0),
        ("db_pool_wait_seconds_bucket{le=\"0.005\"}", 150.0),
        ("db_pool_wait_seconds_bucket{le=\"0.01\"}", 170.0),
        ("db_pool_wait_seconds_bucket{le=\"0.025\"}", 185.0),
        ("db_pool_wait_seconds_bucket{le=\"0.05\"}", 190.0),
        ("db_pool_wait_seconds_bucket{le=\"0.1\"}", 194.0),
        ("db_pool_wait_seconds_bucket{le=\"0.25\"}", 199.0),
        ("db_pool_wait_seconds_bucket{le=\"0.5\"}", 199.0),
        ("db_pool_wait_seconds_bucket{le=\"1\"}", 199.0),
        ("db_pool_wait_seconds_bucket{le=\"2.5\"}", 199.0),
        ("db_pool_wait_seconds_bucket{le=\"5\"}", 199.0),
        ("db_pool_wait_seconds_bucket{le=\"10\"}", 199.0),
        ("db_pool_wait_seconds_bucket{le=\"+Inf\"}", 200.0),
        ("db_pool_wait_seconds_sum", 12.345),
        ("db_pool_wait_seconds_count", 200.0),
        ("db_pool_wait_p50_seconds", 0.007),
        ("db_pool_wait_p99_seconds", 0.099),
        ("db_pool_wait_max_seconds", 0.15),
    ];
    assert_eq!(samples, BTreeMap::from(expected));
    for (name, kind) in types {
        let expected = match name {
            "db_pool_wait_seconds" => "histogram",
            _ if name.ends_with("_total") => "counter",
            _ => "gauge",
        };
        assert_eq!(kind, expected, "{name}");
    }
}

#[test]
fn a_prefix_that_makes_no_name_is_refused_before_anything_is_written() {
    for prefix in ["", "1db", "my db", "db-1", "db\n", "d\u{e4}"] {
        let mut page = String::new();
        assert!(at_rest().write_metrics(&mut page, prefix).is_err(), "{prefix:?}");
        assert_eq!(page, "", "{prefix:?}");
    }
    let mut page = String::new();
    at_rest().write_metrics(&mut page, "_db2").unwrap();
    assert!(page.contains("\n_db2_pool_connections_idle 8\n"));
}

/// Takes so many bytes.
struct Short(usize);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[test]
fn what_the_writer_says_is_passed_on_wherever_it_says_it() {
    let mut page = String::new();
    at_rest().write_metrics(&mut page, "db").unwrap();
    for room in 0..page.len() {
        assert!(at_rest().write_metrics(&mut Short(room), "db").is_err(), "after {room} bytes");
    }
    assert!(at_rest().write_metrics(&mut Short(page.len()), "db").is_ok());
}

#[test]
fn every_number_of_two_pools_is_added() {
    let times = |factor: u32| {
        let [one, two, three] = [1, 2, 3].map(|number: u64| number * u64::from(factor));
        let counts = ErrorCounts {
            resolve: one,
            connect: two,
            timeout: three,
            tls: one,
            validate: two,
            closed: three,
        };
        PoolStats {
            max_connections: 8 * factor,
            total_connections: factor,
            active_connections: 2 * factor,
            idle_connections: 3 * factor,
            connecting_connections: 4 * factor,
            validating_connections: 5 * factor,
            closing_connections: 6 * factor,
            pending_requests: 7 * factor,
            total_acquisitions: one,
            total_releases: two,
            timeouts: three,
            errors: one,
            connections_created: two,
            connections_destroyed: three,
            pool_hits: one,
            pool_misses: two,
            total_wait: Duration::from_secs(three),
            waits: WaitTimes::default(),
            retries: counts,
            connection_errors: counts,
        }
    };
    assert_eq!(times(10).and(times(7), WaitTimes::default()), times(17));
}
