//! Standard output and standard error, which may be full or closed: that is an error to report, and never a panic.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes to standard output.
pub(crate) fn say(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|e| io::Error::new(e.kind(), format!("cannot write to standard output: {e}")))
}

/// Writes a line to standard error. If that takes nothing either, there is nobody left to tell.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
