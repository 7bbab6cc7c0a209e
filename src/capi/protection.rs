//! Protection from connection floods as a thing of its own: a C program asks it about each newcomer, tells it how that one
//! fared, and may give it to pools, which then do both by themselves. The scores are `admission`'s.

use std::ffi::{CStr, c_char, c_int};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::arena::{self, Arena_T};
use super::handles::{self, Bad, Kind, Object, Pinned};
use super::status::{Failure, answer, store};
use crate::admission::{Cidr, Protection, Sight};
use crate::clock::Nanos;
use crate::net::sys::monotonic_nanos;
use crate::server::SocketPool;

mod config;
mod state;

pub use config::SocketSYNProtect_Config;
use config::as_c_has_it;
pub use state::*;
use state::{ALLOW, action, millis, state_of};

/// A protection against connection floods. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_protection;

/// A protection against connection floods. Any thread may use it, and pools may share it.
pub type SocketSYNProtect_T = *mut sp_protection;

/// What a handle names.
pub(super) struct Guarded(Arc<Mutex<Protection>>);

impl Object for Guarded {
    const KIND: Kind = Kind::Protection;
}

/// Has a pool ask a protection about newcomers from now on, and tell it how they fare; none for NULL.
pub(super) fn give<U>(protect: SocketSYNProtect_T, pool: &mut SocketPool<U>) -> Result<(), Failure> {
    if protect.is_null() {
        return Ok(pool.share_protection(None)?);
    }
    let pinned = pin(protect)?;
    Ok(pool.share_protection(Some((&pinned.0, now())))?)
}

/// Finds a protection.
fn pin(protect: SocketSYNProtect_T) -> Result<Pinned<Guarded>, Failure> {
    handles::pin(protect.addr() as u64).map_err(bad)
}

fn bad(reason: Bad) -> Failure {
    Failure::handle("protect", Kind::Protection, reason)
}

fn now() -> Nanos {
    Nanos::new(monotonic_nanos())
}

/// Runs a call on a protection, alone with it.
fn with<T>(
    function: &str,
    protect: SocketSYNProtect_T,
    neutral: T,
    run: impl FnOnce(&mut Protection, Nanos) -> Result<T, Failure>,
) -> T {
    answer(function, neutral, || {
        let pinned = pin(protect)?;
        let failed = |_| Failure::state("the protection has failed before and does nothing any more");
        let mut protection = pinned.0.lock().map_err(failed)?;
        run(&mut protection, now())
    })
}

/// A text of the caller's.
///
/// # Safety
/// It is NULL or ends with NUL.
unsafe fn text<'a>(argument: &str, text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::argument(argument, "is NULL"));
    }
    // SAFETY: not NULL, so the caller promises the rest.
    let bytes = unsafe { CStr::from_ptr(text) };
    match bytes.to_str() {
        Ok(text) if text.len() < LONGEST_TEXT => Ok(text),
        _ => Err(Failure::argument(argument, "is no address: it is too long, or not ASCII")),
    }
}

/// An address of the caller's. The zone of an IPv6 address (`fe80::1%eth0`) is no part of it.
///
/// # Safety
/// As for `text`.
unsafe fn address(ip: *const c_char) -> Result<IpAddr, Failure> {
    // SAFETY: as the caller promises.
    let text = unsafe { text("ip", ip) }?;
    let bare = text.split_once('%').map_or(text, |(bare, _)| bare);
    let parsed = bare.parse::<IpAddr>().ok().filter(|ip| bare == text || ip.is_ipv6());
    let ip = parsed.ok_or_else(|| {
        Failure::argument("ip", format_args!("is {text:?}, must be an IPv4 or IPv6 address"))
    })?;
    Ok(ip.to_canonical())
}

/// A network of the caller's, or a single address.
///
/// # Safety
/// As for `text`.
unsafe fn network(argument: &str, cidr: *const c_char) -> Result<Cidr, Failure> {
    // SAFETY: as the caller promises.
    let text = unsafe { text(argument, cidr) }?;
    Cidr::read_loosely(text).map_err(|error| Failure::argument(argument, format_args!("is bad: {error}")))
}

