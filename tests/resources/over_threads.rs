//! Threads that block.

use std::sync::Arc;
use std::thread;

use crate::redis::Redis;
use crate::{CALLERS, Seen, drain, restart, settings, with_each_server};
use socketpool::{Pool, PoolError};

#[test]
fn threads_see_a_restart_as_one_failure_for_each_connection_at_most() {
    with_each_server(|server| {
        let pool = Pool::builder(Redis(server.address())).config(settings()).build().unwrap();
        let seen = Arc::new(Seen::default());
        let ask = |pool: Pool<Redis>, seen: Arc<Seen>| {
            move || loop {
                match pool.acquire() {
                    Ok(mut client) => seen.count(client.command(&["INCR", "visits"])),
                    Err(PoolError::Closed) => return,
                    Err(error) => seen.count(Err::<(), _>(error)),
                }
            }
        };
        let callers: Vec<_> =
            (0..CALLERS).map(|_| thread::spawn(ask(pool.clone(), Arc::clone(&seen)))).collect();
        restart(server, &pool, &seen);
        drain(&pool, &seen);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}
