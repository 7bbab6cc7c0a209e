//! The settings of the flood score, their defaults and their bounds. What they do is in `syn`.

use std::time::Duration;

use crate::bucket::Rate;
use crate::clock::Nanos;
use crate::error::Error;

use super::cidr::Cidr;

/// Protection from floods of connections: each address has a score between 0 and 1, and a low one delays or blocks newcomers.
///
/// An unknown address starts at 0.8. Each attempt lowers the score, each connection that proves itself raises it, each one
/// that ends unproven lowers it, and it recovers with time. Below [`throttle_below`](Self::throttle_below), and for
/// longer below [`challenge_below`](Self::challenge_below), a newcomer is admitted but not read from for a while; nothing
/// ever sleeps. Below [`block_below`](Self::block_below), or after more than [`max_attempts`](Self::max_attempts) in a
/// [`window`](Self::window), the address is blocked for a time, and again when it goes on afterwards.
///
/// Connecting often is no offence. A connection that proves itself takes back the attempt that led to it, so what counts are
/// attempts on which nobody has made good yet: those still on their way, and those that ended unproven.
///
/// # How it is reckoned
///
/// Each address has a score `s` and two counts of attempts: `c` in the window that it is now and `p` in the one before.
/// Windows begin at the same time for all addresses; `left` is the part of a window's length that this one still has to go.
///
/// | when | what happens |
/// |---|---|
/// | before everything else | `s = min(1, s + recovery_per_second × seconds since the last time)` |
/// | an attempt | `c = c + 1`, `s = max(0, s − attempt_penalty)`; then it is judged |
/// | … is blocked | if a block is in force, or `c + ⌊p × left⌋ > max_attempts`, or `s < block_below` |
/// | … is delayed | if `s < challenge_below`, or for less long if `s < throttle_below` |
/// | … is refused by `max_global_per_second` | it is undone: `c = c − 1`, `s = min(1, s + attempt_penalty)` |
/// | a connection proves itself | its attempt is undone in `c` or `p`, wherever it was counted (if neither is the window of that attempt any more, there is nothing to undo); then `s = min(1, s + success_reward)`, and `s ≥ throttle_below` lifts a block |
/// | a connection ends unproven | `s = max(0, s − failure_penalty)`; `s < block_below` begins a block |
///
/// It follows that
///
/// * a client that proves each connection is never blocked, and not delayed while fewer than 0.3 / `attempt_penalty` (25) of its
///   connections are on their way at a time, or 0.1 / `attempt_penalty` (8) when it is new. What bounds it is the global rate.
/// * in each window at most `max_attempts` connections come in that never prove themselves, however many others do. A proof is
///   worth its own attempt and no other, so it can neither be saved up nor lent.
/// * to keep its score an address must prove (`attempt_penalty` + `failure_penalty`) / `success_reward` (1.24) connections for
///   each that it lets fail; a score of 1, the best there is, pays for 13 failures.
///
/// The score is the legacy pool's, the count a sliding window counter ("How we built rate limiting capable of scaling to
/// millions of domains", Cloudflare 2017). That only those are counted who have not proven themselves is what OpenSSH does too
/// (`PerSourcePenalties`, sshd_config(5)).
///
/// Addresses are those that the per-address limit counts, so an IPv6 /64 has one score. Unix sockets have none. A pool sees
/// only finished handshakes: against spoofed SYNs the kernel must help itself (`net.ipv4.tcp_syncookies`).
/// Every value is checked when the pool is built; a bad one is an error that names it.
///
/// ```
/// use socketpool::SynProtection;
/// use std::time::Duration;
///
/// let protection = SynProtection::default()
///     .max_attempts(100)
///     .block(Duration::from_secs(300))
///     .whitelist("10.0.0.0/8".parse()?)
///     .blacklist("192.0.2.0/24".parse()?);
/// # drop(protection);
/// # Ok::<(), socketpool::ParseCidrError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SynProtection {
    pub(super) window: Duration,
    pub(super) max_attempts: u32,
    pub(super) max_global_per_second: u32,
    pub(super) throttle_delay: Duration,
    pub(super) challenge_delay: Duration,
    pub(super) block: Duration,
    pub(super) throttle_below: f32,
    pub(super) challenge_below: f32,
    pub(super) block_below: f32,
    pub(super) recovery_per_second: f32,
    pub(super) attempt_penalty: Option<f32>,
    pub(super) failure_penalty: f32,
    pub(super) success_reward: f32,
    pub(super) max_tracked: u32,
    pub(super) whitelist: Vec<Cidr>,
    pub(super) blacklist: Vec<(Cidr, Nanos)>,
}