/// Makes a protection that lets at most `max_global_per_second` newcomers in a second (1 to 1,000,000), and blocks an
/// address that makes more than `max_attempts_per_window` attempts (1 to 10,000) in ten seconds on which nobody makes good;
/// `SocketSYNProtect_configure` changes this and everything else. It lives until it is freed or the arena is disposed of;
/// a NULL arena means the process. NULL on error.
///
/// Each address has a score between 0 and 1 and begins at 0.8; an attempt costs 0.6 / `max_attempts_per_window`, a failure
/// costs 0.05, a success gives back what its attempt has cost and earns 0.05, and each second earns 0.01. Below 0.7 it is
/// throttled, below 0.4 challenged, below 0.2 blocked for a minute, and anew if it goes on then.
///
/// Addresses are compared as addresses, however they are written: `::ffff:192.0.2.7` is `192.0.2.7`. All of an IPv6
/// /64 have one score; lists tell them apart. 100,000 addresses are remembered; then the one is forgotten that was not heard of
/// for longest, of the eight that are next one that is not blocked if there is such, and never one with live connections
/// in a pool that shares this protection.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_new(
    arena: Arena_T,
    max_global_per_second: c_int,
    max_attempts_per_window: c_int,
) -> SocketSYNProtect_T {
    answer("SocketSYNProtect_new", std::ptr::null_mut(), || {
        let defaults = SocketSYNProtect_Config::DEFAULTS;
        let config = SocketSYNProtect_Config { max_global_per_second, max_attempts_per_window, ..defaults };
        let settings = config.settings()?;
        let made = Protection::new(settings, config.max_whitelist, config.max_blacklist, now())?;
        let made = Box::new(Guarded(Arc::new(Mutex::new(made))));
        let name = handles::name(made).ok_or_else(|| Failure::memory("a handle"))?;
        arena::adopt(arena, name).inspect_err(|_| {
            // Nobody else knows it yet.
            let _ = handles::free::<Guarded>(name);
        })?;
        Ok(std::ptr::without_provenance_mut(name as usize))
    })
}

/// Ends a protection and sets the handle to NULL. NULL, or a pointer to NULL, is no error. Pools that share it go on as if
/// they had none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_free(protect: *mut SocketSYNProtect_T) {
    answer("SocketSYNProtect_free", (), || {
        if protect.is_null() {
            return Ok(());
        }
        // SAFETY: not NULL, and the caller promises that it may be read and written.
        let name = unsafe { protect.replace(std::ptr::null_mut()) };
        if name.is_null() {
            return Ok(());
        }
        handles::free::<Guarded>(name.addr() as u64).map_err(bad)
    });
}

/// Stores the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_config_defaults(config: *mut SocketSYNProtect_Config) {
    answer("SocketSYNProtect_config_defaults", (), || {
        // SAFETY: as the caller promises.
        unsafe { store("config", config, SocketSYNProtect_Config::DEFAULTS) }
    });
}

/// Changes every setting; scores, lists and counts go on. If one is out of its bounds nothing changes, and the last error
/// of the thread names the field, its value and the bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_configure(
    protect: SocketSYNProtect_T,
    config: *const SocketSYNProtect_Config,
) {
    with("SocketSYNProtect_configure", protect, (), |protection, now| {
        if config.is_null() {
            return Err(Failure::argument("config", "is NULL"));
        }
        // SAFETY: not NULL, and the caller promises that it may be read.
        let config = unsafe { config.read() };
        protection.configure(config.settings()?, now).map_err(as_c_has_it)?;
        protection.whitelist.set_most(config.max_whitelist);
        protection.blacklist.set_most(config.max_blacklist);
        Ok(())
    });
}

/// Counts an attempt of an address and says what to do with it, one of `SYN_ACTION_…`; stores how the address stands then
/// unless `state` is NULL. Never waits: to throttle or to challenge is to read from the newcomer later, as a pool does it.
///
/// `SYN_ACTION_ALLOW` for a handle or a text that is wrong, and then nothing is counted or stored: what has no address,
/// such as the peer of a Unix socket, has no score.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_check(
    protect: SocketSYNProtect_T,
    ip: *const c_char,
    state: *mut SocketSYN_IPState,
) -> SocketSYN_Action {
    with("SocketSYNProtect_check", protect, ALLOW, |protection, now| {
        // SAFETY: as the caller promises.
        let ip = unsafe { address(ip) }?;
        let outcome = protection.check(ip, now);
        if !state.is_null() {
            let after = state_of(ip, protection.sight(ip, now));
            // SAFETY: not NULL, and the caller promises that it may be written.
            unsafe { state.write(after) };
        }
        Ok(action(outcome))
    })
}

