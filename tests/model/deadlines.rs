//! Deadlines are met: nobody lives for longer than a millisecond past one, as far as a turn comes in time.

use std::time::Duration;

use socketpool::{ConnectionInfo, Nanos, Phase};

use super::story::Model;
use crate::support::{Rig, ms};

impl Model {
    /// Notes where everybody stands after a turn: no deadline counts the time for which the pool makes somebody wait.
    pub fn note_waits(&mut self, infos: &[(usize, ConnectionInfo)], now: Nanos) {
        let config = &self.config;
        let has_byte_rates = config.sent_rate.is_some() || config.received_rate.is_some() || self.is_short();
        for (index, info) in infos {
            let person = &mut self.people[*index];
            person.phase = info.state;
            let may_wait = matches!(
                info.state,
                Phase::Throttled | Phase::Delayed | Phase::Unwatched | Phase::Unobserved | Phase::Closing
            );
            // What a byte rate or a shortage makes wait is told by the same word, and puts off less.
            let waits_for_operation =
                info.state == Phase::Throttled && info.waiting_out == 0 && !has_byte_rates;
            if info.state == Phase::Delayed || waits_for_operation {
                person.imposed.0 = now;
            }
            if std::mem::replace(&mut person.is_imposed, may_wait) || may_wait {
                person.imposed.1 = now;
            }
        }
    }

    /// Nobody lives longer than a millisecond past a deadline, as the turn that began at `now` saw it.
    pub fn check_deadlines(&mut self, rig: &mut Rig<usize>, now: Nanos) {
        let config = &self.config;
        for info in rig.pool.connections() {
            let person = &mut self.people[self.live[&info.id]];
            person.waited = info.waiting_out > 0;
            if info.waiting_out == 0 {
                person.progress = (now, now);
            }
            person.moved = person.moved.max(Nanos::new((now.as_nanos()).saturating_sub(nanos(info.idle))));
            let late = |own: Option<Option<Duration>>, pool: Option<Duration>, since: Nanos| {
                own.unwrap_or(pool).is_some_and(|timeout| now > since + timeout + ms(1))
            };
            person.is_old |= person.is_past_lifetime(config.lifetime, now);
            let silent = match info.state {
                Phase::Unproven => person.used == 0,
                // That nobody reads it spares it no deadline, unless it was heard before or something is in flight.
                Phase::Paused => {
                    info.bytes_in == 0 && info.waiting_out == 0 && !person.held && !person.proven
                }
                _ => false,
            };
            let first_since = person.created.max(person.let_go).max(person.imposed.1);
            // Whoever was made to wait when last seen may have been so until just now; and whom the poller had no memory for
            // is heard from some time on that nobody is told.
            let no_first = silent
                && !person.is_imposed
                && !self.allowed.hears_late
                && late(person.own.first, config.first_message_timeout, first_since);
            assert!(
                person.spared_first.holds(no_first, first_since, now),
                "{person:?} is past its first message at {now:?}: {info}"
            );
            let idle_since = person.moved.max(person.imposed.1);
            let idle =
                !person.held && !person.is_imposed && late(person.own.idle, config.idle_timeout, idle_since);
            assert!(
                person.spared_idle.holds(idle, idle_since, now),
                "{person:?} is past its idle time at {now:?}: {info}"
            );
            let stall_since = person.progress.1.max(person.imposed.1);
            assert!(
                person.is_imposed || !late(person.own.stall, config.write_stall_timeout, stall_since),
                "{person:?} is past its write stall at {now:?}: {info}"
            );
            // Spread by a tenth, and one that is busy has another tenth to finish.
            let lifetime = person.own.lifetime.unwrap_or(config.lifetime).map(|time| time.mul_f64(1.2));
            let old = late(None, lifetime, person.created);
            assert!(
                person.spared_old.holds(old, person.created, now),
                "{person:?} is past its lifetime at {now:?}: {info}"
            );
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}
