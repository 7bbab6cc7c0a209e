//! Connections whose bytes the application moves itself, through calls that tell the pool of them: their descriptors are
//! not watched here and not closed here. Limits, deadlines, drain and counts are the same as for all others.

use std::collections::TryReserveError;

use super::core::Core;
use super::event::Event;
use super::eviction::Seat;
use super::receiving;
use super::sending;
use super::spaces::Spaces;
use super::{SocketPool, WhenFull};
use crate::admission::Origin;
use crate::buffer::{Lent, Ring};
use crate::clock::Nanos;
use crate::connection::{Driver, Flags, Operation, Record, Standing};
use crate::drain::State;
use crate::id::ConnId;
use crate::net::{Net, Registry, Stream};
use crate::peer::Peer;
use crate::reason::Reason;
use crate::server::AddError;

/// Which buffer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// What it has received.
    Input,
    /// What it is to send.
    Output,
}

impl<U, N: Net> SocketPool<U, N> {
    /// Takes a stream in that the application reads and writes itself, and hangs something on it. It is told of its end only,
    /// and closes the descriptor. Comes after a [`tick`](Self::tick).
    ///
    /// # Errors
    /// As [`add_stream`](Self::add_stream).
    #[inline]
    pub(crate) fn lend(
        &mut self,
        stream: N::Stream,
        peer: Peer,
        userdata: U,
    ) -> Result<ConnId, AddError<N::Stream>> {
        let seat = self.seat();
        self.admit(stream, peer, Origin::Lent, seat, Some(userdata))
    }

    /// A connection that the application drives; `None` if it is gone, or the pool drives it. The clock is read by what it
    /// is told, not for what it is asked.
    pub(crate) fn driven(&mut self, id: ConnId) -> Option<Driven<'_, U, N>> {
        self.settle_handled();
        let record = self.table.get_mut(id)?;
        if record.driver != Driver::Application || record.is_ending() {
            return None;
        }
        Some(Driven { id, record, core: &mut self.core, spaces: &mut self.spaces })
    }

    /// Slots that were ever used.
    pub(crate) fn slots(&self) -> u32 {
        self.table.slots_used()
    }

    /// What hangs on the connection in a slot, if one is there whose end is not decided.
    pub(crate) fn userdata_at(&self, slot: u32) -> Option<&U> {
        let (_, record) = self.table.at(slot)?;
        record.userdata.as_ref().filter(|_| !record.is_ending())
    }

    /// What hangs on the connection with this descriptor.
    pub(crate) fn userdata_of_fd(&self, fd: i32) -> Option<&U> {
        self.table.get(self.table.id_by_fd(fd)?)?.userdata.as_ref()
    }

    /// Makes buffers for so many connections.
    ///
    /// # Errors
    /// Without memory.
    pub(crate) fn prepare(&mut self, count: usize) -> Result<(), TryReserveError> {
        self.core.store.prepare(count)
    }

    /// Whether it is one that lives and that the pool drives itself.
    pub(crate) fn drives(&self, id: ConnId) -> bool {
        self.table.get(id).is_some_and(|record| record.driver == Driver::Pool)
    }

    /// What hangs on those whose end is carried out and waits to be told.
    pub(crate) fn ended_untold(&self) -> impl Iterator<Item = &U> {
        self.closed.iter().filter_map(|event| match event {
            Event::Closed { userdata, .. } => userdata.as_ref(),
            _ => None,
        })
    }

    /// Hangs something on a connection that has just been taken in.
    pub(crate) fn hang(&mut self, id: ConnId, userdata: U) {
        if let Some(record) = self.table.get_mut(id) {
            record.userdata = Some(userdata);
        }
    }

    /// Takes a connection out that has just been taken in, as if it had not been; its descriptor stays open.
    pub(crate) fn withdraw(&mut self, id: ConnId) {
        if let Some(record) = self.table.get_mut(id) {
            record.driver = Driver::Application;
        }
        self.let_go(id, Reason::Closed);
    }

    /// Takes a connection out at once, of whose end nothing else is told, and says why it has ended: for `reason`, if that
    /// was not decided before. `None` if it is gone already, or its end is going to be told.
    pub(crate) fn let_go(&mut self, id: ConnId, reason: Reason) -> Option<Reason> {
        self.settle_handled();
        self.core.read_clock();
        let record = self.table.get_mut(id)?;
        if !record.is_ending() {
            self.core.decide_end(id, record, reason);
        } else if record.driver == Driver::Pool {
            return None;
        } else {
            let place = self.core.ending.iter().position(|other| *other == id)?;
            self.core.ending.remove(place);
        }
        let ended = self.take_out(id);
        self.note_last_closed();
        ended.map(|ended| ended.reason)
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Nanos {
        self.core.this_moment()
    }

    /// Somebody goes for a newcomer for whom there is no descriptor. `false` if nobody may.
    pub(crate) fn make_room(&mut self) -> bool {
        self.settle_handled();
        self.core.read_clock();
        let goes = self.next_to_go();
        goes.is_some_and(|id| {
            self.evict(id);
            true
        })
    }

    /// Until when newcomers are to be left in the backlog, if there is no place for one now and this is how it is wanted. Those
    /// that the application was told of and has not read yet may go earlier.
    pub(crate) fn no_place_until(&mut self) -> Option<Nanos> {
        if self.core.config().when_full != WhenFull::Wait || self.state() != State::Active {
            return None;
        }
        self.settle_handled();
        self.core.read_clock();
        if self.seat() != Seat::None {
            return None;
        }
        self.core.health.counters.deferred_accepts += 1;
        Some(self.next_evictable())
    }

    /// When somebody may have to go for a newcomer if nobody can now.
    pub(crate) fn look_again_at(&self) -> Nanos {
        self.next_evictable()
    }

    /// Does what is due, as a turn does, for a pool that nobody turns. `false` if nothing is, and there is nothing to tell.
    #[inline]
    pub(crate) fn tick(&mut self) -> bool {
        self.settle_handled();
        self.core.read_clock();
        let is_due = self.has_work() || self.next_deadline() <= self.core.now;
        if is_due {
            self.begin_work();
            self.work();
        }
        is_due
    }

    /// Whether ends are decided of which nobody has been told.
    pub(crate) fn has_ends(&self) -> bool {
        self.has_ends_to_tell() || self.is_being_handled()
    }

    /// The time of the last [`tick`](Self::tick), or of a later call that has looked at the clock.
    pub(crate) fn time_of_tick(&self) -> Nanos {
        self.core.now
    }

    /// The application has waited: what it has an address of may be used for others from now on.
    pub(crate) fn let_rest_end(&mut self) {
        self.spaces.end(&mut self.core.store);
        self.core.store.begin_turn();
    }

    /// From now on the stream of a connection that the pool drives, and on which something hangs, is closed by this function.
    pub(crate) fn close_by(&mut self, close: fn(&U, N::Stream)) {
        self.closer = Some(close);
    }

    /// Lets go of every stream that it does not close itself. The pool does nothing any more.
    pub(crate) fn let_streams_go(&mut self) {
        let all: Vec<_> = self.table.iter().map(|(id, record)| (id, record.stream.fd())).collect();
        for (id, fd) in all {
            let Some(record) = self.table.get(id) else { continue };
            let (driver, is_shared) = (record.driver, record.flags.has(Flags::SHARED));
            let closer = self.closer.filter(|_| record.userdata.is_some());
            if driver == Driver::Pool && closer.is_none() {
                continue;
            }
            let Some(Record { stream, userdata, .. }) = self.table.remove(id, fd) else { continue };
            if is_shared {
                self.core.registry.forget(&stream);
            }
            match (driver, closer, &userdata) {
                (Driver::Pool, Some(close), Some(userdata)) => close(userdata, stream),
                _ => std::mem::forget(stream),
            }
        }
    }
}

