//! Keeps the deadlines of connections: one lazy timer each. Activity moves no timer; when one fires, the true deadline
//! is worked out from the record, and the timer is set again if it lies ahead.

use std::time::Duration;

use super::SocketPool;
use super::config::{Config, OutputHigh};
use super::core::Core;
use super::sending::{self, SHORTAGE_PAUSE};
use crate::bucket::ByteBucket;
use crate::clock::Nanos;
use crate::connection::{Deadlines, Driver, Flags, Muted, Reading, Record, Stage, Standing};
use crate::id::ConnId;
use crate::net::{Net, Stream};
use crate::readiness::Readiness;
use crate::reason::Reason;

impl<U, N: Net> SocketPool<U, N> {
    /// Does what is due: ends, resumes, and sets timers again.
    pub(super) fn keep_deadlines(&mut self) {
        for _ in 0..MOST_A_TURN {
            let Some(slot) = self.core.timers.expired(self.core.now) else { break };
            self.look_at(slot);
        }
        self.keep_drain_deadline();
    }

    /// Works out a connection's deadlines, does what is due, and sets its timer to the next one.
    fn look_at(&mut self, slot: u32) {
        let Some((id, _)) = self.table.at(slot) else { return };
        let Some(record) = self.table.get_mut(id) else { return };
        if record.is_ending() {
            return;
        }
        let core = &mut self.core;
        core.resume(id, record);
        match core.verdict(id, record) {
            Due::Nothing => {}
            Due::Finish(reason) => {
                if !core.is_silent(id, record) {
                    core.open_operation(record);
                }
                core.finish(id, record, reason);
            }
            Due::End(reason) => core.end(id, record, reason),
        }
        if !record.is_ending() {
            let next = core.next_deadline(id, record).max(core.now + NEXT_LOOK);
            core.timers.arm(slot, next);
        }
    }

    /// Goes over the deadlines and pauses of connections that were open when limits changed, a slice in each turn.
    pub(super) fn look_again(&mut self) {
        let end = self.table.slots_used();
        for _ in 0..MOST_A_TURN {
            let Look::From { slot, rates_changed } = self.core.look else { return };
            if slot >= end {
                self.core.look = Look::Done;
                return;
            }
            self.core.look = Look::From { slot: slot + 1, rates_changed };
            if let Some((id, _)) = self.table.at(slot)
                && let Some(record) = self.table.get_mut(id).filter(|record| !record.is_ending())
            {
                self.core.hold_to_new_limits(id, record, rates_changed);
                self.core.resume(id, record);
                // What is due is done with the next turn's timers: this one's may have spared it, for what it is told now.
                self.core.arm(id, record);
            }
        }
    }
}

/// How far the look at those has come who were there when limits changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nobody is left to look at.
    Done,
    /// This slot is next.
    From {
        slot: u32,
        /// Whether the rates of operations are others too: what was reserved under the old ones is forgotten.
        rates_changed: bool,
    },
}

impl Look {
    /// Limits have changed, while the look for an earlier change may be under way.
    pub(super) fn begin(&mut self, rates_changed: bool) {
        let earlier = matches!(self, Self::From { rates_changed: true, .. });
        *self = Self::From { slot: 0, rates_changed: rates_changed || earlier };
    }

    /// Whether slots are left to look at, of a table that has used `slots`.
    pub(super) fn is_going_on(self, slots: u32) -> bool {
        matches!(self, Self::From { slot, .. } if slot < slots)
    }

    /// Whether the connection in `slot` still shows what it has reserved under rates that hold no more.
    pub(super) fn is_to_forget_rates_of(self, slot: u32) -> bool {
        matches!(self, Self::From { slot: next, rates_changed: true } if slot >= next)
    }
}

/// What a connection's deadlines say.
enum Due {
    Nothing,
    Finish(Reason),
    End(Reason),
}

