//! The pools, each behind [`Blocking`](crate::roster::Blocking) or [`Async`](crate::roster::Async): a `u64` for a
//! resource, a manager that does nothing, checks on checkout off where there is an option. All else is as its authors
//! ship it.

pub mod ours;
pub mod tasks;
pub mod textbook;
pub mod threads;

/// The manager of all pools that want one.
#[derive(Debug)]
pub struct NoOp;
