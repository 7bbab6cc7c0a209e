//! What the tests share that compile and run C and C++ programs.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
        cargo.args(["rustc", "--locked", "--lib", "--features", "capi", "--crate-type", "staticlib"]);
        run(cargo.arg("--target-dir").arg(&target).current_dir(root()));
        target.join("debug/libsocketpool.a")
    })
}

/// Compiles a program of this repository and returns it.
pub fn compile(compiler: &str, dialect: &str, source: &str, link: &str) -> PathBuf {
    let (source, name) =
        (root().join(source), format!("{}-{compiler}-{dialect}", source.replace(['/', '.'], "-")));
    let program = scratch().join(name);
    let language = if compiler.ends_with("++") { "c++" } else { "c" };
    let mut command = Command::new(compiler);
    command.arg(format!("-std={dialect}")).args(STRICT).arg("-g");
    command.arg("-I").arg(root().join("include")).args(["-x", language]).arg(source).args(["-x", "none"]);
    run(command.arg(library()).args(link.split_whitespace()).arg("-o").arg(&program));
    program
}

pub const LINK: &str = "-lpthread -ldl -lm";

/// Compiles a source without linking it.
pub fn compile_object(compiler: &str, dialect: &str, source: &Path, more: &[&str]) {
    let mut command = Command::new(compiler);
    command.arg(format!("-std={dialect}")).args(STRICT).args(more);
    run(command.arg("-I").arg(root().join("include")).arg("-c").arg(source).args(["-o", "/dev/null"]));
}

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];
