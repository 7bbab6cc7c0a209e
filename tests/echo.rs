//! The `echo` example as a program: its flags, its signals, its exit codes.

mod real;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::ffi::OsStrExt;
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
    for (flags, text) in [
        ("--nonsense", "--nonsense is no flag of this program, see --help"),
        ("listen", "listen is no flag of this program, see --help"),
        ("--help=me", "--help is \"me\", must be without a value"),
        ("--idle", "--idle has no value, must be SECONDS"),
        ("--idle soon", "--idle is \"soon\", must be seconds from 0 to 315360000, or off"),
        ("--idle -1", "--idle is \"-1\", must be seconds from 0 to 315360000, or off"),
        ("--idle nan", "--idle is \"nan\", must be seconds from 0 to 315360000, or off"),
        ("--idle=1e400", "--idle is \"1e400\", must be seconds from 0 to 315360000, or off"),
        ("--eviction-grace off", "--eviction-grace is \"off\", must be seconds from 0 to 315360000"),
        (
            "--max-connections=many",
            "--max-connections is \"many\", must be a whole number from 0 to 4294967295",
        ),
        ("--max-per-ip=-1", "--max-per-ip is \"-1\", must be a whole number from 0 to 4294967295, or off"),
        ("--operations 5", "--operations is \"5\", must be N/SECONDS as 100/1, or off"),
        ("--operations 5/-1", "--operations is \"-1\", must be seconds from 0 to 315360000"),
        ("--v6-only perhaps", "--v6-only is \"perhaps\", must be on or off"),
        ("--eviction all", "--eviction is \"all\", must be one of oldest_unproven off"),
        ("--when-full Wait", "--when-full is \"Wait\", must be one of wait refuse"),
        ("--proof=", "--proof is \"\", must be one of answered consumed"),
        ("--on-output-high no", "--on-output-high is \"no\", must be one of stop_reading report"),
        ("--over-rate off", "--over-rate is \"off\", must be one of ask delay close"),
        ("--allow 1.2.3.4/99", "--allow: network \"1.2.3.4/99\" has a bad prefix, must be from 0 to 32"),
        ("--max-line 0", "--max-line is 0, must be from 1 to 65536, which is --max-input"),
        ("--max-line 200 --max-input 100", "--max-line is 200, must be from 1 to 100, which is --max-input"),
    ] {
        let refused = run(&flags.split(' ').collect::<Vec<_>>());
        assert_eq!(said(&refused.stderr), format!("echo: {text}\n"));
        assert_eq!(refused.status.code(), Some(2), "{flags:?}");
        assert_eq!(said(&refused.stdout), "");
    }
}

#[test]
fn a_flag_that_is_no_text_is_shown_as_far_as_it_can_be() {
    for (arguments, text) in [
        (&[b"--idle".as_slice(), b"\xff1"] as &[&[u8]], "--idle is \"\u{fffd}1\", must be UTF-8 text"),
        (&[b"--idle=\xff1"], "--idle is \"\u{fffd}1\", must be UTF-8 text"),
        (&[b"\xff"], "argument is \"\u{fffd}\", must be UTF-8 text"),
    ] {
        let arguments = arguments.iter().map(|bytes| OsStr::from_bytes(bytes));
        let refused = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(said(&refused.stderr), format!("echo: {text}\n"));
        assert_eq!(refused.status.code(), Some(2));
    }
}

