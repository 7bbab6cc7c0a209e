//! The bare server: epoll, accept, receive, send, and no bookkeeping at all.
//!
//! Nothing can be left away from it, so it stands for what the kernel alone costs. It knows no connection, only the
//! descriptor inside an event, has no limit, no deadline and no counter, and gives up when a send does not take all.

use super::{BACKLOG, BUFFER, EVENTS, Server};
use crate::sys::{self, Epoll, Events};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

pub struct Raw {
    listener: TcpListener,
    epoll: Epoll,
    /// Filled by `accept` only, for `drain`: a serving server keeps nothing.
    accepted: Vec<RawFd>,
}

impl Raw {
    pub fn new() -> io::Result<Self> {
        let listener = sys::listen(BACKLOG)?;
        let epoll = Epoll::new()?;
        epoll.add(listener.as_raw_fd(), WATCH, listener.as_raw_fd() as u64)?;
        Ok(Self { listener, epoll, accepted: Vec::new() })
    }

    fn accept_one(&self) -> io::Result<RawFd> {
        let fd = sys::accept(self.listener.as_raw_fd())?;
        self.epoll.add(fd, WATCH, fd as u64)?;
        Ok(fd)
    }

    fn accept_waiting(&self) -> io::Result<()> {
        loop {
            match self.accept_one() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Server for Raw {
    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self, n: usize) -> io::Result<()> {
        self.accepted.reserve(n);
        for _ in 0..n {
            let fd = self.accept_one()?;
            self.accepted.push(fd);
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<Duration> {
        let begin = sys::own_cpu()?;
        for fd in self.accepted.drain(..) {
            sys::close(fd);
        }
        Ok(sys::own_cpu()? - begin)
    }

    fn serve(&mut self) -> io::Result<()> {
        let listener = self.listener.as_raw_fd();
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; BUFFER];
        loop {
            for event in self.epoll.wait(&mut events, -1)? {
                let fd = event.u64 as RawFd;
                if fd == listener {
                    self.accept_waiting()?;
                } else {
                    echo(fd, event.events & ENDING != 0, &mut buffer)?;
                }
            }
        }
    }
}

/// Stops after a short read: the edge brings whatever comes later. Only an ending connection is read to its end.
fn echo(fd: RawFd, ending: bool, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match sys::recv(fd, buffer) {
            Ok(0) => break sys::close(fd),
            Ok(n) => {
                if !send_all(fd, &buffer[..n])? {
                    break sys::close(fd);
                }
                if n < buffer.len() && !ending {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => break sys::close(fd),
        }
    }
    Ok(())
}

/// False when the peer has gone. A short send would need bookkeeping, and no row causes one.
fn send_all(fd: RawFd, bytes: &[u8]) -> io::Result<bool> {
    match sys::send(fd, bytes) {
        Ok(n) if n == bytes.len() => Ok(true),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok(false),
        _ => Err(io::Error::other("the bare server cannot keep what a socket does not take")),
    }
}

const WATCH: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
const ENDING: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