impl<N: Net> Core<N> {
    /// Sets the first timer of a newcomer. When it fires, what is due is worked out.
    pub(super) fn arm_newcomer<U>(&mut self, id: ConnId, record: &Record<N::Stream, U>) {
        self.timers.arm(id.slot(), record.created + self.policy.first_look);
    }

    /// Sets the timer of a connection whose deadlines have changed. A retry that it is set for is not put off.
    pub(super) fn arm<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        let next = self.next_deadline(id, record);
        if record.flags.has(Flags::SEND_PACED) {
            self.timers.arm_by(id.slot(), next);
        } else {
            self.timers.arm(id.slot(), next);
        }
    }

    /// Whether a connection is over a limit is found out anew, by the limits that hold now.
    fn hold_to_new_limits<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, rates_changed: bool) {
        if rates_changed {
            self.policy.forgive(record, self.moment);
            self.charge_anew(id, record);
        }
        self.unmute(id, record, Muted::BYTES.with(Muted::FULL));
        sending::mark_high(self, id, record);
        if record.flags.has(Flags::HIGH) {
            match self.config().on_output_high {
                OutputHigh::StopReading => record.muted.insert(Muted::BACK_PRESSURE),
                OutputHigh::Report => self.unmute(id, record, Muted::BACK_PRESSURE),
            }
            // The marks are looked at with the event.
            record.ready = record.ready.with(Readiness::WRITABLE);
            self.enqueue(id, record);
        }
        record.flags.remove(Flags::WINDOW);
        self.watch_read_rate(id, record);
    }

    /// A token that was reserved under other rates means nothing any more. One is taken anew before a message can be seen
    /// that waits for it, or that came while no rate was enforced. Whoever stands in line has come to the end of that wait,
    /// and keeps its place while there is a line.
    fn charge_anew<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        let stands_in_line = self.line.has(id.slot());
        if stands_in_line && self.config().most_in_line() > 0 {
            return;
        }
        let waits = record.muted.has(Muted::OPERATIONS);
        if waits || !self.policy.enforced {
            record.flags.remove(Flags::CHARGED);
        }
        record.flags.remove(Flags::ASIDE);
        if stands_in_line {
            self.leave_line(id, record);
        } else {
            if waits && !record.muted.has(Muted::DELAYED) {
                // It would have waited for longer, which puts no deadline off any more.
                record.resume_at = record.resume_at.min(self.now);
            }
            self.unmute(id, record, Muted::OPERATIONS);
        }
        let is_due = (waits || record.input.is_some()) && !record.flags.has(Flags::CHARGED);
        if is_due && self.policy.enforced && !record.hears_no_more() {
            let _ = self.charge(id, record, record.waiting_in());
        }
    }

    /// Ends the waits that a timer ends.
    fn resume<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        if record.muted.has(Muted::TIMED) && self.now >= record.resume_at && !record.flags.has(Flags::ASIDE) {
            if record.muted.has(Muted::OPERATIONS) {
                self.reserved_token_counts(id, record);
            } else {
                self.unmute(id, record, Muted::TIMED);
            }
        }
        if self.reads_again_at(record).is_some_and(|at| self.now >= at) {
            self.unmute(id, record, Muted::BYTES);
        }
        if record.flags.has(Flags::SEND_PACED) {
            record.flags.remove(Flags::SEND_PACED);
            record.ready = record.ready.with(Readiness::WRITABLE);
            self.enqueue(id, record);
        }
    }

    /// It has waited for its own rate. Now for the pool's.
    fn reserved_token_counts<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        if self.goes_aside(id, record) {
            return;
        }
        if self.passes_line() {
            self.policy.use_late(record, self.moment);
            self.unmute(id, record, Muted::TIMED);
        } else {
            self.join_line(id, record);
        }
    }

    fn verdict<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) -> Due {
        let now = self.now;
        let passed = |deadline: Option<Nanos>| deadline.is_some_and(|deadline| now >= deadline);
        let stalls = self.has_read_stalled(record);
        if passed(self.first_message_deadline(record)) && self.goes_unheard(id, record, Flags::HEARD_LATE) {
            Due::End(Reason::FirstMessage)
        } else if passed(self.write_stall_deadline(record))
            && !self.moves_output(id, record, Self::write_stall_deadline)
        {
            Due::End(Reason::WriteStall)
        } else if stalls && self.goes_unheard(id, record, Flags::SPARED) {
            Due::End(Reason::ReadStall)
        } else if !stalls && self.idles(id, record, 1) {
            Due::End(Reason::Idle)
        } else if passed(self.overtime_deadline(id, record)) {
            Due::End(Reason::Lifetime)
        } else if passed(self.lifetime_deadline(id, record)) {
            Due::Finish(Reason::Lifetime)
        } else {
            Due::Nothing
        }
    }

    fn next_deadline<U>(&self, id: ConnId, record: &Record<N::Stream, U>) -> Nanos {
        // One that finishes already gains nothing from being told again.
        let lives_on = record.stage == Stage::Open;
        let lifetime = self.lifetime_deadline(id, record).filter(|_| lives_on);
        let window = self.config().read_stall.filter(|_| record.flags.has(Flags::WINDOW));
        let deadlines = [
            self.first_message_deadline(record),
            self.write_stall_deadline(record),
            self.idle_deadline(record),
            lifetime,
            self.overtime_deadline(id, record),
            window.map(|stall| self.now + stall.window.saturating_sub(self.window_age(record))),
            self.resumes_at(record),
            self.reads_again_at(record),
            self.paced_until(record),
        ];
        deadlines.into_iter().flatten().min().unwrap_or(Nanos::MAX)
    }

    fn first_message_deadline<U>(&self, record: &Record<N::Stream, U>) -> Option<Nanos> {
        // What a byte rate holds back has come, and is heard first.
        if record.standing != Standing::Unproven
            || record.flags.has(Flags::HELD)
            || record.muted.has(Muted::BYTES)
        {
            return None;
        }
        let timeout = choose(record, |own| own.first_message, self.config().first_message_timeout)?;
        // A delay that we impose is not the newcomer's slowness.
        Some(record.created.max(record.resume_at) + timeout)
    }

    fn idle_deadline<U>(&self, record: &Record<N::Stream, U>) -> Option<Nanos> {
        self.idle_deadline_of(record, 1)
    }

    /// When a connection has been idle for this part of the time that it may be.
    fn idle_deadline_of<U>(&self, record: &Record<N::Stream, U>, part: u32) -> Option<Nanos> {
        if record.flags.has(Flags::HELD) {
            return None;
        }
        let timeout = choose(record, |own| own.idle, self.config().idle_timeout)?;
        // While we keep it waiting it is not idle, nor at the moment at which that ends.
        let waited_until =
            self.reads_again_at(record).map_or(record.resume_at, |at| record.resume_at.max(at));
        Some(record.last_active.max(waited_until) + timeout / part)
    }

    /// Whether a connection is idle, by a deadline that is so many times shorter than its own.
    pub(super) fn idles<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, times: u32) -> bool {
        let deadline = |core: &Self, record: &Record<N::Stream, U>| core.idle_deadline_of(record, times);
        deadline(self, record).is_some_and(|deadline| self.now >= deadline)
            && !self.moves_output(id, record, deadline)
            && self.goes_unheard(id, record, Flags::SPARED)
    }

    fn lifetime_deadline<U>(&self, id: ConnId, record: &Record<N::Stream, U>) -> Option<Nanos> {
        let lifetime = choose(record, |own| own.lifetime, self.config().lifetime)?;
        Some(record.created + spread(lifetime, self.config().lifetime_jitter_percent, id, self.seed))
    }

    /// A connection past its lifetime that is busy has a tenth of it to finish, for whatever reason it finishes.
    fn overtime_deadline<U>(&self, id: ConnId, record: &Record<N::Stream, U>) -> Option<Nanos> {
        if record.stage == Stage::Open {
            return None;
        }
        let lifetime = choose(record, |own| own.lifetime, self.config().lifetime)?;
        Some(self.lifetime_deadline(id, record)? + lifetime / 10)
    }

    pub(super) fn write_stall_of<U>(&self, record: &Record<N::Stream, U>) -> Option<Duration> {
        choose(record, |own| own.write_stall, self.config().write_stall_timeout)
    }

    fn write_stall_deadline<U>(&self, record: &Record<N::Stream, U>) -> Option<Nanos> {
        let output = record.output.as_ref()?;
        Some(output.stalled_since + self.write_stall_of(record)?)
    }

    /// When a wait is over that a timer ends.
    fn resumes_at<U>(&self, record: &Record<N::Stream, U>) -> Option<Nanos> {
        let is_timed = record.muted.has(Muted::TIMED) && !record.flags.has(Flags::ASIDE);
        is_timed.then_some(record.resume_at)
    }

    /// When a pause for the byte rate is over.
    fn reads_again_at<U>(&self, record: &Record<N::Stream, U>) -> Option<Nanos> {
        let is_paused = record.muted.has(Muted::BYTES);
        let ready = |bucket: &ByteBucket| bucket.ready_at(&record.received_level, self.moment);
        is_paused.then(|| self.policy.received.as_ref().map_or(self.now, ready))
    }

    fn paced_until<U>(&self, record: &Record<N::Stream, U>) -> Option<Nanos> {
        if !record.flags.has(Flags::SEND_PACED) {
            return None;
        }
        let after_shortage = self.now + SHORTAGE_PAUSE;
        let bucket = self.policy.sent.as_ref();
        Some(bucket.map_or(after_shortage, |bucket| bucket.ready_at(&record.sent_level, self.moment)))
    }

    /// How long the window for the least read rate has been open.
    fn window_age<U>(&self, record: &Record<N::Stream, U>) -> Duration {
        // One that opened in this millisecond was rounded up to the next.
        let age_ms = self.now_ms().wrapping_sub(record.window_since_ms).cast_signed().max(0);
        Duration::from_millis(u64::from(age_ms.cast_unsigned()))
    }

    /// Whether a window has passed with fewer bytes than it must bring. Opens the next one otherwise.
    fn has_read_stalled<U>(&self, record: &mut Record<N::Stream, U>) -> bool {
        let Some(stall) = self.config().read_stall else { return false };
        if !record.flags.has(Flags::WINDOW) || self.window_age(record) < stall.window {
            return false;
        }
        if !record.muted.is_nothing() || record.flags.has(Flags::HELD) {
            // It is we who do not read, or the application that does not look. The next window opens when we do.
            record.flags.remove(Flags::WINDOW);
            return false;
        }
        if record.window_bytes < stall.bytes {
            return true;
        }
        record.window_since_ms = self.window_start_ms();
        record.window_bytes = 0;
        false
    }

    /// Whether nothing has come that nobody has read: before a connection goes for its silence the socket is asked,
    /// since a turn may be late, and the poller tells of so many connections at a time. What has come is heard next.
    pub(super) fn is_silent<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) -> bool {
        let is_read = (record.muted.is_at_most(HEARD_LATER) || record.driver == Driver::Application)
            && record.reading == Reading::Open
            && !record.is_ending();
        if !is_read || !record.stream.has_unread() {
            return true;
        }
        if record.driver == Driver::Pool {
            record.ready = record.ready.with(Readiness::READABLE);
            self.enqueue(id, record);
        }
        false
    }

    /// The same as [`is_silent`](Self::is_silent) where the answer need not be exact: whoever is known to be readable, and
    /// will be looked at in this turn, is taken at his word. In a flood the same ones are asked for each newcomer.
    pub(super) fn is_quiet<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) -> bool {
        let is_told = record.ready.has(Readiness::READABLE) && record.muted.is_nothing();
        !is_told && self.is_silent(id, record)
    }

    /// Whether it goes without something that has come being heard first. That happens once: `spared` remembers it.
    fn goes_unheard<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, spared: Flags) -> bool {
        if record.flags.has(spared) || self.is_silent(id, record) {
            return true;
        }
        // Nobody could hear one of whom the application has not been told.
        if !record.muted.has(Muted::UNANNOUNCED) {
            record.flags.insert(spared);
        }
        false
    }

    /// Whether the peer takes output after all, so that the deadline that has passed lies ahead: the socket is asked, since a
    /// turn may be late. Whose output the application sends, it has had as long to try as we, and has told what it sent.
    fn moves_output<U>(
        &mut self,
        id: ConnId,
        record: &mut Record<N::Stream, U>,
        deadline: impl Fn(&Self, &Record<N::Stream, U>) -> Option<Nanos>,
    ) -> bool {
        if record.driver == Driver::Application {
            return false;
        }
        sending::flush(self, id, record);
        if deadline(self, record).is_some_and(|deadline| self.now >= deadline) {
            return false;
        }
        // The marks are looked at with the event.
        record.ready = record.ready.with(Readiness::WRITABLE);
        self.enqueue(id, record);
        true
    }
}

