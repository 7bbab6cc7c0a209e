//! What `make install` installs: the files, the examples that are built with them, and that `make uninstall` takes away
//! these and no others.

mod c_programs;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use c_programs::{LINK, Program, is_here, root, run, scratch, serves};

const PREFIX: &str = "/opt/pools";
const LIBRARIES: &str = "opt/pools/lib";
const HEADERS: &str = "opt/pools/include/socketpool-0";
const EXAMPLES: [(&str, &str); 3] =
    [("c-echo", "c/echo.c"), ("guide_server", "c/guide_server.c"), ("cpp-echo", "cpp/echo.cpp")];

/// Programs of `tests/c` that check for themselves, some of several files, each with how much of it is enough.
const PROGRAMS: [&str; 33] = [
    "arena_growth 2000",
    "arenas",
    "buffers",
    "crowd 100",
    "driven",
    "except except_elsewhere",
    "forks",
    "header",
    "jump",
    "life",
    "misuse 60",
    "newborn_threads 5",
    "newcomers full",
    "poll",
    "poll_forms",
    "poll_threads 50",
    "reentry",
    "shared_buffers 500",
    "shown_input 40",
    "sockets",
    "stale_socket",
    "syn 50",
    "syn_header",
    "tagged_buffers 6000",
    "threads 50",
    "unread_room",
    "user_chat",
    "user_forced",
    "user_foreign_loop",
    "user_freed_inside",
    "user_lambdas",
    "user_proxy",
    "user_wake",
];

/// A file of somebody else's, in a folder that is ours.
const FOREIGN: &str = "opt/pools/include/socketpool-0/core/Foreign.h";

fn make(target: &str, stage: &Path) {
    let mut make = Command::new("make");
    make.current_dir(root()).env("CARGO", env!("CARGO")).arg(target);
    make.arg(format!("TARGET={}", scratch().join("install-target").display())).arg("PROFILE=dev");
    run(make.arg(format!("PREFIX={PREFIX}")).arg(format!("DESTDIR={}", stage.display())));
}

/// Every file and link below a folder, by its path from there.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

fn expected() -> BTreeSet<String> {
    let version = env!("CARGO_PKG_VERSION");
    let so = format!("libsocketpool.so.{version}");
    let libraries = [
        "libsocketpool.a",
        "libsocketpool.so",
        "libsocketpool.so.0",
        &so,
        "pkgconfig/socketpool.pc",
        "cmake/socketpool/socketpool-config.cmake",
        "cmake/socketpool/socketpool-config-version.cmake",
    ];
    let headers = files(&root().join("include")).into_iter().filter(|name| !name.ends_with(".in"));
    let headers = headers.map(|name| format!("{HEADERS}/{name}"));
    libraries.iter().map(|name| format!("{LIBRARIES}/{name}")).chain(headers).collect()
}

