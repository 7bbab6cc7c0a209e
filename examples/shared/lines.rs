//! Line echo: what the examples make of a connection's bytes.

use socketpool::{Connection, Sent};

/// Receives, and sends back every whole line of at most `longest` bytes, its newline included. A longer one ends the
/// connection, once the lines before it have been answered; so does a peer that does not read what it asked for.
pub(crate) fn echo<U>(conn: &mut Connection<'_, U>, longest: usize) {
    conn.receive();
    let (mut input, mut output) = conn.split();
    loop {
        let line = input.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        // Of a line without its end so far, the newline at least is still to come.
        if line.unwrap_or(input.len() + 1) > longest {
            return conn.close_when_done();
        }
        let Some(line) = line.and_then(|line| input.take(line)) else { return };
        if output.queue(line) == Sent::Refused {
            // The line is used up: to go on would answer the next request with nothing in this one's place.
            return conn.close();
        }
    }
}
