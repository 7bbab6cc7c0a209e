//! C and C++ programs over the C ABI: compiled with every compiler that is here, run, and talked to.

mod c_programs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use c_programs::{LINK, compile, is_here, run};

#[test]
fn the_header_is_clean_in_every_dialect() {
    in_every_dialect("tests/c/header.c");
}

#[test]
fn a_poll_takes_descriptors_and_sockets_in_every_dialect() {
    in_every_dialect("tests/c/poll_forms.c");
}

fn in_every_dialect(source: &str) {
    let dialects =
        [(["gcc", "clang"], ["c99", "c11", "c17"]), (["g++", "clang++"], ["c++11", "c++17", "c++20"])];
    for (compilers, dialects) in dialects {
        for compiler in compilers.into_iter().filter(|compiler| is_here(compiler)) {
            for dialect in dialects {
                run(&mut Command::new(compile(compiler, dialect, source, LINK)));
            }
        }
    }
}

/// Runs a program that checks for itself, and once more under valgrind where that is here.
fn check(source: &str, under_valgrind: &[&str]) {
    let program = compile("gcc", "c99", source, LINK);
    run(&mut Command::new(&program));
    if is_here("valgrind") {
        let how = ["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"];
        run(Command::new("valgrind").args(how).arg(&program).args(under_valgrind));
    }
}

#[test]
fn every_wrong_handle_is_told_and_nothing_else_happens() {
    check("tests/c/misuse.c", &[]);
}

#[test]
fn a_name_answers_as_long_as_its_connection_and_never_again() {
    check("tests/c/life.c", &[]);
}

#[test]
fn threads_call_what_they_like_while_one_waits() {
    check("tests/c/threads.c", &["50"]);
}

#[test]
fn a_poll_tells_what_is_ready_and_of_nobody_else() {
    check("tests/c/poll.c", &[]);
}

#[test]
fn threads_change_and_free_a_poll_in_which_one_waits() {
    check("tests/c/poll_threads.c", &["50"]);
}

/// A program that was started, and is ended whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_echo_of_the_examples_serves_and_drains() {
    let program = compile("gcc", "c99", "examples/c/echo.c", LINK);
    let mut echo = Running(Command::new(program).arg("0").stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(echo.0.stdout.take().unwrap()).lines();
    let address =
        said.next().unwrap().unwrap().strip_prefix("listening on ").expect("it tells where").to_owned();

    let mut clients: Vec<_> = (0..50).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for round in 0..100 {
        for client in &mut clients {
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.write_all(format!("round {round}\nand again\n").as_bytes()).unwrap();
        }
        for client in &mut clients {
            let expected = format!("round {round}\nand again\n");
            let mut answer = vec![0; expected.len()];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), expected);
        }
    }
    // Half of the messages are longer than any chunk, and one is never finished.
    let long = [vec![b'x'; 60_000], vec![b'\n']].concat();
    let mut answer = vec![0; long.len()];
    clients[0].write_all(&long).unwrap();
    clients[0].read_exact(&mut answer).unwrap();
    assert_eq!(answer, long);
    clients[1].shutdown(Shutdown::Write).unwrap();
    assert_eq!(clients[1].read(&mut answer).unwrap(), 0);

    run(Command::new("kill").arg("-TERM").arg(echo.0.id().to_string()));
    let ends: Vec<String> = said.map(Result::unwrap).collect();
    assert!(echo.0.wait().unwrap().success());
    let count = |reason: &str| ends.iter().filter(|line| line.ends_with(reason)).count();
    assert_eq!((count(": peer"), count(": drained"), ends.len()), (1, 49, 50), "{ends:?}");
}
