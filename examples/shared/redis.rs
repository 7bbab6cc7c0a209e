//! A server that speaks a little redis, to try a pool with, and the client of a few lines that is pooled. Where there is
//! no `redis-server`, a thread stands in for it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socketpool::{Manager, Timeouts};

/// Makes clients of the server at an address.
pub(crate) struct Redis(pub(crate) SocketAddr);

impl Manager for Redis {
    type Connection = Client;
    type Error = io::Error;

    fn connect(&self, within: &Timeouts) -> io::Result<Client> {
        let stream = match within.connect {
            Some(limit) => TcpStream::connect_timeout(&self.0, limit)?,
            None => TcpStream::connect(self.0)?,
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(within.operation)?;
        stream.set_write_timeout(within.operation)?;
        Ok(Client { stream: BufReader::new(stream), is_broken: false })
    }

    fn validate(&self, client: &mut Client, _: &Timeouts) -> io::Result<()> {
        client.command(&["PING"]).map(drop)
    }

    fn is_broken(&self, client: &mut Client) -> bool {
        client.is_broken
    }
}

/// A connection to a redis server.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// After an error nobody knows whose answer comes next.
    is_broken: bool,
}

impl Client {
    /// Sends a command and reads its answer: a text or a number as text, empty for nil.
    pub(crate) fn command(&mut self, words: &[&str]) -> io::Result<String> {
        let answer = self.exchange(words);
        // An error that the server answers with leaves the connection as good as it was.
        self.is_broken |= answer.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Other);
        answer
    }

    fn exchange(&mut self, words: &[&str]) -> io::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        self.stream.get_mut().write_all(request.as_bytes())?;
        let line = read_line(&mut self.stream)?;
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("-", text)) => Err(io::Error::other(text.to_owned())),
            Some(("$", "-1")) => Ok(String::new()),
            Some(("$", length)) => {
                let mut bytes = vec![0; length.parse::<usize>().map_err(|_| no_redis(&line))? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                String::from_utf8(bytes).map_err(|_| no_redis(&line))
            }
            _ => Err(no_redis(&line)),
        }
    }
}

/// A server on a port of its own, which can be taken away and brought back.
pub(crate) struct Server {
    address: SocketAddr,
    program: Program,
    kind: Kind,
}

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `redis-server`, in a directory of its own and without persistence.
    Redis,
    /// A thread that knows `PING` and `INCR`.
    StandIn,
}

enum Program {
    Down,
    Redis(Child),
    StandIn(StandIn),
}

impl Server {
    pub(crate) fn start(kind: Kind) -> io::Result<Self> {
        // The port is free once the listener that found it is gone.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut server = Self { address, program: Program::Down, kind };
        server.bring_back()?;
        Ok(server)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and with it every connection.
    pub(crate) fn take_away(&mut self) {
        match std::mem::replace(&mut self.program, Program::Down) {
            Program::Down => {}
            Program::Redis(mut child) => {
                // Asked for, it stops listening first. Killed, it would still be connected to while it is dying.
                if !self.shuts_down().unwrap_or(false) {
                    let _ = child.kill();
                }
                let _ = child.wait();
            }
            Program::StandIn(thread) => thread.stop(self.address),
        }
    }

    /// Starts it again at the same address, and returns when it listens.
    pub(crate) fn bring_back(&mut self) -> io::Result<()> {
        self.program = match self.kind {
            Kind::Redis => Program::Redis(self.run_redis()?),
            Kind::StandIn => Program::StandIn(StandIn::begin(self.address)?),
        };
        Ok(())
    }

    fn run_redis(&self) -> io::Result<Child> {
        std::fs::create_dir_all(self.folder())?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"]).arg(self.folder());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut last = String::from("nothing");
        for line in said.lines() {
            last = line?;
            if last.contains("Ready to accept connections") {
                return Ok(child);
            }
        }
        let _ = child.wait();
        Err(io::Error::other(format!("redis-server does not start, it says {last:?}")))
    }

    fn shuts_down(&self) -> io::Result<bool> {
        let within = Timeouts { connect: Some(PATIENCE), operation: Some(PATIENCE) };
        let answer = Redis(self.address).connect(&within)?.command(&["SHUTDOWN", "NOSAVE"]);
        Ok(answer.is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
        }))
    }

    fn folder(&self) -> PathBuf {
        std::env::temp_dir().join(format!("socketpool-redis-{}-{}", std::process::id(), self.address.port()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.take_away();
        let _ = std::fs::remove_dir_all(self.folder());
    }
}

impl Kind {
    /// The real one, if there is a `redis-server`.
    pub(crate) fn found() -> Self {
        let mut command = Command::new("redis-server");
        let answer = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if answer.is_ok() { Self::Redis } else { Self::StandIn }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis-server",
            Self::StandIn => "no redis but a thread that stands in for it",
        })
    }
}

/// The thread that stands in, and the connections it has accepted.
struct StandIn {
    thread: JoinHandle<()>,
    accepted: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl StandIn {
    fn begin(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let accepted = Arc::new(Mutex::new(Some(Vec::new())));
        let (list, visits) = (Arc::clone(&accepted), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (Ok(copy), visits) = (stream.try_clone(), Arc::clone(&visits)) else { continue };
                match list.lock().expect("nothing panics with it").as_mut() {
                    Some(streams) => streams.push(copy),
                    None => return,
                }
                thread::spawn(move || answer(stream, &visits));
            }
        });
        Ok(Self { thread, accepted })
    }

    fn stop(self, address: SocketAddr) {
        let streams = self.accepted.lock().expect("nothing panics with it").take();
        // It looks when somebody comes. That it listens no more comes before the end of what it has accepted.
        let _ = TcpStream::connect(address);
        let _ = self.thread.join();
        streams.into_iter().flatten().for_each(|stream| _ = stream.shutdown(Shutdown::Both));
    }
}

/// Serves one connection of the stand-in until its end.
fn answer(stream: TcpStream, visits: &AtomicU64) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let words: usize = read_line(&mut stream).ok()?.strip_prefix('*')?.parse().ok()?;
        let mut command = String::new();
        for at in 0..words {
            read_line(&mut stream).ok()?; // the length: no word here has an end of line in it
            let word = read_line(&mut stream).ok()?;
            command = if at == 0 { word } else { command };
        }
        let answer = match command.as_str() {
            "PING" => "+PONG\r\n".to_owned(),
            "INCR" => format!(":{}\r\n", visits.fetch_add(1, Ordering::Relaxed) + 1),
            _ => format!("-ERR unknown command '{command}'\r\n"),
        };
        stream.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

/// A line without its end. That the other side has closed is an error here.
fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

fn no_redis(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is no answer of redis: {line:?}"))
}

/// How long a server that is to end may take to say so.
const PATIENCE: Duration = Duration::from_secs(2);
