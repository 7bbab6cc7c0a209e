//! The functions for C against a small model: random calls with good handles and with bad ones, real sockets, and after
//! each call everything that can be asked. `SOCKETPOOL_CASES` says how many stories are told, and `SOCKETPOOL_SEED` which:
//! a number, the same stories each time unless it is given; or `random`, for the search.

#![allow(unsafe_code, reason = "it calls the functions for C")]
#![allow(unreachable_pub, reason = "its modules are no library")]

#[path = "c_model/calls.rs"]
mod calls;
#[path = "support/cases.rs"]
mod cases;
#[path = "c_model/numbers.rs"]
mod numbers;
#[path = "c_model/story.rs"]
mod story;
#[path = "c_model/turned.rs"]
mod turned;

use proptest::prelude::*;

proptest! {
    #![proptest_config(cases::cases(2048))]

    #[test]
    fn every_call_does_what_it_says_and_nothing_else(
        steps in prop::collection::vec(any::<story::Step>(), 0..120),
    ) {
        story::run(&steps);
    }
}
