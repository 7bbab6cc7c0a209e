//! Managers that panic, in every function they have: that costs the connection it was about and nothing else.

use std::convert::Infallible;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use socketpool::{
    Async, AsyncManager, Backend, BoxFuture, ConnectError, ConnectPhase, Manager, Pool, PoolConfig,
    PoolError, Timeouts,
};

use crate::real::{alone, wait_until};

/// Where it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Nowhere,
    Connect,
    Validate,
    Close,
    Look,
}

/// What the test and the manager share.
#[derive(Default)]
struct State {
    at: AtomicU8,
    alive: AtomicUsize,
}

impl State {
    fn panics(&self, at: At) {
        self.at.store(at as u8, Ordering::SeqCst);
    }

    fn pass(&self, at: At) {
        assert!(self.at.load(Ordering::SeqCst) != at as u8, "{ON_PURPOSE}");
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

struct Connection(Arc<State>);

impl Connection {
    fn new(state: &Arc<State>) -> Self {
        state.alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Panicky(Arc<State>);

impl Manager for Panicky {
    type Connection = Connection;
    type Error = Infallible;

    fn connect(&self, _: &Timeouts) -> Result<Connection, Infallible> {
        self.0.pass(At::Connect);
        Ok(Connection::new(&self.0))
    }

    fn validate(&self, _: &mut Connection, _: &Timeouts) -> Result<(), Infallible> {
        self.0.pass(At::Validate);
        Ok(())
    }

    fn is_broken(&self, _: &mut Connection) -> bool {
        self.0.pass(At::Look);
        false
    }

    fn close(&self, connection: Connection) {
        self.0.pass(At::Close);
        drop(connection);
    }
}

/// The same by futures.
struct Later(Panicky);

impl AsyncManager for Later {
    type Connection = Connection;
    type Error = Infallible;

    fn connect<'a>(&'a self, within: &'a Timeouts) -> BoxFuture<'a, Result<Connection, Infallible>> {
        Box::pin(async { self.0.connect(within) })
    }

    fn validate<'a>(
        &'a self,
        connection: &'a mut Connection,
        within: &'a Timeouts,
    ) -> BoxFuture<'a, Result<(), Infallible>> {
        Box::pin(async { self.0.validate(connection, within) })
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        self.0.is_broken(connection)
    }

    fn close(&self, connection: Connection) -> BoxFuture<'_, ()> {
        Box::pin(async { self.0.close(connection) })
    }
}

fn tell<B: Backend<Connection = Connection, Error = Infallible>>(backend: B, state: &State) {
    let config = PoolConfig {
        max_size: 1,
        acquire_timeout: Some(Duration::from_millis(50)),
        validate_after: Some(Duration::ZERO),
        breaker: None,
        ..PoolConfig::default()
    };
    let pool = Pool::builder(backend).config(config).build().unwrap();
    let patience = Duration::from_secs(10);

    state.panics(At::Connect);
    match pool.acquire().map(drop) {
        Err(PoolError::Connect(ConnectError::Panicked { phase: ConnectPhase::Connect, message })) => {
            assert_eq!(&*message, ON_PURPOSE);
        }
        other => panic!("{other:?}"),
    }
    state.panics(At::Nowhere);
    let mut last = pool.acquire_timeout(patience).expect("it goes on").id();
    assert_eq!(state.alive(), 1);

    for at in [At::Validate, At::Look, At::Close] {
        let before = pool.stats();
        let held = (at == At::Close).then(|| pool.acquire_timeout(patience).unwrap());
        state.panics(at);
        match held {
            Some(held) => held.discard(),
            // Whoever asks has it looked at, and may get another one.
            None => drop(pool.acquire()),
        }
        wait_until("it to be gone", || pool.stats().connections_destroyed > before.connections_destroyed);
        state.panics(At::Nowhere);
        let lease = pool.acquire_timeout(patience).expect("it goes on");
        assert_ne!(lease.id(), last, "after {at:?}");
        assert_eq!(state.alive(), 1, "after {at:?}");
        last = lease.id();
    }
    assert!(pool.stats().connection_errors.validate >= 1, "what panicked counts as invalid");
    pool.drain(patience);
    assert_eq!((pool.stats().broken_identity(), state.alive()), (None, 0));
}

#[test]
fn a_manager_that_panics_costs_the_connection_it_was_about() {
    let _alone = alone();
    let state = Arc::new(State::default());
    without_a_word(|| tell(Panicky(Arc::clone(&state)), &state));
}

#[test]
fn a_manager_whose_futures_panic_costs_the_connection_it_was_about() {
    let _alone = alone();
    let state = Arc::new(State::default());
    without_a_word(|| tell(Async::on_threads(Later(Panicky(Arc::clone(&state)))), &state));
}

/// Keeps quiet about what panics on purpose.
fn without_a_word(story: impl FnOnce()) {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<String>().is_none_or(|text| text != ON_PURPOSE) {
            loud(info);
        }
    }));
    story();
    let _ = panic::take_hook();
}

const ON_PURPOSE: &str = "panics on purpose";
