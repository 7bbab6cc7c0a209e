//! Those who wait for a connection: a future that is polled by hand, a thread, a function; all of them tell a test what
//! they got in the same way.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use socketpool::{Backend, Pool, PoolError, PooledConnection};

use crate::fake::{PATIENCE, until};

/// What somebody ends with who asks for a connection.
pub(crate) type Got<B> = Result<PooledConnection<B>, PoolError<<B as Backend>::Error>>;

/// A future of a connection that is polled by hand.
pub(crate) struct ByHand<B: Backend> {
    future: Option<Pin<Box<dyn Future<Output = Got<B>> + Send>>>,
    pub(crate) bell: Arc<Bell>,
}

/// A waker that counts, and does something when it is woken if a test wants that.
#[derive(Default)]
pub(crate) struct Bell {
    rung: AtomicUsize,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Bell {
    pub(crate) fn rung(&self) -> usize {
        self.rung.load(Ordering::SeqCst)
    }

    /// What is done once, in the thread that wakes.
    pub(crate) fn hook(&self, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

impl<B: Backend> ByHand<B> {
    pub(crate) fn new(future: impl Future<Output = Got<B>> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), bell: Arc::new(Bell::default()) }
    }

    /// One that has been polled once and stands in line.
    #[track_caller]
    pub(crate) fn in_line(future: impl Future<Output = Got<B>> + Send + 'static) -> Self {
        let mut this = Self::new(future);
        assert!(this.poll().is_none(), "it has to wait");
        this
    }

    pub(crate) fn poll(&mut self) -> Option<Got<B>> {
        self.poll_with(&Waker::from(Arc::clone(&self.bell)))
    }

    pub(crate) fn poll_with(&mut self, waker: &Waker) -> Option<Got<B>> {
        let future = self.future.as_mut().expect("not done yet");
        match future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(got) => {
                self.future = None;
                Some(got)
            }
            Poll::Pending => None,
        }
    }

    pub(crate) fn rung(&self) -> usize {
        self.bell.rung()
    }

    /// What has come of it, without waiting.
    #[track_caller]
    pub(crate) fn get(&mut self) -> Got<B> {
        self.poll().expect("something has become of it")
    }
}

/// The three ways to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Thread,
    Future,
    Callback,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Thread, Kind::Future, Kind::Callback];

/// Somebody who waits, somewhere else.
pub(crate) struct Waiter<B: Backend> {
    pub(crate) kind: Kind,
    answer: Receiver<Got<B>>,
}

impl<B: Backend> Waiter<B> {
    /// One more in line: behind those who are there already when this returns.
    #[track_caller]
    pub(crate) fn enter(pool: &Pool<B>, kind: Kind) -> Self {
        let before = waiting(pool);
        let waiter = Self::ask(pool, kind);
        until("another one stands in line", || waiting(pool) == before + 1);
        waiter
    }

    /// The same without looking whether it stands in line.
    pub(crate) fn ask(pool: &Pool<B>, kind: Kind) -> Self {
        let (give, answer) = mpsc::channel();
        let of = pool.clone();
        match kind {
            Kind::Thread => {
                thread::spawn(move || {
                    let got = of.acquire();
                    // The handle goes first: who has the answer may close the pool.
                    drop(of);
                    let _ = give.send(got);
                });
            }
            Kind::Future => return Self::ask_for(of.acquire_async().into_owned()),
            Kind::Callback => pool.acquire_with(move |got| {
                let _ = give.send(got);
            }),
        }
        Self { kind, answer }
    }

    /// One by a future of any kind, in a thread with an executor that has no timers.
    pub(crate) fn ask_for(future: impl Future<Output = Got<B>> + Send + 'static) -> Self {
        let (give, answer) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let _ = give.send(runtime.block_on(future));
        });
        Self { kind: Kind::Future, answer }
    }

    /// What it got; a test in which it waits for ever fails.
    #[track_caller]
    pub(crate) fn get(&self) -> Got<B> {
        match self.answer.recv_timeout(PATIENCE) {
            Ok(got) => got,
            Err(error) => panic!("a waiter by {:?} is stranded: {error}", self.kind),
        }
    }

    /// What it got, if that is known already.
    pub(crate) fn peek(&self) -> Option<Got<B>> {
        self.answer.try_recv().ok()
    }
}

/// How many stand in line, as long as all connections are in use.
#[track_caller]
pub(crate) fn waiting<B: Backend>(pool: &Pool<B>) -> u32 {
    match pool.acquire_timeout(Duration::ZERO) {
        Err(PoolError::Exhausted { waiters, .. }) => waiters,
        Ok(_) => panic!("not all connections are in use"),
        Err(error) => panic!("nobody can stand in line: {error}"),
    }
}
