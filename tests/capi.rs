//! C and C++ programs over the C ABI: compiled with every compiler that is here, run, and talked to.

mod c_programs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use c_programs::{
    LINK, Program, Running, check, compile, compiler_of, compilers, is_here, library, root, run, run_checked,
    scratch,
};

/// Hundreds of programs with the whole library in each have filled the disk of a machine.
#[test]
fn a_program_leaves_its_file_only_where_a_test_has_failed() {
    let compiled = || compile("gcc", "c99", "tests/c/header.c", "-lpthread -ldl -lm -O1");
    let program = compiled();
    program.run(&[]);
    let path = program.to_path_buf();
    drop(program);
    assert!(!path.exists());
    let failed = std::panic::catch_unwind(|| {
        let _program = compiled();
        panic!("this test fails on purpose");
    });
    assert!(failed.is_err() && path.exists());
    fs::remove_file(path).unwrap();
}

#[test]
fn the_header_is_clean_in_every_dialect() {
    for (compiler, dialect) in compilers() {
        compile(compiler, dialect, "tests/c/header.c", LINK).run(&[]);
        compile(compiler, dialect, "tests/c/syn_header.c", LINK).run(&[]);
    }
}

/// The headers of a folder of `include` and of those in it, as a program names them.
fn headers(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(headers(&path));
        } else if path.extension().is_some_and(|extension| extension == "h") {
            found.push(path.strip_prefix(root().join("include")).unwrap().display().to_string());
        }
    }
    found
}

#[test]
fn each_header_is_clean_alone_and_twice() {
    fs::create_dir_all(scratch()).unwrap();
    for header in headers(&root().join("include")) {
        let source = scratch().join(format!("alone-{}.c", header.replace(['/', '.'], "-")));
        fs::write(&source, format!("#include <{header}>\n#include \"{header}\"\nint unused;\n")).unwrap();
        for (compiler, dialect) in compilers() {
            run(compiler_of(compiler, dialect).arg("-fsyntax-only").arg(&source));
        }
    }
}

#[test]
fn every_wrong_handle_is_told_and_nothing_else_happens() {
    check("tests/c/misuse.c", &["60"]);
}

/// The lines of a header that are code.
fn code_of(header: &str) -> String {
    let text = fs::read_to_string(root().join("include").join(header)).unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// The functions that the generated header declares, each with what it takes, and then its data objects.
fn declared() -> (BTreeMap<String, Vec<String>>, BTreeSet<String>) {
    let code = code_of("socketpool/socketpool.h");
    let (_, code) = code.split_once("extern \"C\" {").unwrap();
    let (mut functions, mut objects) = (BTreeMap::new(), BTreeSet::new());
    let last_word = |text: &str| text.rsplit([' ', '*', '\n']).next().unwrap().to_owned();
    for declaration in code.split(';').map(str::trim).filter(|text| !text.is_empty()) {
        match declaration.split_once('(') {
            Some((head, takes)) => {
                let takes = takes.trim_end_matches(')').split(',').map(|one| one.trim().to_owned());
                functions.insert(last_word(head), takes.collect());
            }
            None if declaration.contains("extern const ") => {
                objects.insert(last_word(declaration));
            }
            None => {}
        }
    }
    assert!(functions.len() > 150 && objects.len() > 5, "{functions:?} {objects:?}");
    (functions, objects)
}

/// Whether what a function takes is a handle, or a place of one that it ends.
fn is_handle(function: &str, takes: &str) -> bool {
    const KINDS: [&str; 10] = [
        "struct sp_pool *",
        "struct sp_connection *",
        "SocketPool_T ",
        "Connection_T ",
        "Socket_T ",
        "SocketBuf_T ",
        "SocketPoolHealth_T ",
        "SocketPoll_T ",
        "Arena_T ",
        "SocketSYNProtect_T ",
    ];
    let ends = ["_free", "_release", "_dispose"].iter().any(|end| function.ends_with(end));
    KINDS.iter().any(|kind| takes.starts_with(kind) && (ends || !takes[kind.len()..].starts_with('*')))
}

/// A function that is added to the interface is to be called with wrong handles too.
#[test]
fn the_table_of_misuse_has_every_function_with_every_handle_that_it_takes() {
    let table = fs::read_to_string(root().join("tests/c/misuse_table.h")).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("ROW(")).map(|row| {
        let mut fields = row.split(", ");
        format!("{} {}", fields.next().unwrap(), fields.next().unwrap())
    });
    let none = table.lines().filter_map(|line| line.strip_prefix("NONE(")?.strip_suffix(')'));
    let covered: BTreeSet<_> = rows.chain(none.map(str::to_owned)).collect();

    let mut wanted = BTreeSet::new();
    for (function, takes) in declared().0 {
        let handles = takes.iter().filter(|one| is_handle(&function, one)).count();
        wanted.extend((0..handles).map(|place| format!("{function} {place}")));
        if handles == 0 {
            wanted.insert(function);
        }
    }
    for header in ["pool/SocketPool.h", "poll/SocketPoll.h"] {
        let macros = code_of(header);
        let macros = macros.lines().filter_map(|line| line.strip_prefix("#define SocketPo")?.split_once('('));
        // Each takes a pool or a poll, and what is in it.
        wanted.extend(macros.flat_map(|(name, _)| [0, 1].map(|place| format!("SocketPo{name} {place}"))));
    }
    assert_eq!(covered, wanted);
}

