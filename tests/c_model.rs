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

use std::fs;
use std::path::Path;

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

/// What `fuzz/` has found worth keeping.
#[test]
fn the_kept_stories_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/calls");
    let mut told = 0;
    for file in fs::read_dir(folder).expect("the folder of kept stories") {
        let path = file.unwrap().path();
        // A story that fails is named in what the test prints.
        println!("{}", path.display());
        story::run(&story::spelled(&fs::read(path).unwrap()));
        told += 1;
    }
    assert!(told > 0, "no story is kept");
}
