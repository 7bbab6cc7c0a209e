//! What a protection says, as C has it.

use std::ffi::{c_char, c_int};
use std::mem::{offset_of, size_of};
use std::net::IpAddr;

use crate::admission::{Outcome, Reputation, Sight};
use crate::clock::Nanos;

/// What to do with a newcomer: one of `SYN_ACTION_…`.
pub type SocketSYN_Action = c_int;

/// What a score is called: one of `SYN_REP_…`.
pub type SocketSYN_Reputation = c_int;

/// How an address stands. Times are milliseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SocketSYN_IPState {
    /// The address in its one true form, with NUL.
    pub ip: [c_char; 64],
    /// When the window began in which attempts are counted now.
    pub window_start_ms: i64,
    /// Attempts in this window, those left out that made good.
    pub attempts_current: u32,
    /// Attempts in the window before.
    pub attempts_previous: u32,
    /// Connections that proved themselves, since the address is remembered.
    pub successes: u32,
    /// Connections that did not.
    pub failures: u32,
    /// 0 if there was none.
    pub last_attempt_ms: i64,
    /// Until when every attempt is refused; 0 if none is.
    pub block_until_ms: i64,
    /// What the score is called.
    pub rep: SocketSYN_Reputation,
    /// From 0, hostile, to 1, trusted.
    pub score: f32,
}

/// What a protection has seen. Each attempt is in one of allowed, throttled, challenged and blocked; those of whitelisted
/// addresses are a part of the allowed, those of blacklisted ones a part of the blocked.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SocketSYNProtect_Stats {
    /// Checks, of the program and of pools.
    pub total_attempts: u64,
    /// Let in.
    pub total_allowed: u64,
    /// Let in, and to be delayed a little.
    pub total_throttled: u64,
    /// Let in, and to be delayed for longer.
    pub total_challenged: u64,
    /// Not let in.
    pub total_blocked: u64,
    /// From addresses of the whitelist.
    pub total_whitelisted: u64,
    /// From addresses of the blacklist.
    pub total_blacklisted: u64,
    /// Addresses that are remembered now.
    pub current_tracked_ips: u64,
    /// Addresses that are blocked now, those of the blacklist left out.
    pub current_blocked_ips: u64,
    /// Addresses that were forgotten to make room for others.
    pub lru_evictions: u64,
    /// Since it was made or reset.
    pub uptime_ms: i64,
}

pub(super) const ALLOW: SocketSYN_Action = 0;
const THROTTLE: SocketSYN_Action = 1;
const CHALLENGE: SocketSYN_Action = 2;
const BLOCK: SocketSYN_Action = 3;

const TRUSTED: SocketSYN_Reputation = 0;
const NEUTRAL: SocketSYN_Reputation = 1;
const SUSPECT: SocketSYN_Reputation = 2;
const HOSTILE: SocketSYN_Reputation = 3;

/// "ALLOW", "THROTTLE", "CHALLENGE" or "BLOCK"; "UNKNOWN" for a number that is no action.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_action_name(action: SocketSYN_Action) -> *const c_char {
    let name = match action {
        ALLOW => c"ALLOW",
        THROTTLE => c"THROTTLE",
        CHALLENGE => c"CHALLENGE",
        BLOCK => c"BLOCK",
        _ => c"UNKNOWN",
    };
    name.as_ptr()
}

/// "TRUSTED", "NEUTRAL", "SUSPECT" or "HOSTILE"; "UNKNOWN" for a number that is no reputation.
#[unsafe(no_mangle)]
pub extern "C" fn SocketSYNProtect_reputation_name(rep: SocketSYN_Reputation) -> *const c_char {
    let name = match rep {
        TRUSTED => c"TRUSTED",
        NEUTRAL => c"NEUTRAL",
        SUSPECT => c"SUSPECT",
        HOSTILE => c"HOSTILE",
        _ => c"UNKNOWN",
    };
    name.as_ptr()
}

pub(super) fn action(outcome: Outcome) -> SocketSYN_Action {
    match outcome {
        Outcome::Allow => ALLOW,
        Outcome::Throttle => THROTTLE,
        Outcome::Challenge => CHALLENGE,
        Outcome::Block => BLOCK,
    }
}

pub(super) fn state_of(ip: IpAddr, sight: Sight) -> SocketSYN_IPState {
    let mut state = SocketSYN_IPState {
        ip: [0; 64],
        window_start_ms: 0,
        attempts_current: 0,
        attempts_previous: 0,
        successes: 0,
        failures: 0,
        last_attempt_ms: 0,
        block_until_ms: 0,
        rep: NEUTRAL,
        score: 0.8,
    };
    for (place, byte) in state.ip.iter_mut().zip(ip.to_string().bytes()) {
        *place = byte as c_char;
    }
    match sight {
        Sight::Unknown => {}
        Sight::Whitelisted => (state.rep, state.score) = (TRUSTED, 1.0),
        Sight::Blacklisted => (state.rep, state.score) = (HOSTILE, 0.0),
        Sight::Known { reading, reputation, last_attempt, successes, failures } => {
            state.window_start_ms = millis(reading.began);
            state.attempts_current = reading.current.into();
            state.attempts_previous = reading.previous.into();
            (state.successes, state.failures) = (successes, failures);
            state.last_attempt_ms = millis(last_attempt);
            state.block_until_ms = millis(reading.blocked_until);
            state.score = reading.score;
            state.rep = match reputation {
                Reputation::Trusted => TRUSTED,
                Reputation::Neutral => NEUTRAL,
                Reputation::Suspect => SUSPECT,
                Reputation::Hostile => HOSTILE,
            };
        }
    }
    state
}

pub(super) fn millis(at: Nanos) -> i64 {
    at.as_millis().cast_signed()
}

// What the legacy library has on the same machine.
const _: () = assert!(size_of::<SocketSYN_IPState>() == 112);
const _: () = assert!(offset_of!(SocketSYN_IPState, window_start_ms) == 64);
const _: () = assert!(offset_of!(SocketSYN_IPState, last_attempt_ms) == 88);
const _: () = assert!(offset_of!(SocketSYN_IPState, rep) == 104);
const _: () = assert!(size_of::<SocketSYNProtect_Stats>() == 88);
const _: () = assert!(offset_of!(SocketSYNProtect_Stats, uptime_ms) == 80);
