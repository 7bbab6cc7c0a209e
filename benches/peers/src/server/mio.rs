//! The same server on mio: what the library below the pool costs, before the pool does anything.
//!
//! A vector of streams and a list of free places, which is the least that mio's ownership of streams asks for.

use super::{BACKLOG, BUFFER, EVENTS, Server};
use crate::sys;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

pub struct Mio {
    poll: Poll,
    listener: TcpListener,
    streams: Vec<Option<TcpStream>>,
    free: Vec<usize>,
}

impl Mio {
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(sys::listen(BACKLOG)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, streams: Vec::new(), free: Vec::new() })
    }

    fn accept_one(&mut self) -> io::Result<()> {
        let (mut stream, _) = self.listener.accept()?;
        let place = self.free.pop().unwrap_or_else(|| {
            self.streams.push(None);
            self.streams.len() - 1
        });
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE)?;
        self.streams[place] = Some(stream);
        Ok(())
    }

    fn accept_waiting(&mut self) -> io::Result<()> {
        loop {
            match self.accept_one() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn ready(&mut self, event: &Event, buffer: &mut [u8]) -> io::Result<()> {
        let Token(place) = event.token();
        let Some(stream) = self.streams.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        if echo(stream, event.is_read_closed(), buffer)? == After::Close {
            self.streams[place] = None;
            self.free.push(place);
        }
        Ok(())
    }
}

impl Server for Mio {
    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self, n: usize) -> io::Result<()> {
        for _ in 0..n {
            self.accept_one()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<Duration> {
        let begin = sys::own_cpu()?;
        self.streams.clear();
        self.free.clear();
        Ok(sys::own_cpu()? - begin)
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.poll.poll(&mut events, None) {
                // Somebody has attached a tracer.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_waiting()?,
                    _ => self.ready(event, &mut buffer)?,
                }
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum After {
    Keep,
    Close,
}

fn echo(stream: &mut TcpStream, ending: bool, buffer: &mut [u8]) -> io::Result<After> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Ok(After::Close),
            Ok(n) => {
                match stream.write(&buffer[..n]) {
                    Ok(written) if written == n => {}
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Ok(After::Close),
                    _ => {
                        return Err(io::Error::other(
                            "the mio server cannot keep what a socket does not take",
                        ));
                    }
                }
                if n < buffer.len() && !ending {
                    return Ok(After::Keep);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(After::Keep),
            Err(_) => return Ok(After::Close),
        }
    }
}

const LISTENER: Token = Token(usize::MAX);
