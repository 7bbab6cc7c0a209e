//! Bytes from the application to a socket: straight through if nothing waits before them, and what the socket does not
//! take waits in a buffer until there is room. One system call for whatever leaves together.

use std::collections::TryReserveError;
use std::io::{self, ErrorKind, IoSlice};

use bytes::{Buf, Bytes};

use super::config::OutputHigh;
use super::core::{Core, WRITABLE_OR_FAILED};
use crate::connection::{Driver, Flags, Muted, Operation, Record, Standing};
use crate::id::ConnId;
use crate::net::{Kind, Net, Registry, Stream, Token, is_shortage};
use crate::readiness::Readiness;
use crate::reason::Reason;

/// What became of bytes that were sent.
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// # let mut pool = SocketPool::<()>::builder().build()?;
/// # let (ours, mut client) = UnixStream::pair().unwrap();
/// # client.set_nonblocking(true).unwrap();
/// # let id = pool.add(ours).unwrap();
/// let mut conn = pool.conn(id);
/// match conn.send(b"an answer\n") {
///     Sent::Now | Sent::Queued => {} // it leaves, or will
///     Sent::Refused => conn.close(), // the peer does not read what it asks for
/// }
/// # assert!(pool.len() == 1);
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "refused bytes are not sent"]
pub enum Sent {
    /// The kernel has all of them.
    Now,
    /// All of them are taken. What has not left waits, for the kernel to take more, for a byte rate, or for what else is
    /// queued, and leaves by itself.
    Queued,
    /// None were taken: they do not fit into the output buffer behind what waits, or the connection is about to end. If
    /// something waits, `Event::Writable` tells when it is worth another try, and until then it is as if the high mark
    /// were passed; more than `max_output` never fits.
    Refused,
}

/// What the application sends.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    Copied(&'a [u8]),
    Shared(Bytes),
}

impl Payload<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Payload::Copied(bytes) => bytes,
            Payload::Shared(bytes) => bytes,
        }
    }
}

/// What a look at writability came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Nothing that the application waits for.
    Something,
    /// The output was past the high mark and is down to the low one.
    DownToLow,
}

/// Sends, which answers whatever operation is open. `left` bytes of input wait behind it.
#[inline(always)] // See `complete_operation`.
pub(super) fn send<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
    left: usize,
) -> Sent {
    let bytes = payload.bytes();
    if may_pass(core, record, bytes.len()) {
        // The usual case: nothing waits before it, and the socket takes it all.
        let result = record.stream.send(&[IoSlice::new(bytes)]);
        if result.as_ref().is_ok_and(|n| *n == bytes.len()) {
            sent(core, record, bytes.len());
            answered(core, id, record, left);
            return Sent::Now;
        }
        return send_slowly(core, id, record, payload, Some(result), left);
    }
    send_slowly(core, id, record, payload, None, left)
}

/// Whether `len` bytes may go straight to the socket.
#[inline]
fn may_pass<N: Net, U>(core: &Core<N>, record: &Record<N::Stream, U>, len: usize) -> bool {
    record.output.is_none()
        && core.stage.bytes.is_empty()
        && !record.is_ending()
        && len != 0
        && len <= core.config().max_output
        && core.policy.lets_out(record, len, core.moment)
}

/// Sends what cannot go straight through, or has only in part if the socket has said so already.
#[cold]
#[inline(never)]
fn send_slowly<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
    tried: Option<io::Result<usize>>,
    left: usize,
) -> Sent {
    let len = payload.bytes().len();
    let outcome = match tried {
        Some(result) => outcome_of(core, id, record, payload, result),
        None if len == 0 && !record.is_ending() => return Sent::Now,
        None if !fits(core, id, record, len) && !make_room(core, id, record, len) => return Sent::Refused,
        None => transmit(core, id, record, payload),
    };
    if outcome != Sent::Refused {
        answered(core, id, record, left);
    }
    outcome
}

/// Sends what answers nothing.
pub(super) fn announce<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
) -> Sent {
    if !fits(core, id, record, payload.bytes().len()) {
        return Sent::Refused;
    }
    transmit(core, id, record, payload)
}

