//! When the loop rests, nobody waits without a reason: what has come was received, what was received was shown, and what
//! can leave has left; and whatever the pool gives as its reason is one.

use socketpool::{ConnectionInfo, OutputHigh, Phase};

use super::people::{Mode, Person};
use super::story::Model;
use crate::support::Rig;

impl Model {
    pub fn nobody_is_forgotten(&mut self, infos: &[(usize, ConnectionInfo)]) {
        for (index, info) in infos {
            let person = &self.people[*index];
            assert!(self.is_reason(person, info), "{person:?} waits without a reason: {info}");
            self.check_output(person, info);
            self.check_input(person, info);
        }
    }

    /// Whether what the pool says of a connection is so.
    fn is_reason(&self, person: &Person, info: &ConnectionInfo) -> bool {
        match info.state {
            Phase::Unwatched => self.allowed.hears_late,
            Phase::Unobserved => person.was_left,
            // Whoever there was no memory for while he stood in line waits until his turn comes.
            Phase::Delayed => {
                self.config.syn_protection.is_some() || self.is_short() || self.ledger.is_enforced()
            }
            Phase::Throttled => {
                let prices = self.ledger.prices();
                let bytes = prices.received.is_some() || prices.sent.is_some();
                bytes || self.ledger.is_enforced() || self.is_short() || self.allowed.hears_late
            }
            Phase::Paused => person.paused || person.done.closed_when_done,
            Phase::OutputHigh => {
                self.config.on_output_high == OutputHigh::StopReading && self.waits_for_room(person, info)
            }
            Phase::InputFull => info.waiting_in >= self.config.max_input,
            _ => true,
        }
    }

    /// Whether output is past the low mark, or too much for what was refused and none of it leaves.
    fn waits_for_room(&self, person: &Person, info: &ConnectionInfo) -> bool {
        let is_refused = (person.is_stuck || person.has_changed) && info.waiting_out > 0;
        info.waiting_out > self.config.output_low || is_refused
    }

    /// What the client takes has left, but for what a rate holds back.
    fn check_output(&self, person: &Person, info: &ConnectionInfo) {
        let may_wait =
            matches!(info.state, Phase::Throttled | Phase::Closing | Phase::Unwatched | Phase::Delayed);
        let is_paced = self.is_short() || self.ledger.prices().sent.is_some();
        let may_wait = may_wait || (is_paced && info.state == Phase::Unobserved);
        if info.waiting_out == 0 || may_wait || person.client.is_none() {
            return;
        }
        assert_eq!(person.window_left(), 0, "output of {person:?} does not leave: {info}");
    }

    /// What has come has been received, and what was received was handled.
    fn check_input(&self, person: &Person, info: &ConnectionInfo) {
        let is_read = matches!(info.state, Phase::Active | Phase::Unproven | Phase::Idle);
        let Some(client) = person.client.as_ref().filter(|_| is_read && !person.done.reset) else { return };
        assert_eq!(client.bytes_out(), info.bytes_in, "bytes of {person:?} lie unread: {info}");
        if !person.mode.is_diligent() {
            return;
        }
        if person.is_stuck {
            // Whoever was refused is told when there is room.
            assert!(
                self.waits_for_room(person, info) || person.mode == Mode::Asking,
                "{person:?} is not told of room: {info}"
            );
        } else {
            let whole = person.said[person.used..].contains(&b'\n');
            assert!(!whole, "a whole message of {person:?} is not handled: {info}");
        }
    }

    /// Buffers never hold more than the budget and what one connection may hold, and no more than it in the end.
    pub fn budget_is_kept(&mut self, rig: &mut Rig<usize>) {
        let Some(budget) = self.config.max_buffer_bytes else { return };
        let buffers = rig.pool.snapshot().buffers;
        assert!(buffers.now <= budget, "{buffers} after a turn, of {budget}");
        if let Some(one) = self.largest_buffers {
            assert!(buffers.peak <= budget + one, "{buffers}, of a budget of {budget}");
        }
    }
}