/// Symbols that nobody has asked for collide with a program's own.
#[test]
fn the_shared_library_exports_what_the_header_declares_and_nothing_else() {
    if !is_here("nm") {
        println!("SKIPPED: nm is not here");
        return;
    }
    let shared = library().with_extension("so");
    let said = run(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(shared));
    let exported: BTreeSet<_> = said.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let (functions, objects) = declared();
    assert_eq!(exported, functions.into_keys().chain(objects).collect());
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
fn floods_are_told_from_honest_clients_and_every_misuse_is_told() {
    check("tests/c/syn.c", &["50"]);
}

#[test]
fn a_poll_takes_descriptors_and_sockets_in_every_dialect() {
    for (compiler, dialect) in compilers() {
        compile(compiler, dialect, "tests/c/poll_forms.c", LINK).run(&[]);
    }
}

#[test]
fn a_poll_tells_what_is_ready_and_of_nobody_else() {
    check("tests/c/poll.c", &[]);
}

#[test]
fn threads_change_and_free_a_poll_in_which_one_waits() {
    check("tests/c/poll_threads.c", &["50"]);
}

#[test]
fn sockets_are_made_talk_and_end() {
    check("tests/c/sockets.c", &[]);
}

#[test]
fn legacy_w04_a_new_socket_has_nothing_of_one_that_was_freed() {
    check("tests/c/stale_socket.c", &[]);
}

#[test]
fn buffers_give_back_what_they_were_given() {
    check("tests/c/buffers.c", &[]);
}

#[test]
fn connections_share_memory_and_no_byte_of_it() {
    check("tests/c/tagged_buffers.c", &["6000"]);
}

/// Without valgrind, whose own memory would count.
#[test]
fn room_that_nobody_fills_takes_no_memory() {
    compile("gcc", "c99", "tests/c/unread_room.c", LINK).run(&[]);
}

#[test]
fn threads_share_a_buffer_until_it_is_released() {
    check("tests/c/shared_buffers.c", &["500"]);
}

#[test]
fn what_is_made_in_an_arena_ends_with_it() {
    check("tests/c/arenas.c", &[]);
}

#[test]
fn legacy_w35_an_arena_does_not_grow_by_what_comes_and_goes() {
    check("tests/c/arena_growth.c", &["2000"]);
}

const EXCEPTIONS: &str = "tests/c/except.c tests/c/except_elsewhere.c";

#[test]
fn exceptions_are_caught_by_whom_they_concern_in_every_dialect() {
    for (compiler, dialect) in compilers() {
        for optimised in ["-O0", "-O2"] {
            let link = format!("{LINK} {optimised}");
            compile(compiler, dialect, EXCEPTIONS, &link).run(&[]);
        }
    }
    check(EXCEPTIONS, &[]);
}

/// A program at a fixed place has copies of the shared library's objects, at other addresses than the library knows.
#[test]
fn exceptions_of_the_shared_library_are_caught() {
    let folder = library().parent().unwrap().display();
    for place in ["-no-pie", "-fPIE -pie"] {
        let sources = EXCEPTIONS.split_whitespace().map(|source| root().join(source));
        let program = Program::new(scratch().join(format!("except-shared{}", place.replace(' ', ""))));
        let mut command = compiler_of("gcc", "c11");
        command.args(place.split_whitespace()).args(sources).args([
            "-x",
            "none",
            "-lpthread",
            "-lsocketpool",
        ]);
        command.args([format!("-L{folder}"), format!("-Wl,-rpath,{folder},-Bdynamic")]);
        run(command.arg("-o").arg(&*program));
        program.run(&[]);
    }
}

#[test]
fn an_exception_that_nobody_catches_is_printed_and_aborts() {
    let program = compile("gcc", "c11", EXCEPTIONS, LINK);
    let says = |which: &str| {
        let output = Command::new(&*program).arg(which).output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = says("0");
    assert!(said.starts_with("Uncaught exception: full raised at "), "{said}");
    assert!(said.contains("except.c:") && said.ends_with("aborting...\n"), "{said}");
    let said = says("1");
    assert!(said.starts_with("finally\nUncaught exception: full raised at "), "{said}");
    assert!(says("2").contains("NULL was raised"));
}

/// Starts a server of lines, talks to it with fifty clients, has it drain, and returns what it has said meanwhile.
fn serve_and_drain(program: &Path) -> Vec<String> {
    serve_and_drain_by(&mut Command::new(program), 100)
}

fn serve_and_drain_by(program: &mut Command, rounds: u32) -> Vec<String> {
    let mut server = Running(program.arg("0").stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let address =
        said.next().unwrap().unwrap().strip_prefix("listening on ").expect("it tells where").to_owned();

    let mut clients: Vec<_> = (0..50).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for round in 0..rounds {
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
    // One message is longer than any chunk, and one is never finished.
    let long = [vec![b'x'; 60_000], vec![b'\n']].concat();
    let mut answer = vec![0; long.len()];
    clients[0].write_all(&long).unwrap();
    clients[0].read_exact(&mut answer).unwrap();
    assert_eq!(answer, long);
    clients[1].shutdown(Shutdown::Write).unwrap();
    assert_eq!(clients[1].read(&mut answer).unwrap(), 0);

    run(Command::new("kill").arg("-TERM").arg(server.0.id().to_string()));
    for client in &mut clients[2..] {
        assert_eq!(client.read(&mut answer).unwrap(), 0, "by a FIN");
    }
    let said = said.map(Result::unwrap).collect();
    assert!(server.0.wait().unwrap().success());
    said
}

#[test]
fn the_echo_of_the_examples_serves_and_drains() {
    let ends = serve_and_drain(&compile("gcc", "c99", "examples/c/echo.c", LINK));
    let count = |reason: &str| ends.iter().filter(|line| line.ends_with(reason)).count();
    assert_eq!((count(": peer"), count(": drained"), ends.len()), (1, 49, 50), "{ends:?}");
}

#[test]
fn an_example_names_what_is_no_number_and_what_it_must_be() {
    let refused = |program: &Program, arguments: &[&str], text: &str| {
        // One that takes it would serve for ever.
        let output = Command::new("timeout").arg("10").arg(&**program).args(arguments).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("{text}\n"), "{arguments:?}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    };
    for (source, compiler, dialect, name) in [
        ("examples/c/echo.c", "gcc", "c99", "echo"),
        ("examples/c/guide_server.c", "gcc", "c99", "guide_server"),
        ("examples/cpp/echo.cpp", "g++", "c++11", "echo"),
    ] {
        if !is_here(compiler) {
            println!("SKIPPED: {compiler} is not here");
            continue;
        }
        // So that no other test's program is taken away.
        let program = compile(compiler, dialect, source, &format!("{LINK} -O1"));
        for port in ["abc", "", "80x", "65536", "-1", "99999999999999999999"] {
            let text = format!("{name}: PORT is \"{port}\", must be a whole number from 0 to 65535");
            refused(&program, &[port], &text);
        }
        if compiler == "gcc" {
            let bounds =
                [("MAX_CONNECTIONS", 1 << 24), ("FIRST_MESSAGE_MS", i32::MAX), ("WRITE_STALL_MS", i32::MAX)];
            for (place, (field, most)) in bounds.into_iter().enumerate() {
                let arguments = [&["0"; 3][..=place], &["few"]].concat();
                let text = format!("{name}: {field} is \"few\", must be a whole number from 0 to {most}");
                refused(&program, &arguments, &text);
            }
        }
    }
}

#[test]
fn the_echo_in_cpp_serves_and_drains() {
    for (compiler, dialect) in compilers().filter(|(_, dialect)| dialect.starts_with("c++")) {
        serve_and_drain(&compile(compiler, dialect, "examples/cpp/echo.cpp", LINK));
    }
}

#[test]
fn the_server_of_the_guide_serves_and_drains() {
    for (compiler, dialect) in compilers().filter(|(_, dialect)| !dialect.starts_with("c++")) {
        let said = serve_and_drain(&compile(compiler, dialect, "examples/c/guide_server.c", LINK));
        assert!(said[0].starts_with("drained: 50 closed, p50 "), "{said:?}");
    }
}

/// What a failed check of memory says goes to stderr, and the status is not 0 then.
#[test]
fn the_examples_lose_no_memory_and_touch_none_that_is_not_theirs() {
    if !is_here("valgrind") {
        println!("SKIPPED: valgrind is not here");
        return;
    }
    for (source, compiler, dialect) in [
        ("examples/c/echo.c", "gcc", "c99"),
        ("examples/c/guide_server.c", "gcc", "c99"),
        ("examples/cpp/echo.cpp", "g++", "c++11"),
    ] {
        if !is_here(compiler) {
            println!("SKIPPED: {compiler} is not here");
            continue;
        }
        // So that no other test's program is taken away.
        let program = compile(compiler, dialect, source, &format!("{LINK} -O0"));
        let mut checked = Command::new("valgrind");
        checked.args([
            "--quiet",
            "--error-exitcode=9",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ]);
        serve_and_drain_by(checked.arg(&*program), 5);
    }
}

#[test]
fn functions_of_the_program_do_to_the_pool_whatever_they_like() {
    check("tests/c/reentry.c", &[]);
    for (compiler, dialect) in compilers().filter(|(_, dialect)| dialect.starts_with("c++")) {
        compile(compiler, dialect, "tests/c/reentry.c", LINK).run(&[]);
    }
}

#[test]
fn threads_begin_and_end_while_a_pool_is_used() {
    check("tests/c/newborn_threads.c", &["5"]);
}

/// Without valgrind: what lies on the stacks of the threads that a child does not have is lost.
#[test]
fn a_process_forks_whatever_its_threads_are_doing() {
    compile("gcc", "c99", "tests/c/forks.c", LINK).run(&[]);
}

#[test]
fn what_is_shown_stays_and_who_pipelines_gets_everything() {
    check("tests/c/shown_input.c", &["40"]);
}

#[test]
fn a_crowd_of_threads_shares_a_pool() {
    check("tests/c/crowd.c", &["100"]);
}

#[test]
fn a_callback_jumps_out_of_a_wait() {
    check("tests/c/jump.c", &[]);
    for (compiler, dialect) in compilers().filter(|(_, dialect)| dialect.starts_with("c++")) {
        compile(compiler, dialect, "tests/c/jump.c", LINK).run(&[]);
    }
}

#[test]
fn a_program_drives_the_connections_that_it_has_added() {
    check("tests/c/driven.c", &[]);
}

#[test]
fn newcomers_to_a_full_pool_wait_where_that_helps() {
    check("tests/c/newcomers.c", &["full"]);
}

#[test]
fn what_the_turned_pool_ends_is_told_by_an_event_however_it_ends() {
    check("tests/c/user_forced.c", &[]);
}

#[test]
fn a_chat_tells_everybody_and_drops_who_does_not_listen() {
    check("tests/c/user_chat.c", &[]);
}

#[test]
fn a_proxy_ends_both_sides_when_one_has_ended() {
    check("tests/c/user_proxy.c", &[]);
}

#[test]
fn a_pool_is_freed_in_the_callback_of_its_own_and_the_loop_goes_on() {
    check("tests/c/user_freed_inside.c", &[]);
}

#[test]
fn a_signal_handler_wakes_a_pool_that_then_drains() {
    check("tests/c/user_wake.c", &[]);
}

#[test]
fn a_foreign_loop_waits_for_as_long_as_the_pool_says() {
    check("tests/c/user_foreign_loop.c", &[]);
}

#[test]
fn lambdas_of_cpp_throw_through_the_pool() {
    for (compiler, dialect) in compilers().filter(|(_, dialect)| dialect.starts_with("c++")) {
        let program = compile(compiler, dialect, "tests/c/user_lambdas.cpp", LINK);
        program.run(&[]);
        if compiler == "g++" {
            // It does not read what clang says for debuggers.
            run_checked(&program, &[]);
        }
    }
}