/// A connection of this address proved itself, for instance by a request that was good. Once for each connection: it takes
/// back the attempt. Nothing happens for an address that is not remembered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_report_success(protect: SocketSYNProtect_T, ip: *const c_char) {
    with("SocketSYNProtect_report_success", protect, (), |protection, now| {
        // SAFETY: as the caller promises.
        protection.report_success(unsafe { address(ip) }?, now);
        Ok(())
    });
}

/// A connection of this address ended without having proved itself. `error` may say why, and is not looked at. Nothing
/// happens for an address that is not remembered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_report_failure(
    protect: SocketSYNProtect_T,
    ip: *const c_char,
    error: c_int,
) {
    let _ = error;
    with("SocketSYNProtect_report_failure", protect, (), |protection, now| {
        // SAFETY: as the caller promises.
        protection.report_failure(unsafe { address(ip) }?, now);
        Ok(())
    });
}

/// Adds an address that is always let in and never scored. Returns 1, also when it is there already; 0 for what is no
/// address, or when the list is full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_whitelist_add(
    protect: SocketSYNProtect_T,
    ip: *const c_char,
) -> c_int {
    with("SocketSYNProtect_whitelist_add", protect, 0, |protection, now| {
        // SAFETY: as the caller promises.
        let network = Cidr::from(unsafe { address(ip) }?);
        added(protection.whitelist.add(network, Nanos::MAX, now)?)
    })
}

/// Adds a network, such as `10.0.0.0/8`, or a single address. Bits of it beyond the prefix do not count. Returns as
/// `SocketSYNProtect_whitelist_add`; a bad prefix is an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_whitelist_add_cidr(
    protect: SocketSYNProtect_T,
    cidr: *const c_char,
) -> c_int {
    with("SocketSYNProtect_whitelist_add_cidr", protect, 0, |protection, now| {
        // SAFETY: as the caller promises.
        let network = unsafe { network("cidr", cidr) }?;
        added(protection.whitelist.add(network, Nanos::MAX, now)?)
    })
}

/// Takes out an address, or a network that was added as this one. Nothing happens if it is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_whitelist_remove(protect: SocketSYNProtect_T, ip: *const c_char) {
    with("SocketSYNProtect_whitelist_remove", protect, (), |protection, _| {
        // SAFETY: as the caller promises.
        protection.whitelist.remove(unsafe { network("ip", ip) }?);
        Ok(())
    });
}

/// 1 if the address is in the whitelist, by itself or in a network; else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_whitelist_contains(
    protect: SocketSYNProtect_T,
    ip: *const c_char,
) -> c_int {
    with("SocketSYNProtect_whitelist_contains", protect, 0, |protection, now| {
        // SAFETY: as the caller promises.
        Ok(c_int::from(protection.is_whitelisted(unsafe { address(ip) }?, now)))
    })
}

/// Empties the whitelist.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_whitelist_clear(protect: SocketSYNProtect_T) {
    with("SocketSYNProtect_whitelist_clear", protect, (), |protection, _| {
        protection.whitelist.clear();
        Ok(())
    });
}

/// Adds an address that is refused for so many milliseconds, 0 or less for ever, unless it is in the whitelist too; or a
/// network, such as `192.0.2.0/24`. One that is there already gets the new time. Returns 1; 0 for what is no address, or when
/// the list is full of what has not expired.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_blacklist_add(
    protect: SocketSYNProtect_T,
    ip: *const c_char,
    duration_ms: c_int,
) -> c_int {
    with("SocketSYNProtect_blacklist_add", protect, 0, |protection, now| {
        // SAFETY: as the caller promises.
        let network = unsafe { network("ip", ip) }?;
        let until = match u64::try_from(duration_ms) {
            Ok(0) | Err(_) => Nanos::MAX,
            Ok(duration_ms) => now + std::time::Duration::from_millis(duration_ms),
        };
        added(protection.blacklist.add(network, until, now)?)
    })
}

