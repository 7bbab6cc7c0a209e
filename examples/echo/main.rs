//! A line echo server on the pool. Every limit is a flag; SIGTERM or SIGINT drains, a second one ends.
//!
//! ```text
//! cargo run --release --example echo -- --listen 127.0.0.1:7000 --max-connections 500 --idle 60
//! ```

#[path = "../shared/command_line.rs"]
mod command_line;
mod flags;
#[path = "../shared/lines.rs"]
mod lines;
#[path = "../shared/streams.rs"]
mod streams;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use socketpool::{Event, Handle, SocketPool};

use crate::command_line::Wrong;
use crate::flags::{Options, Parsed};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let result = match flags::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => serve(*options),
        Ok(Parsed::Help) => streams::say(flags::help()).map_err(Into::into),
        Err(wrong) => Err(wrong.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            streams::complain(format_args!("echo: {error}"));
            exit_code(&*error)
        }
    }
}

fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let max_line = options.max_line();
    let mut pool: SocketPool<()> = options.builder.build()?;
    for address in &options.listen {
        pool.listen_with(address, options.listening.clone())?;
    }
    drain_on_signals(pool.handle(), options.drain).map_err(|e| format!("cannot listen to signals: {e}"))?;
    loop {
        pool.turn(None)?;
        while let Some(event) = pool.next_event() {
            match event {
                Event::Readable(id) => lines::echo(&mut pool.conn(id), max_line),
                Event::Closed { id, reason, .. } => log::debug!("{id} ended: {reason}"),
                Event::Drained => {
                    log::info!("{}", pool.snapshot());
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

/// The first signal drains, the second ends the process as it would without us: at once, by the signal's handler,
/// whatever the threads are at.
fn drain_on_signals(handle: Handle, deadline: Option<Duration>) -> std::io::Result<()> {
    let told = Arc::new(AtomicBool::new(false));
    // One that comes when only some of this is there would be heard by nobody, so it waits until all of it is.
    let both = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    both.thread_block()?;
    for signal in [SIGTERM, SIGINT] {
        // They run in this order, so the first signal finds the flag down and the second finds it up.
        signal_hook::flag::register_conditional_default(signal, told.clone())?;
        signal_hook::flag::register(signal, told.clone())?;
    }
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    both.thread_unblock()?;
    let thread = std::thread::Builder::new().spawn(move || {
        if signals.forever().next().is_some() {
            log::info!("draining; a second signal ends at once");
            let _ = handle.drain(deadline);
        }
    });
    thread.map(drop)
}

/// 2 for what the command line asks for, 1 for what the system refuses.
fn exit_code(error: &(dyn Error + 'static)) -> ExitCode {
    let limit = matches!(error.downcast_ref(), Some(socketpool::Error::Config { .. }));
    ExitCode::from(if limit || error.is::<Wrong>() { 2 } else { 1 })
}
