//! Stories of the core, on a clock that is an argument, and a model of it.

mod bench;
mod mended;
mod model;
mod stories;
mod upkeep;
