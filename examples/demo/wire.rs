//! Reading and writing a non-blocking stream, with the outcomes a client tells apart. Keeps no state.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

/// What a read gave.
pub(crate) enum Received {
    /// So many bytes, at the start of the buffer.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing ever again: the server has closed or reset the connection.
    Ended,
}

/// The server has closed or reset the connection.
#[derive(Debug)]
pub(crate) struct Ended;

pub(crate) fn receive(stream: &mut TcpStream, into: &mut [u8]) -> Received {
    loop {
        return match stream.read(into) {
            Ok(0) => Received::Ended,
            Ok(n) => Received::Bytes(n),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => Received::Ended,
        };
    }
}

/// How many bytes have left; 0 when the socket takes none now.
pub(crate) fn send(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Ended> {
    loop {
        return match stream.write(bytes) {
            Ok(n) => Ok(n),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(_) => Err(Ended),
        };
    }
}
