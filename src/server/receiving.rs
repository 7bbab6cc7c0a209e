//! Bytes from a socket to the application: one system call into the open input, as far as buffer, rate and the
//! connection's share of the turn allow. What is used up, and what that means, is noted here too.

use std::io::{self, ErrorKind};

use super::config::Proof;
use super::core::Core;
use super::inbox::Inbox;
use super::sending;
use crate::connection::{Flags, Muted, Operation, Reading, Record, Stage, Standing, facts};
use crate::id::ConnId;
use crate::net::{Net, Received, Stream, is_shortage};
use crate::readiness::Readiness;
use crate::reason::Reason;

/// Receives what has arrived, as far as buffer, rate and share of the turn allow. 0 if nothing came of it.
#[inline]
pub(super) fn receive<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    inbox: &mut Inbox,
) -> usize {
    if record.facts() & RECEIVES_IF.0 != RECEIVES_IF.1 {
        return receive_otherwise(core, id, record, inbox);
    }
    receive_by(core, id, record, inbox, read_plainly)
}

/// Receives from a stream on which a read may stop short, and from one whose end has been seen: the application may think
/// that there is more.
#[inline(never)]
fn receive_otherwise<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    inbox: &mut Inbox,
) -> usize {
    if !record.ready.has(Readiness::READABLE) || !record.muted.is_nothing() || record.is_ending() {
        return 0;
    }
    if record.ready.has(Readiness::STOPS_SHORT) {
        receive_by(core, id, record, inbox, N::Stream::receive_some)
    } else {
        receive_by(core, id, record, inbox, read_plainly)
    }
}

/// Reads from a stream on which no read stops short.
#[inline(always)] // See `complete_operation`.
fn read_plainly<S: Stream>(stream: &S, into: &mut [u8]) -> io::Result<Received> {
    stream.receive(into).map(Received::plainly)
}

/// Receives by a `read` that also tells whether it has stopped short.
#[inline(always)] // For whatever reads plainly the second answer costs nothing then.
fn receive_by<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    inbox: &mut Inbox,
    read: impl FnOnce(&N::Stream, &mut [u8]) -> io::Result<Received>,
) -> usize {
    let most = allowed(core, id, record, inbox);
    if most == 0 {
        return 0;
    }
    let space = inbox.space(most, &mut core.store);
    let asked = space.len();
    match read(&record.stream, space) {
        Ok(Received { bytes: n @ 1.., stopped_short }) => {
            inbox.commit(n);
            // A short read has emptied the socket, and what comes next brings an edge of its own; but the end of the
            // stream, which may have been told already, is only seen by reading it, and the mark of urgent data stops
            // a read before what lies behind it (tcp(7)), as descriptors do behind what came with them.
            if n < asked && !stopped_short && !record.ready.has(MORE_BEHIND) {
                record.ready = record.ready.without(Readiness::READABLE);
            }
            received(core, id, record, n);
            if core.policy.enforced && !record.flags.has(Flags::CHARGED) {
                // It was received without having been told: in another event, between turns, or behind a message that is
                // answered.
                let _ = core.charge(id, record, inbox.len());
            }
            n
        }
        result => {
            nothing_came(core, id, record, asked, inbox.len(), result.map(|received| received.bytes));
            0
        }
    }
}

/// How many bytes may be received now, from a connection that is read from.
#[inline(always)] // See `complete_operation`.
fn allowed<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    inbox: &Inbox,
) -> usize {
    let room = core.config().max_input.saturating_sub(inbox.len());
    if room == 0 {
        record.muted.insert(Muted::FULL);
        return 0;
    }
    let most = room.min(inbox.share());
    let Some(bucket) = &core.policy.received else { return most };
    let allowance = bucket.allowance(&record.received_level, core.moment);
    if allowance == 0 {
        let at = bucket.ready_at(&record.received_level, core.moment);
        give_back_unused(core, record, inbox.len());
        core.pause_until(id, record, at);
        return 0;
    }
    most.min(usize::try_from(allowance).unwrap_or(usize::MAX))
}

#[inline(always)] // See `complete_operation`.
pub(super) fn received<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    n: usize,
) {
    record.flags.remove(Flags::SPARED);
    record.received_bytes += n as u64;
    core.health.counters.received_bytes += n as u64;
    if record.flags.has(Flags::WINDOW) {
        record.window_bytes = record.window_bytes.saturating_add(n as u32);
    }
    if let Some(bucket) = &core.policy.received {
        bucket.spend(&record.received_level, n, core.moment);
    }
    if record.standing == Standing::Unobserved {
        core.observe(id, record);
    }
    core.open_operation(record);
    core.touch(record);
}

