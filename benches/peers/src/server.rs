//! The servers side by side, and the little language in which the runner speaks to one of them.
//!
//! A server runs in a child process of its own, so that its CPU time and memory are its own. It prints where it
//! listens, then does what it reads from standard input, line by line: `accept N`, `drain`, `serve` (until killed).
//! While it waits for a line it does nothing else, so a backlog can be filled before the clock starts.

pub mod mio;
#[cfg(feature = "pool")]
pub mod pool;
pub mod raw;

use crate::sys;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// What every server must be able to do.
pub trait Server {
    fn address(&self) -> io::Result<SocketAddr>;

    /// Takes exactly `n` connections that already wait in the backlog, up to the point where their bytes would be noticed.
    fn accept(&mut self, n: usize) -> io::Result<()>;

    /// Closes every accepted connection; answers the longest stretch of CPU time spent in one go.
    fn drain(&mut self) -> io::Result<Duration>;

    /// Echoes until the process is killed.
    fn serve(&mut self) -> io::Result<()>;
}

/// Which server a child process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Bare epoll: what every ratio is a ratio to.
    Raw,
    /// The same bare server once more: how far its ratio is from 1 is the noise of the row.
    Again,
    /// Bare mio.
    Mio,
    /// The pool, every protection on and none of them firing.
    Pool,
    /// The pool with every protection off that can be off: what `Pool` costs more is what protection costs.
    PoolOff,
    /// Bare epoll in C, level-triggered: what the ratios of the C programs are ratios to.
    CBare,
    /// The same once more.
    CAgain,
    /// The pool's own loop through the C interface: the example `echo`.
    CLoop,
    /// The guide's flow with a handler that sends at once: the example `guide_server`.
    CGuide,
    /// The same with every limit on and none of them firing.
    CGuideAll,
    /// The guide's flow with its handlers word for word: every answer asks for POLL_WRITE and takes that back.
    CToggled,
}

impl Role {
    pub const ALL: [Self; 11] = [
        Self::Raw,
        Self::Again,
        Self::Mio,
        Self::Pool,
        Self::PoolOff,
        Self::CBare,
        Self::CAgain,
        Self::CLoop,
        Self::CGuide,
        Self::CGuideAll,
        Self::CToggled,
    ];

    /// Those that are C programs, the bare one first.
    pub const C: [Self; 6] =
        [Self::CBare, Self::CAgain, Self::CLoop, Self::CGuide, Self::CGuideAll, Self::CToggled];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Again => "raw-again",
            Self::Mio => "mio",
            Self::Pool => "pool",
            Self::PoolOff => "pool-off",
            Self::CBare => "c-bare",
            Self::CAgain => "c-bare-again",
            Self::CLoop => "c-loop",
            Self::CGuide => "c-guide",
            Self::CGuideAll => "c-guide-all",
            Self::CToggled => "c-guide-toggled",
        }
    }

    fn start(self, capacity: usize) -> io::Result<Box<dyn Server>> {
        Ok(match self {
            Self::Raw | Self::Again => Box::new(raw::Raw::new()?),
            Self::Mio => Box::new(mio::Mio::new()?),
            #[cfg(feature = "pool")]
            Self::Pool => Box::new(pool::Pool::protected(capacity)?),
            #[cfg(feature = "pool")]
            Self::PoolOff => Box::new(pool::Pool::unprotected(capacity)?),
            #[cfg(not(feature = "pool"))]
            Self::Pool | Self::PoolOff => {
                return Err(io::Error::other(format!(
                    "built without the feature `pool` (capacity {capacity})"
                )));
            }
            Self::CBare | Self::CAgain | Self::CLoop | Self::CGuide | Self::CGuideAll | Self::CToggled => {
                return Err(io::Error::other(format!("{self} is a program of its own")));
            }
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == name);
        known.ok_or_else(|| format!("no server is called `{name}`"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The life of a child process.
pub fn run(role: Role, capacity: usize, core: usize) -> io::Result<()> {
    sys::pin(core)?;
    let mut server = role.start(capacity)?;
    say(format_args!("listening {}", server.address()?))?;
    for line in io::stdin().lock().lines() {
        obey(&mut *server, &line?)?;
    }
    Ok(())
}

fn obey(server: &mut dyn Server, command: &str) -> io::Result<()> {
    let begin = sys::own_cpu()?;
    let longest = match command.split_once(' ') {
        Some(("accept", n)) => {
            server.accept(n.parse().map_err(io::Error::other)?)?;
            Duration::ZERO
        }
        None if command == "drain" => server.drain()?,
        None if command == "serve" => return server.serve(),
        _ => return Err(io::Error::other(format!("unknown command `{command}`"))),
    };
    let spent = sys::own_cpu()? - begin;
    say(format_args!("done {} {}", spent.as_nanos(), longest.as_nanos()))
}

fn say(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Every server reads into one buffer of this size. No row sends more in one go, so a full read cannot happen.
pub const BUFFER: usize = 65_536;

/// Every server asks for this many events at once.
pub const EVENTS: usize = 1_024;

/// Every server asks for this backlog. The kernel cuts it to net.core.somaxconn, which is the same by default.
pub const BACKLOG: u32 = 4_096;
