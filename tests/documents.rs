//! The tables of settings in `docs/CLIENT-POOLS.md` against the settings: every field has its row, in order, with its default.

use std::fmt::Display;
use std::time::Duration;

use socketpool::{AdaptiveConfig, BreakerConfig, PoolConfig, RetryConfig};

#[test]
fn every_setting_of_a_client_pool_stands_in_its_table_with_its_default() {
    // Without `..`, so that a new field does not compile before it is named here.
    let PoolConfig {
        max_size,
        min_size,
        min_idle,
        idle_timeout,
        max_lifetime,
        lifetime_jitter,
        max_uses,
        acquire_timeout,
        connect_timeout,
        validate_after,
        health_check_interval,
        max_waiters,
        warmup_batch,
        warmup_delay,
        leak_threshold,
        op_timeout,
        adaptive,
        breaker,
    } = PoolConfig::default();
    assert_eq!(breaker, Some(BreakerConfig::default()), "the table refers to the next one");
    let expected = [
        ("max_size", max_size.to_string()),
        ("min_size", min_size.to_string()),
        ("min_idle", min_idle.to_string()),
        ("idle_timeout", time(idle_timeout)),
        ("max_lifetime", time(max_lifetime)),
        ("lifetime_jitter", lifetime_jitter.to_string()),
        ("max_uses", or_off(max_uses)),
        ("acquire_timeout", time(acquire_timeout)),
        ("connect_timeout", time(connect_timeout)),
        ("validate_after", time(validate_after)),
        ("health_check_interval", time(health_check_interval)),
        ("max_waiters", max_waiters.to_string()),
        ("warmup_batch", warmup_batch.to_string()),
        ("warmup_delay", time(warmup_delay)),
        ("leak_threshold", time(leak_threshold)),
        ("op_timeout", time(op_timeout)),
        ("adaptive", or_off(adaptive.map(|_| "on"))),
        ("breaker", "see below".to_owned()),
    ];
    assert_eq!(rows("field"), expected);
}

#[test]
fn the_parts_of_the_settings_have_tables_too() {
    let BreakerConfig { failures, open_for, probes, first_delay, max_delay, jitter } =
        BreakerConfig::default();
    let expected = [
        ("failures", failures.to_string()),
        ("open_for", time(open_for)),
        ("probes", probes.to_string()),
        ("first_delay", time(first_delay)),
        ("max_delay", time(max_delay)),
        ("jitter", jitter.to_string()),
    ];
    assert_eq!(rows("`BreakerConfig`"), expected);

    let AdaptiveConfig { interval, min_acquisitions, wait_high, grow, idle_high, shrink, ceiling } =
        AdaptiveConfig::default();
    let expected = [
        ("interval", time(interval)),
        ("min_acquisitions", min_acquisitions.to_string()),
        ("wait_high", time(wait_high)),
        ("grow", grow.to_string()),
        ("idle_high", idle_high.to_string()),
        ("shrink", shrink.to_string()),
        ("ceiling", or_off(ceiling)),
    ];
    assert_eq!(rows("`AdaptiveConfig`"), expected);

    let RetryConfig {
        initial_interval,
        max_interval,
        exponential_base,
        max_elapsed_time,
        operational_limit,
        jitter,
    } = RetryConfig::default();
    let expected = [
        ("initial_interval", time(initial_interval)),
        ("max_interval", time(max_interval)),
        ("exponential_base", exponential_base.to_string()),
        ("max_elapsed_time", time(max_elapsed_time)),
        ("operational_limit", time(operational_limit)),
        ("jitter", jitter.to_string()),
    ];
    assert_eq!(rows("`RetryConfig`"), expected);
}

/// Name and default of each row of the table whose first column has this head.
fn rows(head: &str) -> Vec<(&'static str, String)> {
    let table = GUIDE.lines().skip_while(|line| !line.starts_with(&format!("| {head} | unit |"))).skip(2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`'), cells[3].to_owned())
        })
        .collect()
}

/// `1500ms` as `1500 ms`, and nothing as off.
fn time(span: impl Into<Option<Duration>>) -> String {
    or_off(span.into().map(|span| {
        let text = format!("{span:?}");
        let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        format!("{} {}", &text[..unit], &text[unit..])
    }))
}

fn or_off(value: Option<impl Display>) -> String {
    value.map_or_else(|| "off".to_owned(), |value| value.to_string())
}

const GUIDE: &str = include_str!("../docs/CLIENT-POOLS.md");
