//! A connected, non-blocking socket of the operating system, TCP or unix. Reads, writes and parts; keeps no bytes.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use super::{Received, Stream, sys};
use crate::peer::Peer;

/// A connected, non-blocking, close-on-exec socket; closed when dropped.
///
/// ```
/// use socketpool::net::{OsStream, Stream};
/// use std::{io::IoSlice, os::unix::net::UnixStream};
///
/// let (ours, theirs) = UnixStream::pair().unwrap();
/// let (ours, theirs) = (OsStream::adopt(ours).unwrap(), OsStream::adopt(theirs).unwrap());
/// assert_eq!(ours.send(&[IoSlice::new(b"two "), IoSlice::new(b"parts")]).unwrap(), 9);
/// assert!(theirs.has_unread());
/// ```
#[derive(Debug)]
pub struct OsStream(Socket);

impl OsStream {
    /// Takes over a socket that somebody else connected or accepted, and makes it non-blocking and close-on-exec.
    /// Accepts what turns into a descriptor: `std::net::TcpStream`, `std::os::unix::net::UnixStream`, `OwnedFd`.
    /// Non-blocking belongs to the socket and not to the descriptor, so whoever holds a copy finds it so too.
    ///
    /// # Errors
    /// Hands the descriptor back as it was with what the operating system said, when it is no stream socket: where
    /// messages are kept apart, an empty one would pass for the end and a long one would be cut.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let (ours, mut client) = UnixStream::pair().unwrap();
    /// let stream = OsStream::adopt(ours).map_err(|(_, error)| error).unwrap();
    /// let mut into = [0; 16];
    /// assert_eq!(stream.receive(&mut into).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    /// client.write_all(b"ping").unwrap();
    /// assert_eq!(stream.receive(&mut into).unwrap(), 4);
    /// ```
    pub fn adopt(stream: impl Into<OwnedFd>) -> Result<Self, (OwnedFd, io::Error)> {
        Self::adopt_as_it_was(stream).map(|(stream, _)| stream)
    }

    /// Takes over a socket, and tells how it was, for [`restore`](Self::restore).
    pub(crate) fn adopt_as_it_was(
        stream: impl Into<OwnedFd>,
    ) -> Result<(Self, Before), (OwnedFd, io::Error)> {
        let socket = Socket::from(stream.into());
        let before = match Before::of(&socket) {
            Ok(before) => before,
            Err(error) => return Err((socket.into(), error)),
        };
        match socket.set_nonblocking(true).and_then(|()| socket.set_cloexec(true)) {
            Ok(()) => Ok((Self(socket), before)),
            Err(error) => Err((socket.into(), error)),
        }
    }

    /// Gives a socket that was not wanted back as it came.
    pub(crate) fn restore(self, before: Before) -> OwnedFd {
        // It was possible to set these, so it is to set them again.
        let _ = self.0.set_nonblocking(before.nonblocking);
        let _ = self.0.set_cloexec(before.cloexec);
        self.0.into()
    }

    /// A socket that `accept4` has made non-blocking and close-on-exec already.
    pub(crate) fn accepted(fd: OwnedFd) -> Self {
        Self(Socket::from(fd))
    }

    /// Who is on the other side; a unix peer when it has no internet address, or when nobody is there, or nobody any more.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// let (accepted, addr) = listener.accept().unwrap();
    /// assert_eq!(OsStream::adopt(accepted).unwrap().peer(), Peer::from(addr));
    /// assert_eq!(OsStream::adopt(UnixStream::pair().unwrap().0).unwrap().peer(), Peer::UNIX);
    /// ```
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.connected_peer().unwrap_or(Peer::UNIX)
    }

    /// The same, if there is somebody. Whose a socket was that has been reset, the kernel does not tell, though what came
    /// before the reset can still be read.
    pub(crate) fn connected_peer(&self) -> Option<Peer> {
        let address = self.0.peer_addr().ok()?;
        Some(address.as_socket().map_or(Peer::UNIX, Peer::from))
    }
}

/// How a socket was before it was adopted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    nonblocking: bool,
    cloexec: bool,
}

impl Before {
    fn of(socket: &Socket) -> io::Result<Self> {
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a stream socket"));
        }
        Ok(Self { nonblocking: socket.nonblocking()?, cloexec: sys::is_close_on_exec(socket.as_fd())? })
    }
}

impl Stream for OsStream {
    #[inline]
    fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    #[inline]
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.0).read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn stops_short(&self) -> bool {
        // Whoever cannot be asked is read with more care than may be needed.
        self.0.domain().map_or(true, |domain| domain == Domain::UNIX)
    }

    #[inline]
    fn receive_some(&self, into: &mut [u8]) -> io::Result<Received> {
        loop {
            match sys::receive_message(self.as_fd(), into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    #[inline]
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let result = match slices {
                [one] => self.0.send_with_flags(one, libc::MSG_NOSIGNAL),
                many => self.0.send_vectored_with_flags(many, libc::MSG_NOSIGNAL),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        matches!(self.0.peek(&mut byte), Ok(1..))
    }

    fn part(&self, scratch: &mut [u8]) {
        // Errors are of no interest: the peer may be long gone, and the close that follows settles everything.
        let _ = self.0.shutdown(Shutdown::Write);
        for _ in 0..MOST_DROPPED {
            // A short read need not have emptied it: see `stops_short`.
            match self.receive(scratch) {
                Ok(1..) => {}
                _ => return,
            }
        }
    }
}

/// Reads that are dropped before a close, at most 1 MiB: who has sent more than that meanwhile gets a RST.
const MOST_DROPPED: usize = 16;

/// Whether a call failed only because the kernel has no memory for it just now: nothing is wrong with the socket, and
/// the same call will succeed later. No edge will tell when.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC))
}

impl AsFd for OsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for OsStream {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

impl From<OsStream> for OwnedFd {
    fn from(stream: OsStream) -> Self {
        stream.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_stream_socket_comes_back_as_it_was() {
        let (reader, _writer) = io::pipe().unwrap();
        let (packets, _other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let others: [OwnedFd; 4] = [
            reader.into(),
            packets.into(),
            datagrams.into(),
            std::fs::File::open("/dev/null").unwrap().into(),
        ];
        for other in others {
            let fd = other.as_raw_fd();
            let (back, _) = OsStream::adopt(other).unwrap_err();
            assert_eq!(back.as_raw_fd(), fd);
            assert!(!Socket::from(back).nonblocking().unwrap());
        }
    }
}
