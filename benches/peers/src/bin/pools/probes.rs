//! What happens when futures are dropped at the worst moments. A pool of one; every question is an experiment of its own.

use crate::roster::{self, Async, Runtime};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

/// A question; 1 is the good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The first in the line gives up: is the second still served?
    CancelledWaiter,
    /// The holder releases and asks again at once while one waits: is the waiter first?
    WaiterFirst,
    /// A waiter has been granted the resource and gives up before it looks: does it go on?
    DroppedGrant,
    /// Can a guard be dropped where no runtime is?
    DroppedOutside,
}

impl Probe {
    pub const ALL: [Self; 4] =
        [Self::CancelledWaiter, Self::WaiterFirst, Self::DroppedGrant, Self::DroppedOutside];

    pub const fn name(self) -> &'static str {
        match self {
            Self::CancelledWaiter => "cancelled-waiter",
            Self::WaiterFirst => "waiter-first",
            Self::DroppedGrant => "dropped-grant",
            Self::DroppedOutside => "dropped-outside",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|probe| probe.name() == name)
    }

    /// How the answer reads, and how the other one does.
    pub const fn answers(self) -> (&'static str, &'static str) {
        match self {
            Self::CancelledWaiter => ("next served", "STUCK"),
            Self::WaiterFirst => ("waiter", "RELEASER"),
            Self::DroppedGrant => ("handed on", "STUCK"),
            Self::DroppedOutside => ("returned", "LOST"),
        }
    }
}

pub fn run<P: Async>(runtime: Runtime, probe: Probe) -> f64 {
    let good = match probe {
        Probe::CancelledWaiter => runtime.start().block_on(cancelled_waiter::<P>()),
        Probe::WaiterFirst => runtime.start().block_on(waiter_first::<P>()),
        Probe::DroppedGrant => runtime.start().block_on(dropped_grant::<P>()),
        Probe::DroppedOutside => dropped_outside::<P>(runtime),
    };
    f64::from(u8::from(good))
}

async fn cancelled_waiter<P: Async>() -> bool {
    let pool = roster::stock_tasks::<P>(1).await;
    let holder = pool.acquire().await;
    let mut second = pin!(pool.acquire());
    {
        let mut first = pin!(pool.acquire());
        assert!(stands_in_line(first.as_mut()).await);
        assert!(stands_in_line(second.as_mut()).await);
    }
    drop(holder);
    timeout(PATIENCE, second).await.is_ok()
}

/// The one who releases is also the first to be polled, so the waiter is first only if it has been granted the resource.
async fn waiter_first<P: Async>() -> bool {
    let pool = roster::stock_tasks::<P>(1).await;
    let holder = pool.acquire().await;
    let mut waiter = pin!(pool.acquire());
    assert!(stands_in_line(waiter.as_mut()).await);
    drop(holder);
    let mut again = pin!(pool.acquire());
    let served = poll_fn(|context| {
        if again.as_mut().poll(context).is_ready() {
            return Poll::Ready(false);
        }
        waiter.as_mut().poll(context).map(|_| true)
    });
    timeout(PATIENCE, served).await == Ok(true)
}

async fn dropped_grant<P: Async>() -> bool {
    let pool = roster::stock_tasks::<P>(1).await;
    let holder = pool.acquire().await;
    {
        let mut waiter = pin!(pool.acquire());
        assert!(stands_in_line(waiter.as_mut()).await);
        drop(holder);
        // A pool that returns by a task grants only when that has run.
        tokio::time::sleep(SETTLE).await;
    }
    timeout(PATIENCE, pool.acquire()).await.is_ok()
}

fn dropped_outside<P: Async>(runtime: Runtime) -> bool {
    let started = runtime.start();
    let (pool, guard) = started.block_on(async {
        let pool = roster::stock_tasks::<P>(1).await;
        (pool, pool.acquire().await)
    });
    drop(guard);
    started.block_on(async { timeout(PATIENCE, pool.acquire()).await.is_ok() })
}

/// Polls once: true if it has to wait.
async fn stands_in_line<F: Future>(mut waiter: Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(waiter.as_mut().poll(context).is_pending())).await
}

/// Nobody who can be served takes longer, not even on a busy machine.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// Enough for a task that has nothing to do but to return a resource.
const SETTLE: Duration = Duration::from_millis(20);
