//! Tasks of tokio, and a manager whose futures run there too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socketpool::{Async, AsyncManager, BoxFuture, Executor, Pool, PoolError, Timeouts};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};

use crate::{CALLERS, Seen, drain, restart, settings, with_each_server};

struct Redis(SocketAddr);

struct Client {
    stream: BufReader<TcpStream>,
    /// While an answer is owed, and for ever once it did not come: also when the task was dropped that waited for it.
    is_broken: bool,
}

impl Client {
    /// A command whose answer is one line.
    async fn command(&mut self, words: &str) -> io::Result<String> {
        self.send(words).await?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.is_broken = false;
        Ok(line)
    }

    async fn send(&mut self, words: &str) -> io::Result<()> {
        self.is_broken = true;
        self.stream.write_all(words.as_bytes()).await
    }
}

impl AsyncManager for Redis {
    type Connection = Client;
    type Error = io::Error;

    fn connect<'a>(&'a self, _: &'a Timeouts) -> BoxFuture<'a, io::Result<Client>> {
        Box::pin(async {
            let stream = BufReader::new(TcpStream::connect(self.0).await?);
            Ok(Client { stream, is_broken: false })
        })
    }

    fn validate<'a>(&'a self, client: &'a mut Client, _: &'a Timeouts) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { client.command(PING).await.map(drop) })
    }

    fn is_broken(&self, client: &mut Client) -> bool {
        client.is_broken
    }
}

struct Tokio(Handle);

impl Executor for Tokio {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}

async fn ask(pool: Pool<Async<Redis>>, seen: Arc<Seen>) {
    loop {
        match pool.acquire_async().await {
            Ok(mut client) => seen.count(client.command(INCR).await),
            Err(PoolError::Closed) => return,
            Err(error) => seen.count(Err::<(), _>(error)),
        }
    }
}

#[test]
fn tasks_see_a_restart_as_one_failure_for_each_connection_at_most() {
    with_each_server(|server| {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let manager = Async::on(Redis(server.address()), Tokio(runtime.handle().clone()));
        let pool = Pool::builder(manager).config(settings()).build().unwrap();
        let seen = Arc::new(Seen::default());
        let callers: Vec<_> =
            (0..CALLERS).map(|_| runtime.spawn(ask(pool.clone(), Arc::clone(&seen)))).collect();
        restart(server, &pool, &seen);
        drain(&pool, &seen);
        callers.into_iter().for_each(|caller| runtime.block_on(caller).unwrap());
    });
}

#[test]
fn a_task_that_is_dropped_in_the_middle_of_a_request_leaves_no_answer_to_the_next() {
    with_each_server(|server| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let manager = Async::on(Redis(server.address()), Tokio(runtime.handle().clone()));
        let pool = Pool::builder(manager).config(settings()).build().unwrap();
        runtime.block_on(async {
            let mut client = pool.acquire_async().await.unwrap();
            client.send(PING).await.unwrap();
            drop(client);
            let answer = pool.acquire_async().await.unwrap().command(INCR).await.unwrap();
            assert_eq!(answer, ":1\r\n");
        });
        assert_eq!(pool.stats().connections_created, 2);
        drop(pool);
    });
}

const PING: &str = "*1\r\n$4\r\nPING\r\n";
const INCR: &str = "*2\r\n$4\r\nINCR\r\n$6\r\nvisits\r\n";
