//! Which ends are allowed: nobody is cut early, and nobody without a cause that is written in the limits.

use std::time::Duration;

use socketpool::{Config, Eviction, Nanos, OverRate, Phase, Proof, Reason};

use super::people::Person;
use super::story::Model;

/// What the limits allow to end anybody for, and what may have gone wrong. Some of it stays true: whoever was over a rate
/// ends when his answers have left, whatever has become of the rate since.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    pub eviction: bool,
    pub eviction_idle: Duration,
    pub memory: bool,
    /// An operation rate has closed at some time.
    pub rate: bool,
    /// Of the drain, the time at which it forces.
    pub forced_at: Option<Nanos>,
    /// The poller has had no memory for a newcomer, whose time for a first message began when it had.
    pub hears_late: bool,
}

impl Allowed {
    pub fn by(config: &Config) -> Self {
        Self {
            eviction: config.eviction != Eviction::Off,
            eviction_idle: config.eviction_idle,
            memory: config.max_buffer_bytes.is_some(),
            rate: config.over_rate == OverRate::Close,
            forced_at: None,
            hears_late: false,
        }
    }

    /// What stays true of what was.
    pub fn or_still(mut self, before: &Self) -> Self {
        self.rate |= before.rate;
        self.forced_at = before.forced_at;
        self.hears_late |= before.hears_late;
        self
    }

    /// Limits change between two turns: either may have been seen to.
    pub fn widen(&mut self, other: &Self) {
        self.eviction |= other.eviction;
        self.eviction_idle = self.eviction_idle.min(other.eviction_idle);
        self.memory |= other.memory;
        self.rate |= other.rate;
    }
}

impl Model {
    /// Whether this end was due.
    pub fn check_reason(&self, index: usize, reason: Reason, now: Nanos) {
        let (person, config) = (&self.people[index], &self.config);
        let due = |own: Option<Option<Duration>>, pool: Option<Duration>, since: Nanos| {
            own.unwrap_or(pool).is_some_and(|timeout| now >= since + timeout)
        };
        let holds = match reason {
            Reason::Peer => person.done.finished,
            Reason::Error => person.done.reset || person.done.finished,
            Reason::Closed => person.done.closed || person.done.closed_when_done,
            Reason::Killed => person.done.killed,
            Reason::FirstMessage => {
                let since = person.created.max(person.let_go).max(person.imposed.0);
                !person.proven
                    && !person.held
                    && !person.is_left
                    && due(person.own.first, config.first_message_timeout, since)
            }
            Reason::Idle => {
                let since = person.moved.max(person.imposed.0);
                !person.held && due(person.own.idle, config.idle_timeout, since) && !self.is_unheard(person)
            }
            // One that was busy when its life was over ends later, whatever has become of the limit since.
            Reason::Lifetime => person.is_old || person.is_past_lifetime(config.lifetime, now),
            Reason::ReadStall => config.read_stall.is_some_and(|stall| {
                let came: usize =
                    person.received.iter().filter(|(at, _)| *at + stall.window > now).map(|(_, n)| n).sum();
                person.said.len() > person.used
                    && now >= person.created.max(person.imposed.0) + stall.window
                    && came < stall.bytes as usize
                    && !self.is_unheard(person)
            }),
            Reason::WriteStall => {
                let takes_none = person.window_left() == 0 || self.is_short() || person.client.is_none();
                takes_none && due(person.own.stall, config.write_stall_timeout, person.progress.0)
            }
            Reason::Rate => self.allowed.rate,
            Reason::Evicted => self.allowed.eviction && self.is_evictable(person, now),
            Reason::Memory => self.allowed.memory,
            Reason::Drained => self.draining,
            Reason::Forced => self.draining && self.allowed.forced_at.is_some_and(|at| now >= at),
            other => panic!("unknown reason {other}"),
        };
        assert!(holds, "{person:?} ended at {now:?} for {reason}");
    }

    /// Whether something has come from one that is read from and the application has not been told.
    fn is_unheard(&self, person: &Person) -> bool {
        let Some(client) = &person.client else { return false };
        let is_read = person.mode.is_diligent()
            && !person.is_stuck
            && !person.paused
            && matches!(person.phase, Phase::Active | Phase::Unproven | Phase::Idle)
            && !person.read_closed
            && !person.done.closed_when_done
            && !self.is_short()
            && !self.draining;
        is_read && client.bytes_out() > person.received_bytes() as u64
    }

    /// Nobody goes for a newcomer who is held or at work, nor within the grace, nor before what he said first is heard.
    fn is_evictable(&self, person: &Person, now: Nanos) -> bool {
        if person.held || (person.is_left && !person.proven) {
            return false;
        }
        // What it uses up proves it when its event is over, and so does what another thread has sent it: nobody may have
        // looked since.
        let has_used = self.config.proof == Proof::Consumed && person.used > 0;
        let has_news = (person.pushed || person.had_news) && !person.received.is_empty();
        let too_young = now < person.created + self.config.eviction_grace;
        let at_rest = now >= person.moved + self.allowed.eviction_idle || person.said.len() > person.used;
        (!person.proven && !too_young) || ((person.proven || has_used || has_news) && at_rest)
    }
}
