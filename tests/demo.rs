//! The `demo` example as a program: its arguments, its output, what it leaves behind. That it keeps its promises with
//! large crowds is for `cargo run --release --example demo` to say.

mod real;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use real::alone;
use real::server::example;

fn program() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| example("demo"))
}

fn said(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

/// Runs it under a limit of descriptors.
fn run_with(descriptors: u32, flags: &str) -> Output {
    let line = format!("ulimit -n {descriptors}; exec \"$0\" {flags}");
    Command::new("sh").args(["-c", &line]).arg(program()).output().unwrap()
}

/// Starts it and waits until the clients are at it.
fn start() -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(program());
    command.args(["--clients=20", "--hostile=0.05", "--seconds=60"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let is_served = |line: &str| line.split_whitespace().nth(2).is_some_and(|answered| answered != "0");
    let under_way = output.by_ref().skip(5).any(|line| is_served(&line.unwrap()));
    assert!(under_way, "it shows how it goes");
    (child, output)
}

/// Waits for the end of it and of all that it has started: they share its standard error, so that it ends with the
/// last of them.
fn end(mut child: Child) -> (ExitStatus, String) {
    let mut errors = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut errors).unwrap();
    (child.wait().unwrap(), errors)
}

#[test]
fn an_argument_that_cannot_be_used_is_named_with_what_it_must_be() {
    for (arguments, text) in [
        (
            &[b"--clients".as_slice(), b"-3"] as &[&[u8]],
            "--clients is \"-3\", must be a whole number from 1 to 10000",
        ),
        (&[b"--hostile=inf"], "--hostile is \"inf\", must be a number from 0 to 10"),
        (&[b"--seconds", b"0"], "--seconds is \"0\", must be a whole number from 2 to 3600"),
        (&[b"--seconds", b"2.5"], "--seconds is \"2.5\", must be a whole number from 2 to 3600"),
        (&[b"--seed"], "--seed has no value, must be a whole number from 0 to 18446744073709551615"),
        (&[b"--seed=\xff"], "--seed is \"\u{fffd}\", must be UTF-8 text"),
        (&[b"\xff"], "argument is \"\u{fffd}\", must be UTF-8 text"),
        (&[b"--json=1"], "--json is \"1\", must be without a value"),
        (&[b"attack"], "attack is no flag of this program, see --help"),
    ] {
        let arguments = arguments.iter().map(|bytes| OsStr::from_bytes(bytes));
        let refused = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(said(&refused.stderr), format!("demo: {text}\n"));
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(said(&refused.stdout), "");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_no_panic() {
    for flag in ["--help", "--json"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let unheard = Command::new(program()).arg(flag).stdout(full).output().unwrap();
        let text = said(&unheard.stderr);
        assert!(text.starts_with("demo: cannot write to standard output: No space left on device"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(unheard.status.code(), Some(1));
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let unheard = Command::new(program()).arg("--nonsense").stderr(full).output().unwrap();
    assert_eq!(unheard.status.code(), Some(2), "there is nobody left to tell, but for the exit code");
}

#[test]
fn it_ends_when_nobody_reads_its_output() {
    let _alone = alone();
    let (child, output) = start();
    drop(output);
    let (status, errors) = end(child);
    assert!(errors.starts_with("demo: cannot write to standard output: Broken pipe"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn an_interrupt_ends_it_and_all_it_has_started() {
    let _alone = alone();
    let (child, _output) = start();
    let since = Instant::now();
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill is there and the demo lives");
    let (status, errors) = end(child);
    println!("everything had ended {:?} after the interrupt", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!((status.signal(), errors.as_str()), (Some(libc::SIGINT), ""));
}

#[test]
fn few_descriptors_are_enough_for_small_crowds() {
    let _alone = alone();
    let run = run_with(256, "--clients 20 --hostile 0.05 --seconds 2 --json");
    let text = said(&run.stdout);
    assert!(run.status.success(), "{text}{}", said(&run.stderr));
    assert!(text.contains("Every promise was kept.\n{\"passed\":true,"), "{text}");
    assert!(text.contains(" bytes, at 192 of them"), "{text}");
    let refused = run_with(256, "--clients 300 --hostile 0");
    let text = said(&refused.stderr);
    assert!(text.starts_with("demo: 402 file descriptors are needed and the hard limit is 256: "), "{text}");
    assert_eq!((text.lines().count(), refused.status.code()), (1, Some(1)));
}