/// A read of `asked` bytes brought none; `left` bytes of input wait.
#[cold]
fn nothing_came<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    asked: usize,
    left: usize,
    result: io::Result<usize>,
) {
    match result {
        // Nothing could come: there was no memory to receive into. To ask here costs the way of a request nothing.
        _ if asked == 0 => core.end(id, record, Reason::Memory),
        Ok(_) => at_the_end(core, record, left),
        Err(error) if is_shortage(&error) => {
            give_back_unused(core, record, left);
            // No edge will tell when there is memory again.
            let at = core.now + sending::SHORTAGE_PAUSE;
            core.mute_until(id, record, Muted::DELAYED, at);
        }
        Err(error) => {
            record.ready = record.ready.without(Readiness::READABLE);
            if error.kind() == ErrorKind::WouldBlock {
                give_back_unused(core, record, left);
            } else {
                core.end(id, record, Reason::Error);
            }
        }
    }
}

/// The peer has sent its last byte; `left` bytes of input wait before it.
fn at_the_end<N: Net, U>(core: &mut Core<N>, record: &mut Record<N::Stream, U>, left: usize) {
    record.ready = record.ready.without(Readiness::READABLE);
    if record.reading == Reading::Open {
        record.reading = Reading::Ended;
    }
    give_back_unused(core, record, left);
}

/// What was taken for a message that has not come goes back: kept, it would let one more through with a later burst.
fn give_back_unused<N: Net, U>(core: &Core<N>, record: &mut Record<N::Stream, U>, left: usize) {
    let has_not_come = left == 0 && matches!(record.operation, Operation::None | Operation::Open);
    if record.flags.has(Flags::CHARGED) && has_not_come {
        core.give_back_tokens(record);
    }
}

/// Some input is used up; `left` bytes of it are not. The inbox knows already.
#[inline(always)] // See `complete_operation`.
pub(super) fn consumed<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    left: usize,
) {
    if matches!(record.operation, Operation::Answered | Operation::Finished) {
        consumed_afterwards(core, id, record, left);
    } else {
        record.operation = Operation::Consumed;
    }
    if core.config().proof == Proof::Consumed {
        consumption_proves(core, id, record, left);
    }
    if record.muted.has(Muted::FULL) {
        core.unmute(id, record, Muted::FULL);
    }
}

/// It was answered, or finished, before its input was used up.
#[cold]
fn consumed_afterwards<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    left: usize,
) {
    if record.operation == Operation::Finished {
        core.leave_finished(id, record, left);
    } else {
        record.flags.insert(Flags::ANSWERS_FIRST);
        core.complete_operation(id, record, left);
    }
    if left == 0 {
        record.flags.remove(Flags::ANSWERS_FIRST);
    }
}

/// In a protocol that never answers.
#[cold]
fn consumption_proves<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    left: usize,
) {
    core.prove(id, record);
    if left == 0 && record.operation == Operation::Consumed {
        core.complete_operation(id, record, 0);
    }
}

/// Closes the input that is open: what was used up counts, what is left is kept, and what was gathered meanwhile leaves.
#[inline(always)] // See `complete_operation`.
pub(super) fn close_input<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    inbox: &mut Inbox,
) {
    if inbox.tell() {
        consumed(core, id, record, inbox.len());
    }
    inbox.put_back(|inbox| keep_rest(core, id, record, inbox));
    // Output is gathered only for the connection whose input is open.
    if core.stage.owner.is_some() {
        debug_assert_eq!(core.stage.owner, Some(id), "output was gathered behind somebody's back");
        sending::flush_stage(core, id, record);
        core.stage.owner = None;
    }
}

/// What is left of the open input is kept. The connection ends if there is no memory for it, which costs nobody else
/// anything.
#[cold]
fn keep_rest<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    inbox: &mut Inbox,
) {
    match inbox.rest(&mut core.store) {
        Ok(Some(rest)) if record.is_ending() => core.store.give_back(rest),
        Ok(rest) => record.input = rest,
        Err(_) => core.end(id, record, Reason::Memory),
    }
}

/// A connection is read from, plainly, if these facts, in the first, are as in the second.
const RECEIVES_IF: (u32, u32) = (
    facts(Readiness::READABLE.with(Readiness::STOPS_SHORT), Muted::ANYTHING, u8::MAX, Stage::Ending as u8),
    facts(Readiness::READABLE, Muted::NOTHING, Reading::Open as u8, 0),
);

/// Told once and for good: with either of them a short read may leave something behind.
const MORE_BEHIND: Readiness = Readiness::READ_CLOSED.with(Readiness::URGENT);
