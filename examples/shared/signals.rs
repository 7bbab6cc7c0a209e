//! SIGTERM and SIGINT, the first of which asks and the second of which ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};

/// The first signal comes out here, the second ends the process as it would without us.
pub(crate) fn interrupts() -> io::Result<Receiver<()>> {
    let (told, is_told) = channel();
    let told_once = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&told_once))?;
        signal_hook::flag::register(signal, Arc::clone(&told_once))?;
    }
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || signals.forever().try_for_each(|_| told.send(())));
    Ok(is_told)
}
