//! The functions for C against the model of `tests/c_model`, which the fuzzer tells what to do: five bytes a call.

#![no_main]
#![allow(unsafe_code, reason = "it calls the functions for C")]
#![allow(unreachable_pub, reason = "its modules are no library")]

#[path = "../../tests/c_model/calls.rs"]
mod calls;
#[path = "../../tests/c_model/numbers.rs"]
mod numbers;
#[path = "../../tests/c_model/story.rs"]
mod story;
#[path = "../../tests/c_model/turned.rs"]
mod turned;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| story::run(&story::spelled(bytes)));
