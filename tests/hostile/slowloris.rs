//! Twice as many hostile clients as there are slots, each back at once when it is cut: honest ones get through.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::real::crowd::{Crowd, Manner, Tally};
use crate::real::server::{Counts, Server};
use crate::real::{Honest, alone};
use crate::side_by_side;

const CROWD: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 2);
const BOUND: Duration = Duration::from_millis(50);

#[test]
fn two_thousand_dribblers_keep_no_honest_client_out() {
    let _alone = alone();
    let attack = Attack::by(Manner::Dribble, &[], 300);
    side_by_side(
        "slowloris: 1,024 slots, 2,000 dribblers, 60 s timeouts: honest clients served",
        &[("nginx 1.22", "0 %"), ("HAProxy 2.6", "0 %"), ("legacy pool", "0 %")],
        &attack.to_string(),
    );
    attack.must_serve();
}

#[test]
fn control_without_eviction_dribblers_keep_everybody_out() {
    let _alone = alone();
    let attack = Attack::by(Manner::Dribble, &["--eviction", "off"], 4);
    println!("\ncontrol: eviction off: {attack}");
    assert!(attack.honest.success_percent() < 50.0, "the test shows nothing: {attack}");
}

#[test]
fn two_thousand_that_say_one_line_and_hold_keep_no_honest_client_out() {
    let _alone = alone();
    let attack = Attack::by(Manner::LineThenHold, &[], 300);
    side_by_side(
        "1,024 slots, 2,000 that complete one line and hold, back at once, 60 s timeouts: honest served",
        &[("others", "not measured")],
        &attack.to_string(),
    );
    attack.must_serve();
}

#[test]
fn control_without_eviction_holders_keep_everybody_out() {
    let _alone = alone();
    let attack = Attack::by(Manner::LineThenHold, &["--eviction", "off"], 4);
    println!("\ncontrol: eviction off: {attack}");
    assert!(attack.honest.success_percent() < 50.0, "the test shows nothing: {attack}");
}

struct Attack {
    honest: Honest,
    tally: Tally,
    counts: Counts,
}

impl Attack {
    fn by(manner: Manner, flags: &[&str], tries: usize) -> Self {
        let limits = ["--max-connections", "1024", "--first-message", "60", "--idle", "60"];
        let server = Server::start(&[&limits, flags].concat(), None);
        let crowd = Crowd::start(manner, 2_000, CROWD, server.address());
        // Until all slots are taken.
        std::thread::sleep(Duration::from_millis(1500));
        let (pace, patience) = (Duration::from_millis(10), Duration::from_secs(1));
        let honest = Honest::run(HONEST, server.address(), tries, pace, patience);
        let tally = crowd.stop();
        Self { honest, tally, counts: server.drain() }
    }

    fn must_serve(&self) {
        assert!(self.counts.of("closed_evicted") > 0, "the pool was full: {self}");
        assert!(self.honest.success_percent() >= 99.0, "{self}");
        assert!(self.honest.percentile(99) < 10 * BOUND, "{self}");
    }
}

impl std::fmt::Display for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { connects, cuts, answers } = self.tally;
        if self.honest.times.is_empty() {
            return write!(f, "0 % of {}", self.honest.tries);
        }
        write!(
            f,
            "{:.1} % of {}, p50 {:?}, p99 {:?}; crowd: {connects} connects, {cuts} cut, {answers} answered; {} evicted; failed: {:?}",
            self.honest.success_percent(),
            self.honest.tries,
            self.honest.percentile(50),
            self.honest.percentile(99),
            self.counts.of("closed_evicted"),
            self.honest.failures,
        )
    }
}
