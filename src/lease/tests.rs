//! Stories of the core, on a clock that is an argument.

mod bench;
mod stories;