#[test]
fn a_limit_that_cannot_hold_is_named_with_its_bound() {
    for (flags, text) in [
        (["--max-connections", "0"], "max_connections is 0, must be from 1 to 16777216"),
        // And not a line that nobody has spoken of.
        (["--max-input", "0"], "max_input is 0, must be from 64 to 16777216"),
        (["--idle", "0"], "idle_timeout is 0ns, must be from 1ms to ten years"),
        (["--backlog", "0"], "backlog is 0, must be from 1 to 65535"),
        (["--listen", "unix:"], "address is \"unix:\", must be unix: and a path of 1 to 107 bytes"),
    ] {
        let refused = run(&flags);
        let last = said(&refused.stderr).lines().last().unwrap();
        assert_eq!(last, format!("echo: {text}"));
        assert_eq!(refused.status.code(), Some(2), "{flags:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_no_panic() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let unheard = Command::new(program()).arg("--help").stdout(full()).output().unwrap();
    assert_eq!(unheard.status.code(), Some(1));
    let text = said(&unheard.stderr);
    assert!(text.starts_with("echo: cannot write to standard output: No space left on device"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let unheard = Command::new(program()).arg("--nonsense").stderr(full()).output().unwrap();
    assert_eq!(unheard.status.code(), Some(2), "there is nobody left to tell, but for the exit code");
}

#[test]
fn a_thread_that_cannot_be_had_is_an_error_and_no_panic() {
    let stack = (1u64 << 60).to_string(); // more than there are addresses
    let flags = ["--listen", "127.0.0.1:0"];
    let refused = Command::new(program()).args(flags).env("RUST_MIN_STACK", stack).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = said(&refused.stderr);
    assert!(text.contains("\necho: cannot listen to signals: "), "{text}");
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
fn two_signals_are_two_however_soon_the_second_comes() {
    // As soon as the first has been taken from the kernel, which itself makes one of two.
    const TWICE: &str = r#"
        kill -s TERM "$0"
        while read -r name value; do
            case $name in SigPnd: | ShdPnd:) [ $value = 0000000000000000 ] || echo pending ;; esac
        done < /proc/"$0"/status
        kill -s TERM "$0""#;
    for round in 0..20 {
        let mut server = Server::start(&["--drain", "off"], None);
        let mut busy = TcpStream::connect(server.address()).unwrap();
        ask(&mut busy, "hello\n", PATIENCE).unwrap();
        busy.write_all(b"half a li").unwrap();
        let sent = Command::new("sh").args(["-c", TWICE, &server.id().to_string()]).output().unwrap();
        if said(&sent.stdout).is_empty() {
            assert_eq!(server.wait().signal(), Some(libc::SIGTERM), "round {round}");
        }
    }
}

#[test]
fn a_signal_drains_however_soon_after_the_start_it_comes() {
    // As soon as the first handler is there: before, the signal ends the process as it would any other.
    const AT_ONCE: &str = r#"
        while :; do
            while read -r name value; do
                case $name in SigCgt:) [ $((0x$value >> 14 & 1)) = 1 ] && kill -s TERM "$0" && exit ;; esac
            done < /proc/"$0"/status || exit
        done"#;
    for _ in 0..50 {
        let mut server = Server::spawn(&["--listen", "127.0.0.1:0"], None);
        let sent = Command::new("sh").args(["-c", AT_ONCE, &server.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn an_interrupt_does_as_a_sigterm() {
    let mut server = Server::start(&[], None);
    let mut busy = TcpStream::connect(server.address()).unwrap();
    ask(&mut busy, "hello\n", PATIENCE).unwrap();
    busy.write_all(b"half a li").unwrap();
    server.signal("INT");
    wait_until("the drain to begin", || server.line_with("draining 1 connections").is_some());
    server.signal("TERM");
    assert_eq!(server.wait().signal(), Some(libc::SIGTERM));
    let mut server = Server::start(&[], None);
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
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
fn a_line_is_as_long_as_it_is_however_it_arrives() {
    let server = Server::start(&["--max-line", "100"], None);
    for piece in [1, 7, 1_000] {
        for (length, answered) in [(100, true), (101, false)] {
            let mut stream = connect(&server);
            let line = line_of(length);
            let lines = [b"before\n", line.as_slice(), b"after\n"].concat();
            // Towards the end of it the server may have closed already.
            let _ = lines.chunks(piece).try_for_each(|piece| stream.write_all(piece));
            let _ = stream.shutdown(Shutdown::Write);
            let expected = if answered { lines.as_slice() } else { b"before\n" };
            let answer = read_to_fin(&mut stream).unwrap();
            assert_eq!(said(&answer), said(expected), "{length} bytes in pieces of {piece}");
        }
    }
    assert_eq!(server.drain().of("closed_closed"), 3);
}

#[test]
fn a_line_without_an_end_closes_its_connection() {
    for (flags, begun) in [
        (&["--max-line", "100"] as &[&str], 100),
        // The input is full by then, so that not one byte more would ever be seen.
        (&["--max-line", "128", "--max-input", "128"], 128),
    ] {
        let server = Server::start(flags, None);
        let mut stream = connect(&server);
        stream.write_all(&vec![b'x'; begun]).unwrap();
        assert_eq!(read_to_fin(&mut stream).unwrap(), b"");
        assert_eq!(server.drain().of("closed_closed"), 1);
    }
}

#[test]
fn a_request_whose_answer_finds_no_room_ends_its_connection() {
    // Reading goes on at the high mark: to stop there would leave it to how the lines arrive whether one is refused.
    let report = "--on-output-high=report";
    let server = Server::start(&["--max-output=256", "--output-high=200", "--output-low=100", report], None);
    let mut stream = connect(&server);
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let lines = line_of(100).repeat(1_000);
    let end = loop {
        if let Err(error) = stream.write_all(&lines) {
            break error.kind();
        }
    };
    // To let it go on would leave it with fewer answers than requests.
    assert!(matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{end}");
    assert_eq!(server.drain().of("closed_closed"), 1);
}

/// Without delay, so that the pieces that are written leave one by one.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// So many bytes, the newline included.
fn line_of(length: usize) -> Vec<u8> {
    let mut line = vec![b'x'; length];
    line[length - 1] = b'\n';
    line
}

#[test]
fn several_addresses_are_served_a_unix_socket_too() {
    let path = std::env::temp_dir().join(format!("socketpool-echo-{}.sock", std::process::id()));
    let server = Server::start(&["--listen", &format!("unix:{}", path.display())], None);
    let mut unix = None;
    // It has its path before it listens.
    wait_until("the unix socket", || {
        unix = std::os::unix::net::UnixStream::connect(&path).ok();
        unix.is_some()
    });
    let mut unix = unix.expect("waited for");
    unix.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    std::io::Read::read_exact(&mut unix, &mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
    drop(unix);
    ask(&mut TcpStream::connect(server.address()).unwrap(), "hello\n", PATIENCE).unwrap();
    assert_eq!(server.drain().of("operations"), 2);
    assert!(!path.exists(), "it takes its path away");
}
