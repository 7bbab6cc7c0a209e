//! The pool of connections that a program makes itself, `Pool`: on a clock that is turned by hand, among threads, and
//! under futures that are dropped wherever one can be dropped.

#[path = "pool/fake.rs"]
mod fake;
#[path = "pool/scene.rs"]
mod scene;
#[path = "pool/waiters.rs"]
mod waiters;

#[path = "pool/adaptive.rs"]
mod adaptive;
#[path = "pool/asynchronous.rs"]
mod asynchronous;
#[path = "pool/cancelled.rs"]
mod cancelled;
#[path = "pool/closing.rs"]
mod closing;
#[path = "pool/contention.rs"]
mod contention;
#[path = "pool/extremes.rs"]
mod extremes;
#[path = "pool/failing.rs"]
mod failing;
#[path = "pool/leaks.rs"]
mod leaks;
#[path = "pool/order.rs"]
mod order;
#[path = "pool/panics.rs"]
mod panics;
#[path = "pool/retrying.rs"]
mod retrying;
#[path = "pool/seeds.rs"]
mod seeds;
#[path = "pool/settling.rs"]
mod settling;
#[path = "pool/stranded.rs"]
mod stranded;
#[path = "pool/times.rs"]
mod times;
#[path = "pool/turmoil.rs"]
mod turmoil;
#[path = "pool/upkeep.rs"]
mod upkeep;
#[path = "pool/vicious.rs"]
mod vicious;
#[path = "pool/wakes.rs"]
mod wakes;
#[path = "pool/warming.rs"]
mod warming;