/// A connection that the application drives, for one call.
pub(crate) struct Driven<'a, U, N: Net> {
    id: ConnId,
    record: &'a mut Record<N::Stream, U>,
    core: &'a mut Core<N>,
    spaces: &'a mut Spaces,
}

impl<U, N: Net> Driven<'_, U, N> {
    /// When it was last active, as the pool's clock has it.
    pub(crate) fn last_active(&self) -> Nanos {
        self.record.last_active
    }

    pub(crate) fn fd(&self) -> i32 {
        self.record.stream.fd()
    }

    /// Until when it is not to be read from, if it was admitted with a delay.
    pub(crate) fn is_delayed_until(&self) -> Option<Nanos> {
        self.record.muted.has(crate::connection::Muted::DELAYED).then_some(self.record.resume_at)
    }

    /// From now on the application hears when something comes: its silence is the peer's.
    pub(crate) fn observe(&mut self) {
        self.core.read_clock();
        if self.record.standing == Standing::Unobserved {
            self.core.observe(self.id, self.record);
        }
    }

    /// Something has come, and the application may read it without telling.
    pub(crate) fn leave_unobserved(&mut self) {
        self.core.read_clock();
        if self.record.standing == Standing::Unproven && self.record.received_bytes == 0 {
            self.record.standing = Standing::Unobserved;
            self.core.order.remove(self.id.slot());
        }
    }

    /// The application has received `n` bytes, of more than none.
    pub(crate) fn received(&mut self, n: usize) {
        self.core.read_clock();
        if self.record.operation == Operation::Answered {
            // It was news, or the word to go on.
            self.record.operation = Operation::Open;
        }
        receiving::received(self.core, self.id, self.record, n);
        // Whatever else there is to put in order is so when they are said to wait, or are answered.
        self.core.count_busy(self.record);
    }

    /// Nothing more will come from the peer, so nobody fills what was given out for it.
    pub(crate) fn received_last(&mut self) {
        self.spaces.release(self.id, Side::Input, &mut self.core.store);
    }

    /// The application has sent `n` bytes, of more than none. Without input in the buffer they answer what was received.
    pub(crate) fn sent(&mut self, n: usize) {
        self.core.read_clock();
        let left = self.record.waiting_in();
        if left == 0 && self.record.operation == Operation::Open {
            self.record.operation = Operation::Consumed;
        }
        if let Some(output) = &mut self.record.output {
            output.stalled_since = self.core.now;
        }
        sending::sent(self.core, self.record, n);
        sending::answered(self.core, self.id, self.record, left);
        if left == 0 {
            self.settle();
        }
    }

    /// Activity, which completes the open operation.
    pub(crate) fn touch(&mut self) {
        self.core.read_clock();
        self.core.touch(self.record);
        self.core.finish_operation(self.id, self.record, self.record.waiting_in());
        self.settle();
    }

    #[inline(always)] // It is all that a call of C does, which is one function then.
    pub(crate) fn check_operation(&mut self) -> bool {
        self.core.read_clock();
        self.core.check_operation(self.record).is_ok()
    }

    /// How many bytes may wait at a side.
    fn bound(&self, side: Side) -> usize {
        match side {
            Side::Input => self.core.config().max_input,
            Side::Output => self.core.config().max_output,
        }
    }

    fn ring(&mut self, side: Side) -> Option<&mut Lent<Ring>> {
        match side {
            Side::Input => self.record.input.as_mut(),
            Side::Output => self.record.output.as_mut().and_then(|output| output.ring()),
        }
    }

    /// Bytes that wait at a side.
    pub(crate) fn waiting(&self, side: Side) -> usize {
        match side {
            Side::Input => self.record.waiting_in(),
            Side::Output => self.record.waiting_out(),
        }
    }

    /// How many more may wait there.
    pub(crate) fn room(&self, side: Side) -> usize {
        self.bound(side).saturating_sub(self.waiting(side))
    }

    /// All bytes that wait there, in one piece.
    pub(crate) fn bytes(&mut self, side: Side) -> &[u8] {
        self.ring(side).map_or(&[], |ring| ring.contiguous())
    }

    /// Memory for as many more as may wait there, in one piece, to be filled by the application.
    ///
    /// It is large, so there are few of them: from the next call on it is free for whoever asks next, and what was filled has
    /// moved to where it waits.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn space(&mut self, side: Side) -> Result<&mut [u8], TryReserveError> {
        let room = self.room(side);
        self.spaces.give(self.id, side, room, &mut self.core.store)
    }

    /// The next `n` bytes of the space are filled. `false`, and nothing has changed, if there is no such space.
    ///
    /// # Errors
    /// When there is no memory to keep them.
    pub(crate) fn produce(&mut self, side: Side, n: usize) -> Result<bool, TryReserveError> {
        if n == 0 {
            return Ok(true);
        }
        let (room, waiting) = (self.room(side), self.waiting(side));
        let Some(space) = self.spaces.get_mut(self.id, side) else { return Ok(false) };
        let capacity = space.ring.capacity();
        // The bound may have risen since there was space.
        if n > room || n > capacity - space.taken {
            return Ok(false);
        }
        if n >= capacity / 4 && space.taken == 0 && waiting == 0 {
            if let Some(mut space) = self.spaces.take(self.id, side) {
                space.ring.commit(n);
                wait(self.core, self.id, self.record, side, space.ring)?;
            }
        } else {
            let filled = &mut space.ring.space()[space.taken..][..n];
            append(self.core, self.id, self.record, side, filled)?;
            // Nobody else is to see them.
            filled.fill(0);
            space.taken += n;
        }
        self.settle();
        Ok(true)
    }

    /// Has copies of these bytes wait behind what waits there. There must be room for them.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(crate) fn append(&mut self, side: Side, bytes: &[u8]) -> Result<(), TryReserveError> {
        append(self.core, self.id, self.record, side, bytes)?;
        self.settle();
        Ok(())
    }

    /// The first `n` bytes that wait there are done with. `false`, and nothing has changed, if there are not so many.
    pub(crate) fn consume(&mut self, side: Side, n: usize) -> bool {
        if n > self.waiting(side) {
            return false;
        }
        if n == 0 {
            return true;
        }
        self.core.read_clock();
        match side {
            Side::Input => {
                if let Some(mut ring) = self.record.input.take() {
                    ring.consume(n);
                    if ring.is_empty() {
                        self.core.store.give_back(ring);
                    } else {
                        self.record.input = Some(ring);
                    }
                }
                receiving::consumed(self.core, self.id, self.record, self.record.waiting_in());
            }
            Side::Output => {
                if let Some(mut output) = self.record.output.take() {
                    output.advance(n, &mut self.core.store);
                    output.stalled_since = self.core.now;
                    if output.is_empty() {
                        self.core.store.give_back_output(output);
                    } else {
                        self.record.output = Some(output);
                    }
                }
            }
        }
        self.settle();
        true
    }

    /// Forgets what waits there, and overwrites the memory that it was in, and that was given out for more.
    pub(crate) fn wipe(&mut self, side: Side) {
        let waiting = self.waiting(side);
        if let Some(ring) = self.ring(side) {
            ring.wipe();
        }
        if let Some(space) = self.spaces.get_mut(self.id, side) {
            space.ring.wipe();
        }
        self.consume(side, waiting);
    }

    /// Puts it in order as at the end of an event, but for this: what the application has received last it may go on to use
    /// up, and then what it has sent was the answer.
    fn settle(&mut self) {
        let answered = self.record.operation == Operation::Answered;
        self.core.settle(self.id, self.record);
        if answered && self.record.operation == Operation::Open {
            self.record.operation = Operation::Answered;
        }
    }
}

