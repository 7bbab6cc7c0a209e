//! The faults of the legacy library, by their numbers: a C program shows of each that the guide's pool does not have it.
//! The other numbers are in `capi.rs` and in the programs that it runs, or in the table at the end of `docs/C-API.md`.

mod c_programs;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use c_programs::{LINK, Program, compile, run, run_checked};

/// Runs what shows one fault, and once more under valgrind where that is here.
fn show(fault: &str) {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    let program: &Path = PROGRAM.get_or_init(|| compile("gcc", "c99", "tests/c/legacy.c", LINK));
    print!("{}", run(Command::new(program).arg(fault)));
    run_checked(program, &[fault, "few"]);
}

macro_rules! faults {
    ($($name:ident: $fault:literal)*) => {
        $(
            #[test]
            fn $name() {
                show($fault);
            }
        )*
    };
}

faults! {
    legacy_w01_a_pool_that_grows_keeps_everybody: "w01_a_pool_that_grows_keeps_everybody"
    legacy_w02_a_pool_that_shrinks_loses_nobody: "w02_a_pool_that_shrinks_loses_nobody"
    legacy_w03_threads_that_clean_up_at_once_end_each_connection_once: "w03_threads_that_clean_up_at_once_end_each_connection_once"
    legacy_w04_a_new_connection_has_nothing_of_one_whose_socket_was_freed: "w04_a_new_connection_has_nothing_of_one_whose_socket_was_freed"
    legacy_w05_a_name_that_is_kept_never_means_the_next_client: "w05_a_name_that_is_kept_never_means_the_next_client"
    legacy_w07_a_new_pool_has_nothing_of_one_before: "w07_a_new_pool_has_nothing_of_one_before"
    legacy_w09_a_connection_is_found_whatever_its_socket_connects_with: "w09_a_connection_is_found_whatever_its_socket_connects_with"
    legacy_w11_a_callback_of_a_drain_frees_the_pool: "w11_a_callback_of_a_drain_frees_the_pool"
    legacy_w13_a_visitor_calls_the_pool_or_raises_out_of_it: "w13_a_visitor_calls_the_pool_or_raises_out_of_it"
    legacy_w15_a_pool_is_freed_at_once_whoever_waits_in_it: "w15_a_pool_is_freed_at_once_whoever_waits_in_it"
    legacy_w16_a_connect_that_is_not_to_block_returns_at_once: "w16_a_connect_that_is_not_to_block_returns_at_once"
    legacy_w17_nothing_is_locked_while_something_takes_long: "w17_nothing_is_locked_while_something_takes_long"
    legacy_w18_everybody_is_looked_at_and_not_only_the_first: "w18_everybody_is_looked_at_and_not_only_the_first"
    legacy_w20_whoever_comes_as_a_drain_begins_is_in_or_out: "w20_whoever_comes_as_a_drain_begins_is_in_or_out"
    legacy_w21_an_address_has_its_places_back_however_its_connections_end: "w21_an_address_has_its_places_back_however_its_connections_end"
    legacy_w22_nothing_is_used_up_where_nobody_is: "w22_nothing_is_used_up_where_nobody_is"
    legacy_w23_no_way_in_goes_round_the_limits: "w23_no_way_in_goes_round_the_limits"
    legacy_w24_peers_without_an_address_are_not_counted_as_one: "w24_peers_without_an_address_are_not_counted_as_one"
    legacy_w25_who_was_idle_for_a_window_has_all_of_it: "w25_who_was_idle_for_a_window_has_all_of_it"
    legacy_w29_idleness_is_counted_in_milliseconds_of_a_clock_that_does_not_jump: "w29_idleness_is_counted_in_milliseconds_of_a_clock_that_does_not_jump"
    legacy_w30_the_end_of_an_idle_one_is_told_and_idle_is_not_active: "w30_the_end_of_an_idle_one_is_told_and_idle_is_not_active"
    legacy_w31_to_ask_how_a_pool_is_costs_the_same_at_any_size: "w31_to_ask_how_a_pool_is_costs_the_same_at_any_size"
    legacy_w32_to_come_and_go_costs_the_same_whatever_the_buffers_may_hold: "w32_to_come_and_go_costs_the_same_whatever_the_buffers_may_hold"
    legacy_w34_an_idle_connection_takes_little_whatever_its_buffers_may_hold: "w34_an_idle_connection_takes_little_whatever_its_buffers_may_hold"
}

/// A fault that the program can show is shown.
#[test]
fn every_fault_of_the_program_has_its_test() {
    let here = include_str!("legacy.rs");
    let faults = include_str!("c/legacy.c").lines().filter_map(|line| line.trim().strip_prefix("FAULT("));
    let faults: Vec<_> = faults.map(|line| line.trim_end_matches("),")).collect();
    assert!(faults.len() > 20);
    for fault in faults {
        assert!(here.contains(&format!("legacy_{fault}: \"{fault}\"")), "{fault}");
    }
}
