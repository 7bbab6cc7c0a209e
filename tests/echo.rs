//! The `echo` example as a program: its flags, its signals, its exit codes.

mod real;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use real::server::{Server, program};
use real::{PATIENCE, ask, read_to_fin, wait_until};

fn run(flags: &[&str]) -> Output {
    Command::new(program()).args(flags).output().expect("the example runs")
}

fn said(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

#[test]
fn help_lists_every_flag_and_is_no_failure() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    for flag in ["--listen ADDR", "--max-connections N", "--first-message SECONDS", "--max-per-ip N"] {
        assert!(said(&help.stdout).contains(flag), "{flag}");
    }
    assert_eq!(run(&["-h"]).stdout, help.stdout);
    assert_eq!(said(&help.stderr), "");
}

#[test]
fn a_flag_that_cannot_be_used_is_named_with_what_it_must_be() {
    let table: &[(&[&str], &str)] = &[
        (&["--nonsense"], "echo: --nonsense is no flag of this program\ntry --help\n"),
        (&["--idle"], "echo: --idle needs a value: SECONDS\ntry --help\n"),
        (&["--idle", "soon"], "echo: --idle is \"soon\", must be SECONDS\ntry --help\n"),
        (&["--max-connections=many"], "echo: --max-connections is \"many\", must be N\ntry --help\n"),
        (&["--v6-only", "perhaps"], "echo: --v6-only is \"perhaps\", must be on or off\ntry --help\n"),
        (
            &["--eviction", "all"],
            "echo: --eviction is \"all\", must be one of oldest_unproven off\ntry --help\n",
        ),
    ];
    for (flags, text) in table {
        let refused = run(flags);
        assert_eq!(said(&refused.stderr), *text);
        assert_eq!(refused.status.code(), Some(2), "{flags:?}");
        assert_eq!(said(&refused.stdout), "");
    }
}

#[test]
fn a_limit_that_cannot_hold_is_named_with_its_bound() {
    let refused = run(&["--max-connections", "0"]);
    assert!(said(&refused.stderr).contains("max_connections is 0, must be from 1 to 16777216"));
    assert!(!refused.status.success());
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&["--listen", &address]);
    assert_eq!(refused.status.code(), Some(1));
    let text = said(&refused.stderr);
    assert!(text.contains(&format!("echo: listen on {address}: Address already in use")), "{text}");
}

#[test]
fn sigterm_drains_and_lets_the_busy_finish() {
    let mut server = Server::start(&[], None);
    let mut idle = TcpStream::connect(server.address()).unwrap();
    ask(&mut idle, "hello\n", PATIENCE).unwrap();
    let mut busy = TcpStream::connect(server.address()).unwrap();
    ask(&mut busy, "hello\n", PATIENCE).unwrap();
    busy.write_all(b"half a li").unwrap();
    server.terminate();
    assert_eq!(read_to_fin(&mut idle).unwrap(), b"");
    busy.write_all(b"ne\n").unwrap();
    assert_eq!(read_to_fin(&mut busy).unwrap(), b"half a line\n");
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.line_with("verdict=drained").is_some_and(|line| line.contains("closed_drained=2")));
}

#[test]
fn a_second_sigterm_ends_what_the_first_one_waits_for() {
    let mut server = Server::start(&[], None);
    let mut busy = TcpStream::connect(server.address()).unwrap();
    ask(&mut busy, "hello\n", PATIENCE).unwrap();
    busy.write_all(b"half a li").unwrap();
    server.terminate();
    wait_until("the drain to begin", || server.line_with("draining 1 connections").is_some());
    server.terminate();
    assert_eq!(server.wait().signal(), Some(libc::SIGTERM));
}

#[test]
fn a_drain_that_takes_too_long_is_forced() {
    let mut server = Server::start(&["--drain", "0.3"], None);
    let mut busy = TcpStream::connect(server.address()).unwrap();
    ask(&mut busy, "hello\n", PATIENCE).unwrap();
    busy.write_all(b"half a li").unwrap();
    wait_until("the half line to arrive", || {
        // What was sent before on another connection has been served, so this has arrived too.
        ask(&mut TcpStream::connect(server.address()).unwrap(), "and this\n", PATIENCE).is_ok()
    });
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.line_with("verdict=drained").is_some_and(|line| line.contains("closed_forced=1")));
}

#[test]
fn a_line_that_is_too_long_closes_its_connection() {
    let server = Server::start(&["--max-line", "100"], None);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&[b'x'; 101]).unwrap();
    assert_eq!(read_to_fin(&mut stream).unwrap(), b"");
    assert_eq!(server.drain().of("closed_closed"), 1);
}

#[test]
fn several_addresses_are_served_a_unix_socket_too() {
    let path = std::env::temp_dir().join(format!("socketpool-echo-{}.sock", std::process::id()));
    let server = Server::start(&["--listen", &format!("unix:{}", path.display())], None);
    wait_until("the unix socket", || path.exists());
    let mut unix = std::os::unix::net::UnixStream::connect(&path).unwrap();
    unix.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    std::io::Read::read_exact(&mut unix, &mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
    drop(unix);
    ask(&mut TcpStream::connect(server.address()).unwrap(), "hello\n", PATIENCE).unwrap();
    assert_eq!(server.drain().of("operations"), 2);
    assert!(!path.exists(), "it takes its path away");
}