/// Takes out an address, or a network that was added as this one. Nothing happens if it is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_blacklist_remove(protect: SocketSYNProtect_T, ip: *const c_char) {
    with("SocketSYNProtect_blacklist_remove", protect, (), |protection, _| {
        // SAFETY: as the caller promises.
        protection.blacklist.remove(unsafe { network("ip", ip) }?);
        Ok(())
    });
}

/// 1 if the address is in the blacklist at this moment, by itself or in a network; else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_blacklist_contains(
    protect: SocketSYNProtect_T,
    ip: *const c_char,
) -> c_int {
    with("SocketSYNProtect_blacklist_contains", protect, 0, |protection, now| {
        // SAFETY: as the caller promises.
        Ok(c_int::from(protection.is_blacklisted(unsafe { address(ip) }?, now)))
    })
}

/// Empties the blacklist.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_blacklist_clear(protect: SocketSYNProtect_T) {
    with("SocketSYNProtect_blacklist_clear", protect, (), |protection, _| {
        protection.blacklist.clear();
        Ok(())
    });
}

/// Stores how an address stands and returns 1; returns 0, and stores nothing, if it is not remembered. What the lists say of
/// an address is stored if it is in one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_get_ip_state(
    protect: SocketSYNProtect_T,
    ip: *const c_char,
    state: *mut SocketSYN_IPState,
) -> c_int {
    with("SocketSYNProtect_get_ip_state", protect, 0, |protection, now| {
        // SAFETY: as the caller promises.
        let ip = unsafe { address(ip) }?;
        if state.is_null() {
            return Err(Failure::argument("state", "is NULL"));
        }
        let sight = protection.sight(ip, now);
        if sight == Sight::Unknown {
            return Ok(0);
        }
        // SAFETY: as the caller promises.
        unsafe { store("state", state, state_of(ip, sight)) }?;
        Ok(1)
    })
}

/// Stores what it has seen. Looks at every address for those that are blocked: some 0.1 ms for 100,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketSYNProtect_stats(
    protect: SocketSYNProtect_T,
    stats: *mut SocketSYNProtect_Stats,
) {
    with("SocketSYNProtect_stats", protect, (), |protection, now| {
        let totals = protection.totals();
        let seen = SocketSYNProtect_Stats {
            total_attempts: totals.attempts,
            total_allowed: totals.allowed,
            total_throttled: totals.throttled,
            total_challenged: totals.challenged,
            total_blocked: totals.blocked,
            total_whitelisted: totals.whitelisted,
            total_blacklisted: totals.blacklisted,
            current_tracked_ips: protection.tracked() as u64,
            current_blocked_ips: protection.blocked(now) as u64,
            lru_evictions: totals.evictions,
            uptime_ms: millis(now) - millis(protection.began()),
        };
        // SAFETY: as the caller promises.
        unsafe { store("stats", stats, seen) }
    });
}

/// Sets the totals to 0. Evictions and the time since it was made go on.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_stats_reset(protect: SocketSYNProtect_T) {
    with("SocketSYNProtect_stats_reset", protect, (), |protection, _| {
        protection.reset_totals();
        Ok(())
    });
}

/// Takes out of the blacklist what has expired, and returns how many entries that were. Nothing depends on it: what has
/// expired blocks nobody, and gives way when the list is full. Blocks end by themselves.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_cleanup(protect: SocketSYNProtect_T) -> usize {
    with("SocketSYNProtect_cleanup", protect, 0, |protection, now| {
        Ok(protection.blacklist.forget_expired(now))
    })
}

/// Forgets what is known of all addresses. Lists and totals stay.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_clear_all(protect: SocketSYNProtect_T) {
    with("SocketSYNProtect_clear_all", protect, (), |protection, now| {
        protection.forget_addresses(now);
        Ok(())
    });
}

/// Begins anew: addresses, lists and totals. Settings stay.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_reset(protect: SocketSYNProtect_T) {
    with("SocketSYNProtect_reset", protect, (), |protection, now| {
        protection.reset(now);
        Ok(())
    });
}

fn added(there_was_room: bool) -> Result<c_int, Failure> {
    if there_was_room { Ok(1) } else { Err(Failure::state("the list is full")) }
}

/// More than the longest address with its zone and prefix takes.
const LONGEST_TEXT: usize = 128;
