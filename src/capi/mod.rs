//! The pool for C: plain functions over handles, which any thread may call with anything.
//!
//! Every function answers a status and stores what it has to say through pointers. No handle, however wrong, is undefined
//! behaviour: see `handles`. Pointers to store through must be valid or NULL, which is an error too. Nothing is locked
//! while the loop waits, and no panic crosses: it becomes an error, and the pool refuses from then on.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, reason = "the names are C's")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the docs are C's too, and above is what all of them ask of a pointer"
)]
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "a handle looks like a pointer and is never followed")]

mod address;
mod alone;
mod arena;
mod buffer;
mod call;
mod callback;
mod common;
mod connection;
mod driven;
mod event;
mod except;
mod guide;
mod handed;
mod handles;
mod limbo;
mod lock;
mod machine;
mod nesting;
mod orphans;
mod poll;
mod pool;
mod protection;
mod shared;
mod shortage;
mod sides;
mod socket;
mod socket_facts;
mod status;
mod storage;
mod telling;
mod texts;
mod waiting;

pub use arena::*;
pub use buffer::*;
pub use callback::SocketPool_CloseCallback;
pub use connection::*;
pub use event::*;
pub use except::*;
pub use guide::*;
pub use machine::*;
pub use poll::*;
pub use pool::*;
pub use protection::*;
pub use socket::*;
pub use socket_facts::*;
pub use status::*;