/// Brings bytes that fit on their way: those that were gathered first, straight from where they lie; what the socket
/// does not take waits.
fn transmit<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
) -> Sent {
    let waits = record.output.is_some() || core.staged(id) > 0;
    if waits || !core.policy.lets_out(record, payload.bytes().len(), core.moment) {
        return transmit_in_turn(core, id, record, payload);
    }
    let result = record.stream.send(&[IoSlice::new(payload.bytes())]);
    outcome_of(core, id, record, payload, result)
}

/// What the socket's answer makes of `payload`: what it did not take waits, unless it has failed.
fn outcome_of<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
    result: io::Result<usize>,
) -> Sent {
    match result {
        Ok(n) => {
            sent(core, record, n);
            if n == payload.bytes().len() { Sent::Now } else { keep(core, id, record, payload, n) }
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => keep(core, id, record, payload, 0),
        Err(error) if is_shortage(&error) => {
            retry_later(core, id, record);
            keep(core, id, record, payload, 0)
        }
        Err(_) => {
            core.end(id, record, Reason::Error);
            Sent::Refused
        }
    }
}

/// Gathers bytes that will be sent together when the event has been handled.
pub(super) fn queue<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    bytes: &[u8],
    left: usize,
) -> Sent {
    if !fits(core, id, record, bytes.len()) && !make_room(core, id, record, bytes.len()) {
        return Sent::Refused;
    }
    if core.stage.owner != Some(id) {
        debug_assert!(core.stage.owner.is_none(), "somebody else's output is being gathered");
        core.stage.owner = Some(id);
        core.stage.bytes.clear();
    }
    if core.stage.bytes.len() + bytes.len() > MOST_GATHERED {
        return send(core, id, record, Payload::Copied(bytes), left);
    }
    core.stage.bytes.extend_from_slice(bytes);
    if !bytes.is_empty() {
        answered(core, id, record, left);
    }
    Sent::Queued
}

/// Sends what was gathered.
pub(super) fn flush_stage<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &mut Record<N::Stream, U>) {
    if core.stage.bytes.is_empty() || record.is_ending() {
        core.stage.bytes.clear();
        return;
    }
    let gathered = std::mem::take(&mut core.stage.bytes);
    core.stage.owner = None;
    // It fitted when it was gathered, and answered its operation then.
    let _ = transmit(core, id, record, Payload::Copied(&gathered));
    core.stage.bytes = gathered;
    core.stage.bytes.clear();
}

/// Whether `len` more bytes may wait for this connection.
#[inline]
fn fits<N: Net, U>(core: &Core<N>, id: ConnId, record: &Record<N::Stream, U>, len: usize) -> bool {
    !record.is_ending() && record.waiting_out() + core.staged(id) + len <= core.config().max_output
}

/// What was gathered leaves, to make room for `len` more bytes. If that is not enough, what waits counts as past the
/// high mark, so that `Event::Writable` tells when it is worth another try.
#[cold]
fn make_room<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    len: usize,
) -> bool {
    if core.staged(id) > 0 {
        flush_stage(core, id, record);
        if fits(core, id, record, len) {
            return true;
        }
    }
    if record.output.is_some() && !record.is_ending() {
        pass_high(core, record);
    }
    false
}

/// Sends behind what waits already: appends, and tries the socket unless it is known to be full.
#[cold]
fn transmit_in_turn<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
) -> Sent {
    let was_waiting = record.output.is_some();
    if append(core, id, record, payload).is_err() {
        return without_memory(core, id, record);
    }
    if !was_waiting {
        flush(core, id, record);
    }
    if record.is_ending() {
        return Sent::Refused;
    }
    mark_high(core, id, record);
    if record.output.is_some() { Sent::Queued } else { Sent::Now }
}

/// Puts what was gathered, and `payload` behind it, behind what waits. After an error some of it may be missing.
#[inline(never)]
fn append<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
) -> Result<(), TryReserveError> {
    let gathered = core.staged(id) > 0;
    let output = match &mut record.output {
        Some(output) => output,
        none => {
            let output = none.insert(core.store.output()?);
            output.stalled_since = core.this_moment();
            output
        }
    };
    if gathered {
        output.push(&core.stage.bytes, &mut core.store)?;
        core.stage.bytes.clear();
    }
    match payload {
        Payload::Copied(bytes) => output.push(bytes, &mut core.store),
        Payload::Shared(bytes) => output.push_shared(bytes, &mut core.store),
    }
}

