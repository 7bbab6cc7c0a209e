//! What the tests share that compile and run C and C++ programs.

#![allow(dead_code, unreachable_pub, reason = "not every test needs all of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi")
}

/// Runs a program to its end, which must be a good one.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

pub fn is_here(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The library as a C program links it.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = scratch().join("target");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["rustc", "--locked", "--lib", "--features", "capi", "--crate-type", "staticlib,cdylib"]);
        run(cargo.arg("--target-dir").arg(&target).current_dir(root()));
        target.join("debug/libsocketpool.a")
    })
}

/// A compiled program. Its file goes with this, unless a test has failed by then and somebody will want to look: there are
/// hundreds of them, and each has the whole library in it.
#[derive(Debug)]
pub struct Program(PathBuf);

impl Program {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Runs it to its end, which must be a good one.
    pub fn run(&self, arguments: &[&str]) -> String {
        run(Command::new(&self.0).args(arguments))
    }
}

impl Deref for Program {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !thread::panicking() {
            // One that was never made is not there either.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Compiles a program of this repository, which may be of several files, and returns it.
pub fn compile(compiler: &str, dialect: &str, sources: &str, link: &str) -> Program {
    let name = format!("{sources}-{compiler}-{dialect}-{link}").replace(['/', '.', ' ', ','], "-");
    let program = Program::new(scratch().join(name));
    let mut command = compiler_of(compiler, dialect);
    command.args(sources.split_whitespace().map(|source| root().join(source))).args(["-x", "none"]);
    run(command.arg(library()).args(link.split_whitespace()).arg("-o").arg(&*program));
    program
}

/// A compiler that complains about everything, with our headers.
pub fn compiler_of(compiler: &str, dialect: &str) -> Command {
    let language = if compiler.ends_with("++") { "c++" } else { "c" };
    let mut command = Command::new(compiler);
    command.arg(format!("-std={dialect}")).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"]);
    command.arg("-I").arg(root().join("include")).args(["-x", language]);
    command
}

/// Every compiler that is here, with every dialect that our headers are for.
pub fn compilers() -> impl Iterator<Item = (&'static str, &'static str)> {
    let dialects =
        [(["gcc", "clang"], ["c99", "c11", "c17"]), (["g++", "clang++"], ["c++11", "c++17", "c++20"])];
    dialects.into_iter().flat_map(|(compilers, dialects)| {
        let here = compilers.into_iter().filter(|compiler| is_here(compiler));
        here.flat_map(move |compiler| dialects.map(|dialect| (compiler, dialect)))
    })
}

pub const LINK: &str = "-lpthread -ldl -lm";

/// Runs a program that checks for itself, and once more under valgrind where that is here.
pub fn check(source: &str, under_valgrind: &[&str]) {
    let program = compile("gcc", "c99", source, LINK);
    program.run(&[]);
    run_checked(&program, under_valgrind);
}

/// Runs a program under valgrind, where that is here.
pub fn run_checked(program: &Path, arguments: &[&str]) {
    if is_here("valgrind") {
        let how = ["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"];
        run(Command::new("valgrind").args(how).arg(program).args(arguments));
    }
}

/// Starts a server of lines, says one to it, and ends it.
pub fn serves(program: &mut Command) {
    let mut server = Running(program.arg("0").stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let said = said.next().expect("it tells where").unwrap();
    let mut client = TcpStream::connect(said.strip_prefix("listening on ").unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.write_all(b"a line\n").unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"a line\n");
    run(Command::new("kill").arg("-TERM").arg(server.0.id().to_string()));
    assert_eq!(client.read(&mut answer).unwrap(), 0, "{program:?}");
    drop(client);
    assert!(server.0.wait().unwrap().success(), "{program:?}");
}

/// A program that was started, and is ended whatever happens.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
