//! What was shown, received and sent, against the rates: not one message and not one byte more than they allow, and those
//! who wait for the pool's own rate are served in the order in which they came.

use std::time::Duration;

use socketpool::net::sim::Sim;
use socketpool::{Config, Connection, ConnectionInfo, Nanos, OverRate, Phase};

use super::config::Prices;
use super::meter::Meter;
use super::people::Person;

pub struct Ledger {
    prices: Prices,
    over_rate: OverRate,
    /// Operations that were shown, of all connections together.
    pool: Meter,
    line: Line,
    /// Whether all tokens that were taken are known: those of an earlier rate are not.
    knows_all: bool,
}

/// Who has come into line for the pool's rate in which turn, and of those who were shown a message in this one, when they
/// had.
#[derive(Default)]
struct Line {
    turn: u64,
    went_on: Vec<u64>,
}

impl Ledger {
    pub fn new(config: &Config) -> Self {
        Self {
            prices: Prices::of(config),
            over_rate: config.over_rate,
            pool: Meter::default(),
            line: Line::default(),
            knows_all: true,
        }
    }

    /// The limits have changed: what was used up before counts no more.
    pub fn change(&mut self, config: &Config, people: &mut [Person]) {
        let prices = Prices::of(config);
        let before = (self.prices.own, self.prices.pool, self.over_rate);
        let operations = before != (prices.own, prices.pool, config.over_rate);
        self.knows_all &= !operations;
        if operations {
            self.pool = Meter::default();
        }
        for person in people {
            if operations {
                person.operations = Meter::default();
                if person.received_bytes() > person.used {
                    // What was received under the old rates may be looked at.
                    person.shown = Some(person.used);
                }
                person.in_line_since = None;
            }
            if prices.received != self.prices.received {
                person.bytes_received = Meter::default();
            }
            if prices.sent != self.prices.sent {
                person.bytes_sent = Meter::default();
            }
        }
        (self.prices, self.over_rate) = (prices, config.over_rate);
    }

    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// Whether the pool itself sees to the rates of operations.
    pub fn is_enforced(&self) -> bool {
        self.over_rate != OverRate::Ask && (self.prices.own.is_some() || self.prices.pool.is_some())
    }

    /// The application has been shown the message that `person` has said next.
    pub fn shown(&mut self, person: &mut Person, now: Nanos) {
        if person.shown == Some(person.used) || person.pending {
            return;
        }
        person.shown = Some(person.used);
        // Whoever is closed when he is done takes no operation more.
        if !self.is_enforced() || person.done.closed_when_done {
            return;
        }
        // Who is not known to have stood in line has not needed to, or was hidden there by something else.
        self.line.went_on.extend(person.in_line_since.take().filter(|_| self.has_line()));
        self.take(person, now);
    }

    /// Whether whoever waits for an operation stands in the pool's line and nowhere else.
    fn has_line(&self) -> bool {
        self.over_rate == OverRate::Delay && self.prices.pool.is_some() && self.prices.own.is_none()
    }

    fn take(&mut self, person: &mut Person, now: Nanos) {
        if !self.knows_all {
            // What waits in a buffer when rates change may be looked at under the new ones.
            return;
        }
        let own = self.prices.own.is_none_or(|price| person.operations.note(price, 1, now));
        assert!(own, "an operation too many of {person:?} at {now:?}");
        let pool = self.prices.pool.is_none_or(|price| self.pool.note(price, 1, now));
        assert!(pool, "an operation too many of the pool at {now:?}, of {person:?}");
    }

    /// The application asks for an operation, and is told no only if there is none. Returns whether it may.
    pub fn asked(&mut self, conn: &mut Connection<'_, usize, Sim>, person: &mut Person, now: Nanos) -> bool {
        match conn.check_operation() {
            Ok(()) => {
                self.take(person, now);
                true
            }
            Err(wait) => {
                let allowed = |now| {
                    let own = self.prices.own.is_none_or(|price| person.operations.allows(price, now));
                    own && self.prices.pool.is_none_or(|price| self.pool.allows(price, now))
                };
                if !self.knows_all {
                    return false;
                }
                assert!(!allowed(now), "{person:?} was denied at {now:?} what the rates allow");
                assert!(wait > Duration::ZERO && allowed(now + wait), "{person:?} was told to wait {wait:?}");
                false
            }
        }
    }

    pub fn received(&mut self, person: &mut Person, bytes: usize, now: Nanos) {
        let Some(price) = self.prices.received else { return };
        let allowed = bytes == 0 || person.bytes_received.note(price, bytes as u64, now);
        assert!(allowed, "{bytes} bytes were received at {now:?}, too many of {person:?}");
    }

    pub fn sent(&mut self, person: &mut Person, bytes: u64, now: Nanos) {
        let Some(price) = self.prices.sent else { return };
        let allowed = bytes == 0 || person.bytes_sent.note(price, bytes, now);
        assert!(allowed, "{bytes} bytes were sent at {now:?}, too many to {person:?}");
    }

    /// Notes who is in line at the end of a turn. Nobody of them came before one who has gone on in it.
    pub fn look_at_line(&mut self, people: &mut [Person], infos: &[(usize, ConnectionInfo)], shortage: bool) {
        let is_paced = shortage || self.prices.received.is_some() || self.prices.sent.is_some();
        if is_paced {
            // What a byte rate lets wait, or there is no memory for, gives its token back, and comes into line once more.
            people.iter_mut().for_each(|person| person.in_line_since = None);
        } else if self.has_line() {
            let last = self.line.went_on.iter().max();
            for (index, info) in infos {
                let person = &mut people[*index];
                let was_denied = info.denied > std::mem::replace(&mut person.denied, info.denied);
                let has_message = person.said.len() > person.used;
                // Whoever takes no answers stands aside when his turn comes, and then comes last.
                let may_stand_aside = info.waiting_out > 0 || person.pushed;
                if !has_message || may_stand_aside || info.state != Phase::Throttled {
                    person.in_line_since = None;
                } else if was_denied {
                    person.in_line_since = Some(self.line.turn);
                }
                let since = person.in_line_since.unwrap_or(u64::MAX);
                assert!(
                    last.is_none_or(|last| *last <= since),
                    "{person:?} waits since turn {since} of {}, and others who came later went on: {:?}",
                    self.line.turn,
                    self.line.went_on
                );
            }
        }
        self.line.went_on.clear();
        self.line.turn += 1;
    }
}