/// There is no memory for its output, which costs nobody else anything.
#[cold]
fn without_memory<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &mut Record<N::Stream, U>) -> Sent {
    core.end(id, record, Reason::Memory);
    Sent::Refused
}

/// Keeps what the socket did not take of `payload`.
#[cold]
fn keep<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    payload: Payload<'_>,
    sent: usize,
) -> Sent {
    let rest = match payload {
        Payload::Copied(bytes) => Payload::Copied(&bytes[sent..]),
        Payload::Shared(mut bytes) => {
            // To slice it might be to allocate, and without memory not to return.
            bytes.advance(sent);
            Payload::Shared(bytes)
        }
    };
    if append(core, id, record, rest).is_err() {
        return without_memory(core, id, record);
    }
    watch_room(core, id, record);
    mark_high(core, id, record);
    Sent::Queued
}

/// The poller says that there is room, or that the socket has failed.
#[cold]
pub(super) fn on_writable<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
) -> Wrote {
    if record.driver == Driver::Application {
        // It sends what waits, and knows what it has sent.
        record.ready = record.ready.without(WRITABLE_OR_FAILED);
        return Wrote::Something;
    }
    let failed = record.ready.has(Readiness::FAILED);
    record.ready = record.ready.without(Readiness::WRITABLE).without(Readiness::FAILED);
    flush(core, id, record);
    if failed && !record.is_ending() {
        // What the peer sent before may still be read; with nothing of that kind this is the end.
        if record.ready.has(Readiness::READABLE) && record.muted.is_nothing() {
            return Wrote::Something;
        }
        core.end(id, record, Reason::Error);
    }
    mark_low(core, id, record)
}

/// Sends what waits until it is gone, the socket is full, or the byte rate is used up.
pub(super) fn flush<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &mut Record<N::Stream, U>) {
    let Some(mut output) = record.output.take() else { return };
    while !output.is_empty() && !record.is_ending() {
        let most = match &core.policy.sent {
            None => usize::MAX,
            Some(bucket) => {
                usize::try_from(bucket.allowance(&record.sent_level, core.moment)).unwrap_or(usize::MAX)
            }
        };
        if most == 0 {
            // The peer is not to blame for this wait.
            output.stalled_since = core.this_moment();
            pace(core, id, record);
            break;
        }
        let mut slices = [IoSlice::new(&[]); SLICES_A_SEND];
        let count = output.gather(&mut slices);
        match send_at_most(&record.stream, &slices[..count], most) {
            Ok(n) => {
                output.advance(n, &mut core.store);
                output.stalled_since = core.this_moment();
                sent(core, record, n);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                watch_room(core, id, record);
                break;
            }
            Err(error) if is_shortage(&error) => {
                retry_later(core, id, record);
                break;
            }
            Err(_) => core.end(id, record, Reason::Error),
        }
    }
    if output.is_empty() || record.is_ending() {
        core.store.give_back_output(output);
    } else {
        record.output = Some(output);
        arm_write_stall(core, id, record);
    }
}

/// Sends at most `most` bytes of `slices`.
fn send_at_most<S: Stream>(stream: &S, slices: &[IoSlice<'_>], most: usize) -> io::Result<usize> {
    let mut shortened = [IoSlice::new(&[]); SLICES_A_SEND];
    let (mut count, mut left) = (0, most);
    for (place, slice) in shortened.iter_mut().zip(slices) {
        let taken = slice.len().min(left);
        *place = IoSlice::new(&slice[..taken]);
        count += 1;
        left -= taken;
        if left == 0 {
            break;
        }
    }
    stream.send(&shortened[..count])
}

#[inline]
pub(super) fn sent<N: Net, U>(core: &mut Core<N>, record: &mut Record<N::Stream, U>, n: usize) {
    record.sent_bytes += n as u64;
    core.health.counters.sent_bytes += n as u64;
    if let Some(bucket) = &core.policy.sent {
        bucket.spend(&record.sent_level, n, core.moment);
    }
    if n > 0 {
        core.touch(record);
    }
}

/// Something is on its way to the peer: that proves the connection and completes its operation.
#[inline(always)] // See `complete_operation`.
pub(super) fn answered<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
    left: usize,
) {
    if record.standing == Standing::Unproven && record.received_bytes > 0 {
        core.prove(id, record);
    }
    if record.operation == Operation::Consumed {
        core.complete_operation(id, record, left);
    } else if left > 0 && (may_be_answered(record) || may_be_answered_ahead(record)) {
        record.operation = Operation::Answered;
    }
}

