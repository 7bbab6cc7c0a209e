//! The structs that C programs and the library share lie in memory as one list of numbers says, `tests/c/layout.h`: the
//! compiler of Rust made it, and the C compilers compare. `SOCKETPOOL_BLESS=1` writes it, which breaks programs that are
//! compiled.

#![cfg(target_pointer_width = "64")]

mod c_programs;

use std::fmt::Write;
use std::fs;
use std::mem::offset_of;

use c_programs::{LINK, compile, compilers, root};
use socketpool::capi::*;

const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

fn in_c(name: &str) -> &str {
    name.trim_start_matches("r#")
}

/// The lines of the list for these structs, of which no field may be left out.
macro_rules! lines {
    ($($name:ident { $($field:ident)* })*) => {{
        let mut lines = String::new();
        $(
            let _ = |all: $name| { let $name { $($field: _),* } = all; };
            let (size, align) = (size_of::<$name>(), align_of::<$name>());
            writeln!(lines, "STRUCT({}, {size}, {align})", stringify!($name)).unwrap();
            $(
                let (offset, size) = (offset_of!($name, $field), size_of_field::<$name, _>(|all| &all.$field));
                writeln!(lines, "FIELD({}, {}, {offset}, {size})", stringify!($name), in_c(stringify!($field))).unwrap();
            )*
        )*
        lines
    }};
}

fn lines_of_structs() -> String {
    lines! {
        sp_event { kind reason connection userdata }
        SocketPool_Stats {
            total_added total_removed total_refused total_operations total_denied total_idle_cleanups bytes_received bytes_sent
            current_active current_idle max_connections
        }
        SocketEvent_T { socket data events }
        SocketSYNProtect_Config {
            window_duration_ms max_attempts_per_window max_global_per_second min_success_ratio throttle_delay_ms
            block_duration_ms challenge_defer_sec score_throttle score_challenge score_block score_decay_per_sec
            score_penalty_attempt score_penalty_failure score_reward_success max_tracked_ips max_whitelist max_blacklist
            hash_seed
        }
        SocketSYN_IPState {
            ip window_start_ms attempts_current attempts_previous successes failures last_attempt_ms block_until_ms rep score
        }
        SocketSYNProtect_Stats {
            total_attempts total_allowed total_throttled total_challenged total_blocked total_whitelisted total_blacklisted
            current_tracked_ips current_blocked_ips lru_evictions uptime_ms
        }
        Except_T { r#type reason }
    }
}

fn header() -> String {
    fs::read_to_string(root().join("include/socketpool/socketpool.h")).unwrap()
}

/// The constants of the header, which are compiled into programs as well.
fn lines_of_constants() -> String {
    let header = header();
    let constants = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    constants.map(|(name, value)| format!("CONSTANT({name}, {value})\n")).collect()
}

#[test]
fn the_list_is_what_the_library_has() {
    let list = root().join("tests/c/layout.h");
    let made = format!(
        "/* Made by tests/layout.rs, for compilers with pointers of 64 bits. */\n{}{}",
        lines_of_structs(),
        lines_of_constants()
    );
    if std::env::var_os("SOCKETPOOL_BLESS").is_some() {
        fs::write(&list, &made).unwrap();
    }
    assert_eq!(made, fs::read_to_string(list).unwrap(), "compiled programs have the old one");
}

/// A struct that is added to the header is to be added to the list.
#[test]
fn the_list_has_every_struct_of_the_header() {
    let (header, list) = (header(), lines_of_structs());
    let structs = header.lines().filter_map(|line| line.strip_prefix("typedef struct ")?.strip_suffix(" {"));
    let structs: Vec<_> = structs.collect();
    assert!(structs.len() >= 7, "{structs:?}");
    for name in structs {
        assert!(list.contains(&format!("STRUCT({name}, ")), "{name}");
    }
}

#[test]
fn every_compiler_lays_the_structs_out_like_this() {
    for (compiler, dialect) in compilers().filter(|(_, dialect)| *dialect != "c99") {
        compile(compiler, dialect, "tests/c/layout.c", LINK).run(&[]);
    }
}
