//! Leases of resources that are expensive to make: who gets which, in which order, and when one is made, checked or closed.
//! Does no I/O, takes no lock and reads no clock: whoever drives it tells it what happened and when, and carries out
//! the [`Command`]s that come of it.
//!
//! # The way of a resource
//!
//! ```text
//!            connected                acquire, Grant
//! Connecting ─────────▶ (placed) ───────────────────▶ InUse
//!   │   │                 │  ▲ ▲                        │ │
//!   │   │ Err             │  │ └────── release, Keep ───┘ │
//!   │   ▼                 ▼  │ validated                  │ Discard
//!   │  gone             Idle─┴──▶ Validating              │
//!   │                     │        │   │                  │
//!   │ late      reasons   │   Err  │   │ late             │
//!   ▼                     ▼        ▼   ▼                  ▼
//! Overdue ── result ──▶ Closing ◀──── Overdue          Closing ── closed ──▶ gone
//! ```
//!
//! | from | by | to | command |
//! |---|---|---|---|
//! | – | a waiter, the minimum, warming, one in the background | Connecting | `Connect` |
//! | Connecting | `connected(Ok)` | placed | |
//! | Connecting | `connected(Err)` | gone | |
//! | Connecting, Validating | not back within `connect_timeout` | Overdue | `Late` |
//! | Overdue | `connected(Ok)`, `validated` | Closing | `Close(Late)` |
//! | Overdue | `connected(Err)` | gone | |
//! | Idle | `acquire` within `validate_after` of its last use or check | InUse | |
//! | Idle | a waiter, and that span is over; a round of checks | Validating | `Validate` |
//! | Validating | `validated(Ok)` | placed | |
//! | Validating | `validated(Err)` | Closing | `Close(Invalid)` |
//! | InUse | `release(Keep)`, a grant that nobody took | placed | |
//! | InUse | `release(Discard)`, `acquire_again` | Closing | `Close(Discarded)` |
//! | Idle | `idle_timeout`, lifetime, `resize`, room for others, drain | Closing | `Close(why)` |
//! | placed | a waiter whom it suits, if it is known to work | InUse | `Grant` |
//! | placed | lifetime or uses over, too many, room for others, drain | Closing | `Close(why)` |
//! | placed | else | Idle | |
//! | Closing | not back within `connect_timeout` of its begin | Closing | `Late` |
//! | Closing | `closed` | gone | |
//!
//! # Who waits
//!
//! Under each key there is one order: that of arrival. A resource that is placed goes to the first in line it
//! suits: a new one to whoever came first, a used one to the first who takes [`Want::Any`]. Newcomers never pass those who
//! stand in line, also if something is idle at that moment. Who was given something that did not work stands before
//! all others. Nobody's connect is his own: whatever comes first serves the first in line. Of what was granted to somebody
//! who gave up before he looked nothing has been learnt: it is as long idle as before, and validated when that is due.
//!
//! A connect begins for every waiter for whom none is on its way, as far as the limits allow and the [breaker]
//! lets it. One that fails costs nobody his place: the next is made after a pause, and only an open breaker or his own
//! deadline ends a waiter's wait. At its deadline he is told whether all were in use ([`Failure::Timeout`]) or there was
//! room, under his key and in the whole core, and connects failed ([`Failure::Connect`]). An open breaker refuses only those for whom a connect would have to
//! be made: who waits for one that is in use, because there may be no more, goes on waiting.
//!
//! # Several keys
//!
//! `max_total` bounds all keys together. A key that wants to connect when it is reached has the longest idle resource of
//! another key closed, if that one has more than its minimum. When nothing is idle it starves: what is given back
//! serves its own key, unless the first in line of a starving key has waited 50 ms longer. A minimum for which there is no
//! room closes nothing of others: it is made up as soon as nobody who waits needs the room.
//!
//! # What is true after every call
//!
//! * The resources of a key are idle, in use, connecting, validating or closing, and what was created minus what was
//!   destroyed is how many there are.
//! * Somebody waits for anything only while nothing idle could be handed out to him.
//! * There are never more than `max_size` under a key, nor more than `max_total` of all, but for a `resize` below.
//! * Every waiter has exactly one outcome, every resource that was made exactly one `Close`.
//!
//! [breaker]: crate::breaker

mod adaptive;
mod apart;
#[cfg(test)]
mod audit;
mod core;
mod counts;
mod ids;
mod key;
mod line;
#[cfg(feature = "sim")]
mod pairs;
mod protocol;
mod provide;
mod room;
mod slots;
mod terms;
mod upkeep;

#[cfg(test)]
mod tests;

pub(crate) use self::core::Core;
pub(crate) use adaptive::AdaptiveTerms;
pub(crate) use apart::Lending;
pub(crate) use counts::{WAIT_BOUNDS_MS, Waits};
pub(crate) use ids::{KeyId, SlotId, WaiterId};
pub(crate) use line::{Failure, Want};
#[cfg(feature = "sim")]
pub use pairs::LeasePairs;
#[cfg(test)]
pub(crate) use protocol::Cancelled;
pub(crate) use protocol::{Acquired, Claim, CloseReason, Command, Known, Patience, Refusal, Return};
pub(crate) use slots::Phase;
pub(crate) use terms::{Span, Terms};