/// Whether a message is open of which the application may know: what it sends while a rate holds one back is no answer to
/// it, nor what it sends before any of it has been received, when nothing is left to use up.
fn may_be_answered<S, U>(record: &Record<S, U>) -> bool {
    record.operation == Operation::Open && !record.muted.has(Muted::OPERATIONS)
}

/// The same of the next message, which came with one that was answered before it was used up.
fn may_be_answered_ahead<S, U>(record: &Record<S, U>) -> bool {
    record.flags.has(Flags::ANSWERS_FIRST) && record.operation != Operation::Finished
}

/// Sending goes on when the byte rate allows.
fn pace<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &mut Record<N::Stream, U>) {
    let Some(bucket) = &core.policy.sent else { return };
    record.flags.insert(Flags::SEND_PACED);
    core.timers.arm_by(id.slot(), bucket.ready_at(&record.sent_level, core.moment));
}

/// The kernel has no memory for us just now, which costs nobody the connection. If it stays so, the write stall ends it.
#[cold]
fn retry_later<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &mut Record<N::Stream, U>) {
    record.flags.insert(Flags::SEND_PACED);
    core.timers.arm_by(id.slot(), core.now + SHORTAGE_PAUSE);
}

/// Asks the poller to tell when there is room. It is asked once in a connection's life: being edge-triggered, it says
/// nothing while there is room.
fn watch_room<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &mut Record<N::Stream, U>) {
    arm_write_stall(core, id, record);
    if record.flags.has(Flags::ROOM_WATCHED) {
        return;
    }
    let token = Token::connection(Kind::Server, core.party, id);
    match core.registry.watch_room(&record.stream, token) {
        Ok(()) => record.flags.insert(Flags::ROOM_WATCHED),
        Err(error) if is_shortage(&error) => retry_later(core, id, record),
        Err(error) => {
            log::warn!("connection {id}: cannot watch for room to write: {error}");
            core.end(id, record, Reason::Error);
        }
    }
}

pub(super) fn arm_write_stall<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &Record<N::Stream, U>) {
    if let (Some(timeout), Some(output)) = (core.write_stall_of(record), &record.output) {
        core.timers.arm_by(id.slot(), output.stalled_since + timeout);
    }
}

/// Notes that what waits is past the high mark, if it is.
pub(super) fn mark_high<N: Net, U>(core: &mut Core<N>, id: ConnId, record: &mut Record<N::Stream, U>) {
    if record.flags.has(Flags::HIGH) || record.waiting_out() < core.config().output_high {
        return;
    }
    debug_assert!(
        !record.is_ending() || record.output.is_some(),
        "{id} is past the high mark without output"
    );
    pass_high(core, record);
}

/// From now on the application is told when what waits has gone down to the low mark, and nothing is read before.
pub(super) fn pass_high<N: Net, U>(core: &Core<N>, record: &mut Record<N::Stream, U>) {
    record.flags.insert(Flags::HIGH);
    if core.config().on_output_high == OutputHigh::StopReading {
        record.muted.insert(Muted::BACK_PRESSURE);
    }
}

pub(super) fn mark_low<N: Net, U>(
    core: &mut Core<N>,
    id: ConnId,
    record: &mut Record<N::Stream, U>,
) -> Wrote {
    if !record.flags.has(Flags::HIGH) || record.waiting_out() > core.config().output_low || record.is_ending()
    {
        return Wrote::Something;
    }
    record.flags.remove(Flags::HIGH);
    core.unmute(id, record, Muted::BACK_PRESSURE);
    Wrote::DownToLow
}

/// How long sending or reading pauses when the kernel has no memory for it.
pub(super) const SHORTAGE_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Output gathered before it is sent without waiting for the event's end.
pub(super) const MOST_GATHERED: usize = 64 << 10;

/// Pieces that leave by one system call.
const SLICES_A_SEND: usize = 16;