impl Default for SynProtection {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            max_attempts: 50,
            max_global_per_second: 1_000,
            throttle_delay: Duration::from_millis(100),
            challenge_delay: Duration::from_secs(5),
            block: Duration::from_secs(60),
            throttle_below: 0.7,
            challenge_below: 0.4,
            block_below: 0.2,
            recovery_per_second: 0.01,
            attempt_penalty: None,
            failure_penalty: 0.05,
            success_reward: 0.05,
            max_tracked: 100_000,
            whitelist: Vec::new(),
            blacklist: Vec::new(),
        }
    }
}

impl SynProtection {
    /// The time in which attempts are counted: 1 ms to 1 h, default 10 s. Counts are kept for whole windows; of the one
    /// before, as large a part counts as still lies in this time.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().window(Duration::from_secs(10)).max_attempts(2).attempt_penalty(0.0);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// for _ in 0..10 {
    ///     assert!(connect(&mut pool, "192.0.2.7:4711").is_ok());
    ///     hand.advance(Duration::from_secs(6));
    /// }
    /// assert!(connect(&mut pool, "192.0.2.7:4711").is_ok(), "never more than two in ten seconds");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// More attempts than this in a window, those left out that led to a connection which has proven itself, block the address:
    /// 1 to 10,000, default 50. Below 6 already the first attempt of an unknown address is delayed.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().max_attempts(2).attempt_penalty(0.0);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert!(connect(&mut pool, "192.0.2.7:1").is_ok() && connect(&mut pool, "192.0.2.7:2").is_ok());
    /// assert_eq!(connect(&mut pool, "192.0.2.7:3"), Err(Refusal::Flood));
    /// assert!(connect(&mut pool, "192.0.2.8:1").is_ok(), "another address");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Scored newcomers a second from all addresses together, not counting those whose own score refuses them: 1 to
    /// 1,000,000, default 1,000. Beyond it newcomers are refused with reason `accept_rate`, which is not held against them.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().max_global_per_second(1);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert!(connect(&mut pool, "192.0.2.7:4711").is_ok());
    /// assert_eq!(connect(&mut pool, "192.0.2.8:4711"), Err(Refusal::AcceptRate));
    /// hand.advance(Duration::from_secs(1));
    /// assert!(connect(&mut pool, "192.0.2.8:4711").is_ok());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn max_global_per_second(self, max_global_per_second: u32) -> Self {
        Self { max_global_per_second, ..self }
    }

    /// For how long a throttled newcomer is not read from: at most 1 h, default 100 ms.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().throttle_below(1.0).throttle_delay(Duration::from_millis(100));
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Ok(Phase::Delayed));
    /// hand.advance(Duration::from_millis(100));
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert_eq!(pool.connections().next().unwrap().state, Phase::Unproven);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn throttle_delay(self, throttle_delay: Duration) -> Self {
        Self { throttle_delay, ..self }
    }

    /// For how long a challenged newcomer is not read from: at most 1 h, not below the throttle delay, default 5 s.
    ///
    /// The challenge is to hold out: meanwhile it keeps a slot, and when the pool is full it goes in its turn like any other
    /// that has not proven itself.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let delays = |throttle, challenge| {
    ///     let delays = SynProtection::default().throttle_delay(throttle).challenge_delay(challenge);
    ///     SocketPool::<()>::builder().syn_protection(delays).build()
    /// };
    /// assert!(delays(Duration::from_millis(50), Duration::from_secs(2)).is_ok());
    /// let error = delays(Duration::from_secs(2), Duration::from_secs(1)).unwrap_err();
    /// assert_eq!(error.to_string(), "syn_protection.challenge_delay is 1s, must be from 2s to 3600s");
    /// ```
    #[must_use]
    pub fn challenge_delay(self, challenge_delay: Duration) -> Self {
        Self { challenge_delay, ..self }
    }

    /// For how long a block lasts: 1 ms to 365 days, default 60 s. What comes meanwhile is refused with reason `flood` and
    /// does not prolong it, but it counts: who floods on is blocked anew at the end.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().max_attempts(1).block(Duration::from_secs(300));
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// while connect(&mut pool, "192.0.2.7:4711") != Err(Refusal::Flood) {}
    /// hand.advance(Duration::from_secs(200));
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Flood));
    /// hand.advance(Duration::from_secs(100));
    /// assert!(connect(&mut pool, "192.0.2.7:4711").is_ok(), "one attempt meanwhile is no flood");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn block(self, block: Duration) -> Self {
        Self { block, ..self }
    }

    /// Scores below this are throttled: at most 1, default 0.7.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().throttle_below(0.79).attempt_penalty(0.02);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Ok(Phase::Delayed), "0.8 to begin with, less one attempt");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn throttle_below(self, throttle_below: f32) -> Self {
        Self { throttle_below, ..self }
    }

    /// Scores below this are challenged: at most `throttle_below`, default 0.4.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let protection = SynProtection::default().challenge_below(0.75); // above throttle_below, 0.7
    /// let error = SocketPool::<()>::builder().syn_protection(protection).build().unwrap_err();
    /// assert_eq!(error.to_string(), "syn_protection.challenge_below is 0.75, must be from 0 to 0.7");
    /// ```
    #[must_use]
    pub fn challenge_below(self, challenge_below: f32) -> Self {
        Self { challenge_below, ..self }
    }

    /// Scores below this are blocked: at most `challenge_below`, default 0.2. With 0 only the number of attempts blocks.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let by_count_alone = SynProtection::default().block_below(0.0).attempt_penalty(0.5).max_attempts(4);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(by_count_alone).clock(clock).build()?;
    /// assert!((0..4).all(|_| connect(&mut pool, "192.0.2.7:4711").is_ok()), "though its score is 0");
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Flood));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn block_below(self, block_below: f32) -> Self {
        Self { block_below, ..self }
    }

    /// What a score gains each second, to at most 1: 0 to 1,000, default 0.01.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().attempt_penalty(0.2).recovery_per_second(0.1);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Ok(Phase::Delayed), "at 0.6");
    /// hand.advance(Duration::from_secs(4));
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Ok(Phase::Unproven), "back at 1, less this attempt");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn recovery_per_second(self, recovery_per_second: f32) -> Self {
        Self { recovery_per_second, ..self }
    }

    /// What an attempt costs: 0 to 1, default 0.6 / `max_attempts`, so that score and count block at about the same attempt.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let one_is_enough = SynProtection::default().attempt_penalty(1.0);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(one_is_enough).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Flood));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn attempt_penalty(self, attempt_penalty: f32) -> Self {
        Self { attempt_penalty: Some(attempt_penalty), ..self }
    }

    /// What a connection costs that ends without having proved itself: 0 to 1, default 0.05.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().failure_penalty(0.7);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert!(connect(&mut pool, "192.0.2.7:4711").is_ok());
    /// pool.for_each(|conn| conn.close()); // it was never answered
    /// pool.turn(Some(Duration::ZERO))?;
    /// while pool.next_event().is_some() {}
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Flood));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn failure_penalty(self, failure_penalty: f32) -> Self {
        Self { failure_penalty, ..self }
    }

    /// What a connection earns that proves itself, besides what its attempt has cost: 0 to 1, default 0.05.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().attempt_penalty(0.2).success_reward(0.4);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Ok(Phase::Delayed), "at 0.6");
    /// pool.for_each(|conn| conn.prove());
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Ok(Phase::Unproven), "at 1, less this attempt");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn success_reward(self, success_reward: f32) -> Self {
        Self { success_reward, ..self }
    }

    /// Addresses that are remembered, 44 to 48 bytes each (52 to 56 where more than 64 bits of an IPv6 address count): 1 to 16,777,216, default 100,000. One more than the pool's connections if
    /// that is more. When all are taken, the one is forgotten that has been without a connection for longest.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().max_tracked(1_000);
    /// let mut pool = SocketPool::<()>::builder().max_connections(10).syn_protection(protection).build()?;
    /// assert!(connect(&mut pool, "[2001:db8::1]:1").is_ok() && connect(&mut pool, "[2001:db8::2]:1").is_ok());
    /// assert_eq!(pool.snapshot().tracked_addresses, 1, "both are of one /64");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn max_tracked(self, max_tracked: u32) -> Self {
        Self { max_tracked, ..self }
    }

    /// A network that is never scored. It is still subject to every other limit, the deny list too.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().attempt_penalty(1.0).whitelist("10.0.0.0/8".parse().unwrap());
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "10.1.2.3:4711"), Ok(Phase::Unproven));
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Flood), "one attempt is too much here");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn whitelist(mut self, network: Cidr) -> Self {
        self.whitelist.push(network);
        self
    }

    /// A network that is refused, with reason `denied`, unless it is in the whitelist too.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// # let (clock, hand) = Clock::manual();
    /// let protection = SynProtection::default().blacklist("192.0.2.0/24".parse().unwrap());
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Denied));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn blacklist(self, network: Cidr) -> Self {
        self.blacklist_until(network, Nanos::MAX)
    }

    /// A network that is refused until then, by the pool's clock.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # fn connect(pool: &mut SocketPool<()>, from: &str) -> Result<Phase, Refusal> {
    /// #     let stream = OsStream::adopt(UnixStream::pair().unwrap().0).unwrap();
    /// #     let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
    /// #     let id = pool.add_stream(stream, peer).map_err(|refused| refused.reason)?;
    /// #     Ok(pool.conn(id).info().state)
    /// # }
    /// let (clock, hand) = Clock::manual();
    /// let until = clock.now() + Duration::from_secs(3600);
    /// let protection = SynProtection::default().blacklist_until("192.0.2.7".parse().unwrap(), until);
    /// let mut pool = SocketPool::<()>::builder().syn_protection(protection).clock(clock).build()?;
    /// assert_eq!(connect(&mut pool, "192.0.2.7:4711"), Err(Refusal::Denied));
    /// hand.advance(Duration::from_secs(3600));
    /// assert!(connect(&mut pool, "192.0.2.7:4711").is_ok());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub fn blacklist_until(mut self, network: Cidr, until: Nanos) -> Self {
        self.blacklist.push((network, until));
        self
    }

    /// What an attempt costs.
    pub(super) fn penalty(&self) -> f32 {
        self.attempt_penalty.unwrap_or(0.6 / self.max_attempts as f32)
    }

    /// The rate that `max_global_per_second` stands for.
    pub(super) fn global_rate(&self) -> Rate {
        Rate::per_second(self.max_global_per_second)
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        span("syn_protection.window", self.window, MILLI, HOUR)?;
        number("syn_protection.max_attempts", self.max_attempts, 10_000)?;
        number("syn_protection.max_global_per_second", self.max_global_per_second, 1_000_000)?;
        span("syn_protection.throttle_delay", self.throttle_delay, Duration::ZERO, HOUR)?;
        span("syn_protection.challenge_delay", self.challenge_delay, self.throttle_delay, HOUR)?;
        span("syn_protection.block", self.block, MILLI, YEAR)?;
        share("syn_protection.throttle_below", self.throttle_below, 1.0)?;
        share("syn_protection.challenge_below", self.challenge_below, self.throttle_below)?;
        share("syn_protection.block_below", self.block_below, self.challenge_below)?;
        share("syn_protection.recovery_per_second", self.recovery_per_second, 1_000.0)?;
        share("syn_protection.attempt_penalty", self.penalty(), 1.0)?;
        share("syn_protection.failure_penalty", self.failure_penalty, 1.0)?;
        share("syn_protection.success_reward", self.success_reward, 1.0)?;
        number("syn_protection.max_tracked", self.max_tracked, 1 << 24)
    }
}