/// Has copies of these bytes wait behind what waits at a side.
fn append<U, N: Net>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    side: Side,
    bytes: &[u8],
) -> Result<(), TryReserveError> {
    let ring = match side {
        Side::Input => record.input.as_mut(),
        Side::Output => record.output.as_mut().and_then(|output| output.ring()),
    };
    let Some(ring) = ring else {
        debug_assert!(
            side == Side::Input || record.output.is_none(),
            "what the application drives waits in rings"
        );
        let mut ring = core.store.ring(bytes.len())?;
        ring.push(bytes);
        return wait(core, id, record, side, ring);
    };
    core.store.grow(ring, bytes.len())?;
    ring.push(bytes);
    if side == Side::Output
        && let Some(output) = &mut record.output
    {
        output.committed(bytes.len());
    }
    Ok(())
}

/// What is in this ring waits from now on at a side where nothing has waited.
fn wait<U, N: Net>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    side: Side,
    ring: Lent<Ring>,
) -> Result<(), TryReserveError> {
    if side == Side::Input {
        record.input = Some(ring);
        return Ok(());
    }
    core.read_clock();
    let mut output = match core.store.output() {
        Ok(output) => output,
        Err(error) => {
            core.store.give_back(ring);
            return Err(error);
        }
    };
    output.take_over(ring);
    output.stalled_since = core.now;
    record.output = Some(output);
    sending::arm_write_stall(core, id, record);
    Ok(())
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, Hand};
    use crate::net::Reactor;
    use crate::net::sim::{Sim, World};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A pool to which a connection was lent.
    fn lent() -> (SocketPool<(), Sim>, ConnId, Hand, World) {
        let world = World::new();
        let (clock, hand) = Clock::manual();
        let mut reactor = Reactor::over(world.poller());
        let builder = SocketPool::<()>::builder().clock(clock).idle_timeout(None).max_input(64);
        let mut pool = builder.build_over(&mut reactor, world.clone()).unwrap();
        let (stream, _client) = world.pair("192.0.2.1:1");
        let id = pool.lend(stream, Peer::UNIX, ()).unwrap();
        (pool, id, hand, world)
    }

    #[test]
    fn whoever_is_observed_late_has_his_first_time_from_then_on() {
        let (mut pool, id, hand, _world) = lent();
        hand.advance(HOUR);
        pool.driven(id).expect("it lives").observe();
        pool.tick();
        assert!(pool.driven(id).is_some(), "how long it was the application's says nothing of its peer");
        hand.advance(Duration::from_secs(30));
        pool.tick();
        assert!(pool.driven(id).is_none(), "it has said nothing since");
    }

    #[test]
    fn no_more_is_filled_than_there_was_space_for() {
        let (mut pool, id, _hand, _world) = lent();
        let mut conn = pool.driven(id).expect("it lives");
        let space = conn.space(Side::Input).unwrap().len();
        pool.reconfigure(|config| config.max_input = 1 << 20).unwrap();
        let mut conn = pool.driven(id).expect("it lives");
        assert_eq!(conn.produce(Side::Input, 1 << 20), Ok(false));
        assert_eq!(conn.produce(Side::Input, space), Ok(true));
        assert_eq!(conn.bytes(Side::Input).len(), space);
    }
}