/// Not read from since the application does not know of it yet, or since it takes no output: the peer may have asked for
/// something all the same.
const HEARD_LATER: Muted = Muted::UNANNOUNCED.with(Muted::BACK_PRESSURE);

/// How long after its accept a connection can meet the first of its deadlines.
pub(super) fn earliest_deadline(config: &Config) -> Duration {
    let least = 100 - u32::from(config.lifetime_jitter_percent);
    let lifetime = config.lifetime.map(|lifetime| lifetime * least / 100);
    let deadlines = [config.first_message_timeout, config.idle_timeout, lifetime];
    deadlines.into_iter().flatten().min().unwrap_or(Duration::MAX)
}

/// The connection's own deadline, where it has one, else the pool's.
fn choose<S, U>(
    record: &Record<S, U>,
    own: impl Fn(&Deadlines) -> Option<Option<Duration>>,
    pool: Option<Duration>,
) -> Option<Duration> {
    record.own.as_deref().and_then(own).unwrap_or(pool)
}

/// `lifetime` moved by up to `percent` either way: the same for each look at one connection, and evenly spread over
/// all of them.
fn spread(lifetime: Duration, percent: u8, id: ConnId, seed: u64) -> Duration {
    // splitmix64's finisher (Steele, Lea and Flood 2014): every bit of the id moves every bit of the result.
    let mut bits = id.as_u64() ^ seed;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let share = (bits >> 11) as f64 / (1u64 << 53) as f64;
    let factor = 1.0 + (share * 2.0 - 1.0) * f64::from(percent) / 100.0;
    lifetime.mul_f64(factor)
}

/// Whoever is past a deadline and lives is looked at again in the next turn, not in this one.
const NEXT_LOOK: Duration = Duration::from_millis(1);
/// Timers looked at in a turn: some 100 ns each. What is left is due in the next turn, which then does not sleep.
const MOST_A_TURN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_spread_evenly_within_their_bounds() {
        let lifetime = Duration::from_secs(100);
        let mut tenths = [0; 10];
        for slot in 0..10_000 {
            let id = ConnId::new(slot, 1).unwrap();
            let spread = spread(lifetime, 10, id, 42).as_secs_f64();
            assert!((90.0..=110.0).contains(&spread), "{spread}");
            tenths[((spread - 90.0) / 2.0).min(9.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1100).contains(count)), "{tenths:?}");
    }

    #[test]
    fn no_jitter_is_the_lifetime_itself() {
        let id = ConnId::new(7, 7).unwrap();
        assert_eq!(spread(Duration::from_secs(100), 0, id, 42), Duration::from_secs(100));
    }
}
