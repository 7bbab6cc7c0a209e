//! A line echo server on the pool. Every limit is a flag; SIGTERM or SIGINT drains, a second one ends.
//!
//! ```text
//! cargo run --release --example echo -- --listen 127.0.0.1:7000 --max-connections 500 --idle 60
//! ```

mod flags;

use std::process::ExitCode;
use std::time::Duration;

use socketpool::{Connection, Event, Handle, Sent, SocketPool};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let options = match flags::parse(std::env::args().skip(1)) {
        Ok(flags::Parsed::Run(options)) => options,
        Ok(flags::Parsed::Help) => {
            print!("{}", flags::help());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("echo: {error}\ntry --help");
            return ExitCode::from(2);
        }
    };
    match serve(*options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: flags::Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut pool: SocketPool<()> = options.builder.build()?;
    for address in &options.listen {
        pool.listen_with(address, options.listening.clone())?;
    }
    drain_on_signals(pool.handle(), options.drain)?;
    loop {
        pool.turn(None)?;
        while let Some(event) = pool.next_event() {
            match event {
                Event::Readable(id) => echo_lines(&mut pool.conn(id), options.max_line),
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

fn echo_lines(conn: &mut Connection<'_, ()>, max_line: usize) {
    conn.receive();
    let (mut input, mut output) = conn.split();
    while let Some(line) = input.take_through(b'\n') {
        if output.queue(line) == Sent::Refused {
            break;
        }
    }
    if conn.input().len() > max_line {
        conn.close();
    }
}

/// The first signal drains, the second ends the process as it would without us.
fn drain_on_signals(handle: Handle, deadline: Option<Duration>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        signals.next();
        log::info!("draining; a second signal ends at once");
        let _ = handle.drain(deadline);
        if let Some(signal) = signals.next() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    Ok(())
}