#[test]
fn what_is_installed_builds_the_examples_and_goes_again() {
    let stage = scratch().join("stage");
    let _ = fs::remove_dir_all(&stage);
    fs::create_dir_all(&stage).unwrap();

    make("install", &stage);
    assert_eq!(files(&stage), expected());
    let is = |link: &str| fs::read_link(stage.join(LIBRARIES).join(link)).unwrap();
    assert_eq!(is("libsocketpool.so"), Path::new("libsocketpool.so.0"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(is("libsocketpool.so.0"), PathBuf::from(format!("libsocketpool.so.{version}")));

    exports_the_interface_alone(&stage.join(LIBRARIES).join("libsocketpool.so"));
    installed_headers_are_enough(&stage.join(HEADERS));
    for link in ["shared", "static"] {
        let built = by_make(&stage, link);
        serve(&built, &stage);
    }
    if is_here("cmake") {
        for link in ["OFF", "ON"] {
            let built = by_cmake(&stage, link);
            serve(&built, &stage);
        }
    } else {
        eprintln!("SKIPPED: there is no cmake, so nobody looks whether its package is right");
    }

    for sources in PROGRAMS {
        does_what_it_checks(sources, &stage);
    }

    // What is installed twice is there once.
    fs::write(stage.join(FOREIGN), "").unwrap();
    make("install", &stage);
    make("uninstall", &stage);
    assert_eq!(files(&stage), BTreeSet::from([FOREIGN.to_owned()]), "nobody else's file is touched");
    fs::remove_file(stage.join(FOREIGN)).unwrap();
    make("uninstall", &stage);
    assert!(!stage.join(HEADERS).exists() && !stage.join(LIBRARIES).join("cmake/socketpool").exists());
}

/// The names that a header declares and a library can export.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(root().join("include/socketpool/socketpool.h")).unwrap();
    let (_, interface) = header.split_once("extern \"C\" {").unwrap();
    let statements = interface.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join(" ");
    let names = statements.split(';').filter_map(|statement| {
        // A function up to its arguments, or a constant.
        let head = statement.split('(').next().unwrap_or(statement).trim_end();
        let (before, name) = head.rsplit_once([' ', '*'])?;
        (!before.contains('#')).then(|| name.to_owned())
    });
    let mut names: BTreeSet<_> = names.collect();
    // The first stands behind a line of the preprocessor.
    names.insert("Socket_Failed".to_owned());
    names
}

fn exports_the_interface_alone(library: &Path) {
    if !is_here("nm") {
        eprintln!("SKIPPED: there is no nm to say what the library exports");
        return;
    }
    let listed = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let exported: BTreeSet<_> =
        listed.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect();
    assert_eq!(exported, declared());
}

/// The installed tree is all that a program needs, however it names the headers.
fn installed_headers_are_enough(include: &Path) {
    let source = scratch().join("installed.c");
    let text = "#include \"pool/SocketPool.h\"\n#include <socketpool/socketpool.h>\nint unused;\n";
    fs::write(&source, text).unwrap();
    let mut command = Command::new("gcc");
    command.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
    run(command.arg("-I").arg(include).arg(source));
}

fn by_make(stage: &Path, link: &str) -> PathBuf {
    let built = fresh(&format!("examples-{link}"));
    if is_here("pkg-config") {
        let mut make = Command::new("make");
        make.arg("-C").arg(root().join("examples")).arg(format!("BUILD={}", built.display()));
        make.args((link == "static").then_some("STATIC=1"));
        make.env("PKG_CONFIG_PATH", stage.join(LIBRARIES).join("pkgconfig"));
        run(make.env("PKG_CONFIG_SYSROOT_DIR", stage));
        return built;
    }
    eprintln!("SKIPPED: there is no pkg-config, so nobody looks whether socketpool.pc is right");
    for (program, source) in EXAMPLES {
        let (compiler, language) = if source.ends_with("cpp") { ("g++", "c++11") } else { ("gcc", "c99") };
        let mut command = Command::new(compiler);
        command.arg(format!("-std={language}")).arg("-I").arg(stage.join(HEADERS));
        command.arg(root().join("examples").join(source)).arg("-L").arg(stage.join(LIBRARIES));
        match link {
            "static" => command.args(["-Wl,-Bstatic", "-lsocketpool", "-Wl,-Bdynamic"]).args(LINK.split(' ')),
            _ => command.arg("-lsocketpool"),
        };
        run(command.arg("-o").arg(built.join(program)));
    }
    built
}

fn by_cmake(stage: &Path, link: &str) -> PathBuf {
    let built = fresh(&format!("examples-cmake-{link}"));
    let mut cmake = Command::new("cmake");
    cmake.arg("-S").arg(root().join("examples")).arg("-B").arg(&built).arg(format!("-DSTATIC={link}"));
    run(cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", stage.join("opt/pools").display())));
    run(Command::new("cmake").arg("--build").arg(&built));
    built
}

/// Builds a program with nothing but what is installed, and runs it with the shared library.
fn does_what_it_checks(what: &str, stage: &Path) {
    let source = |name: &&str| {
        let mut kinds = ["c", "cpp"].into_iter().map(|kind| root().join(format!("tests/c/{name}.{kind}")));
        kinds.find(|path| path.exists())
    };
    let sources: Vec<_> = what.split(' ').filter_map(|name| source(&name)).collect();
    let arguments = what.split(' ').filter(|word| source(word).is_none());
    let program = Program::new(scratch().join(format!("installed-{}", what.replace(' ', "-"))));
    let (compiler, dialect) = match sources[0].extension() {
        Some(kind) if kind == "cpp" => ("g++", "-std=c++11"),
        _ => ("gcc", "-std=c99"),
    };
    let mut compiler = Command::new(compiler);
    compiler.arg(dialect).args(sources);
    compiler.args(["-g", "-I"]).arg(stage.join(HEADERS));
    compiler.arg("-L").arg(stage.join(LIBRARIES)).args(["-lsocketpool", "-lpthread", "-o"]);
    run(compiler.arg(&*program));
    run(Command::new(&*program).args(arguments).env("LD_LIBRARY_PATH", stage.join(LIBRARIES)));
}

#[test]
fn a_prefix_that_is_no_whole_path_is_refused_before_anything_is_made() {
    for (argument, text) in [
        ("PREFIX=somewhere", "must be a whole path"),
        ("PREFIX=/some where", "must be paths without spaces"),
        ("LIBDIR=lib", "must be a whole path"),
        ("DESTDIR=/some where", "must be a path without spaces"),
    ] {
        for target in ["install", "uninstall"] {
            let output = Command::new("make").current_dir(root()).args([target, argument]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(text), "{target} {argument}: {said}");
            assert!(output.stdout.is_empty(), "{output:?}");
        }
    }
}

fn fresh(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Whether the examples serve that were built there. Then nobody needs them: each has the whole library in it.
fn serve(built: &Path, stage: &Path) {
    for (program, _) in EXAMPLES {
        serves(Command::new(built.join(program)).env("LD_LIBRARY_PATH", stage.join(LIBRARIES)));
    }
    fs::remove_dir_all(built).unwrap();
}