fn number(field: &'static str, value: u32, most: u32) -> Result<(), Error> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::config(field, value, format!("from 1 to {most}")))
}

fn span(field: &'static str, value: Duration, least: Duration, most: Duration) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::config(field, format!("{value:?}"), format!("from {least:?} to {most:?}")))
}

/// Not a number is out of every range.
fn share(field: &'static str, value: f32, most: f32) -> Result<(), Error> {
    if (0.0..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::config(field, value, format!("from 0 to {most}")))
}

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_and_the_extremes_are_good() {
        assert!(SynProtection::default().validate().is_ok());
        let extreme = SynProtection::default().throttle_below(0.0).challenge_below(0.0).block_below(0.0);
        assert!(extreme.max_attempts(10_000).recovery_per_second(0.0).validate().is_ok());
    }

    #[test]
    fn every_bad_value_is_named() {
        let good = SynProtection::default;
        let cases = [
            ("window", good().window(Duration::ZERO)),
            ("window", good().window(Duration::MAX)),
            ("max_attempts", good().max_attempts(0)),
            ("max_attempts", good().max_attempts(u32::MAX)),
            ("max_global_per_second", good().max_global_per_second(0)),
            ("max_global_per_second", good().max_global_per_second(1_000_001)),
            ("throttle_delay", good().throttle_delay(Duration::MAX)),
            ("challenge_delay", good().challenge_delay(Duration::from_millis(99))),
            ("block", good().block(Duration::ZERO)),
            ("block", good().block(Duration::MAX)),
            ("throttle_below", good().throttle_below(1.1)),
            ("throttle_below", good().throttle_below(f32::NAN)),
            ("challenge_below", good().challenge_below(0.71)),
            ("block_below", good().block_below(0.41)),
            ("block_below", good().block_below(-0.1)),
            ("recovery_per_second", good().recovery_per_second(f32::INFINITY)),
            ("attempt_penalty", good().attempt_penalty(-0.02)),
            ("failure_penalty", good().failure_penalty(f32::NAN)),
            ("success_reward", good().success_reward(2.0)),
            ("max_tracked", good().max_tracked(0)),
            ("max_tracked", good().max_tracked(u32::MAX)),
        ];
        for (name, bad) in cases {
            let Err(Error::Config { field, .. }) = bad.validate() else { panic!("{name} was accepted") };
            assert_eq!(field, format!("syn_protection.{name}"));
        }
    }
}
