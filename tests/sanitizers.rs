//! The C programs once more, with the library and the programs under the thread sanitizer, and under the address sanitizer.
//!
//! That takes a compiler of Rust that has their runtimes, and lets itself be asked for what is not stable; the programs are
//! linked with those runtimes, since a C compiler's own are of another age. Where something is missing it is said.

mod c_programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use c_programs::{Program, is_here, root, run, scratch, serves};

struct Sanitizer {
    /// As the compilers call it.
    name: &'static str,
    library: PathBuf,
    /// What a program is linked with besides.
    link: Vec<String>,
}

impl Sanitizer {
    /// Builds the library, if that can be; else why not.
    fn make(name: &'static str, runtime: &str) -> Result<Self, String> {
        for tool in ["clang", "nm"] {
            if !is_here(tool) {
                return Err(format!("{tool} is not here"));
            }
        }
        let folder = scratch().join(name);
        fs::create_dir_all(&folder).unwrap();
        let flags = Self::flags(name, &folder)?;
        let runtime = Self::runtime(runtime)?;
        let host = Self::said_by_rustc(&["-vV"]);
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();

        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["rustc", "--locked", "--lib", "--features", "capi", "--crate-type", "staticlib"]);
        cargo.args(["--target", host, "--target-dir"]).arg(folder.join("target")).current_dir(root());
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags.join(" "))
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        run(&mut cargo);
        let library = folder.join(format!("target/{host}/debug/libsocketpool.a"));
        let link = vec![format!("-Wl,--whole-archive,{},--no-whole-archive", runtime.display())];
        let mut made = Self { name, library, link };
        if name == "thread" {
            made.tell_of_std(&folder)?;
        }
        Ok(made)
    }

    fn said_by_rustc(arguments: &[&str]) -> String {
        run(Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).args(arguments))
    }

    /// What this compiler of Rust takes to make code for the sanitizer, with a standard library that is without.
    fn flags(name: &str, folder: &Path) -> Result<Vec<String>, String> {
        let empty = folder.join("empty.rs");
        fs::write(&empty, "").unwrap();
        let wanted = [format!("-Zsanitizer={name}"), "-Cunsafe-allow-abi-mismatch=sanitizer".to_owned()];
        // The second is refused by compilers that do not know it, and not needed by them.
        for count in [2, 1] {
            let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
            rustc.env("RUSTC_BOOTSTRAP", "1").args(&wanted[..count]).args(["--crate-type=rlib", "-o"]);
            let output = rustc.arg(folder.join("empty.rlib")).arg(&empty).output().unwrap();
            if output.status.success() {
                return Ok(wanted[..count].to_vec());
            }
        }
        Err(format!("this rustc does not take -Zsanitizer={name}"))
    }

    fn runtime(name: &str) -> Result<PathBuf, String> {
        let folder = Self::said_by_rustc(&["--print", "target-libdir"]);
        let found = fs::read_dir(folder.trim()).unwrap().map(|entry| entry.unwrap().path());
        let mut found = found.filter(|path| path.to_string_lossy().ends_with(&format!("_rt.{name}.a")));
        found.next().ok_or_else(|| format!("this rustc has no runtime of {name}"))
    }

    /// Has the thread sanitizer know of the locks of the standard library: see `tests/c/tsan_std.c`.
    fn tell_of_std(&mut self, folder: &Path) -> Result<(), String> {
        let wanted = run(Command::new("nm").arg("-u").arg(&self.library));
        let name = |parts: [&str; 2]| {
            let mut names = wanted.lines().filter_map(|line| line.trim().strip_prefix("U "));
            let name = names.find(|name| parts.iter().all(|part| name.contains(part)) && name.len() < 100);
            name.ok_or_else(|| format!("this standard library has no {}", parts[1]))
        };
        let lock = name(["5mutex5futex", "14lock_contended"])?;
        let once = name(["4once5futex", "4Once4call"])?;
        let object = folder.join("tsan_std.o");
        let mut compiler = Command::new("clang");
        compiler
            .args(["-std=c11", "-O1", "-c"])
            .arg(root().join("tests/c/tsan_std.c"))
            .arg("-o")
            .arg(&object);
        for (word, name) in [("LOCK", lock), ("ONCE", once)] {
            compiler.arg(format!("-DREAL_{word}=__real_{name}")).arg(format!("-DWRAP_{word}=__wrap_{name}"));
            self.link.push(format!("-Wl,--wrap={name}"));
        }
        run(&mut compiler);
        self.link.push(object.display().to_string());
        Ok(())
    }

    /// Compiles a program of `tests/c`, which may be of several files.
    fn compile(&self, sources: &str) -> Program {
        self.compile_in("tests/c", sources)
    }

    fn compile_in(&self, folder: &str, sources: &str) -> Program {
        let program = Program::new(scratch().join(self.name).join(sources.replace(' ', "-")));
        let mut objects = Vec::new();
        for source in sources.split(' ') {
            let object = scratch().join(self.name).join(format!("{source}.o"));
            let mut compiler = Command::new("clang");
            compiler.args(["-std=c99", "-g", "-O1", "-DSMALL_STACK=0x100000", "-c"]);
            compiler.arg(format!("-fsanitize={}", self.name)).arg("-I").arg(root().join("include"));
            // What is undefined in a program, or in a header, ends it: that takes no runtime.
            compiler.args(["-fsanitize=undefined", "-fsanitize-trap=undefined"]);
            run(compiler.arg(root().join(format!("{folder}/{source}.c"))).arg("-o").arg(&object));
            objects.push(object);
        }
        let mut linker = Command::new("clang");
        linker.arg("-no-pie").args(objects).args(&self.link).arg(&self.library);
        linker.args(["-Wl,--export-dynamic", "-lpthread", "-ldl", "-lrt", "-lm", "-lresolv"]);
        run(linker.arg("-o").arg(&*program));
        program
    }

    fn command(program: &Path) -> Command {
        let mut command = Command::new(program);
        let known = root().join("tests/c/tsan.supp");
        command.env("TSAN_OPTIONS", format!("suppressions={}", known.display()));
        // Leaks are valgrind's: to look for them takes rights that a container may not give.
        command.env("ASAN_OPTIONS", "detect_leaks=0");
        command
    }

    fn output(program: &Path, arguments: &[&str]) -> Output {
        Self::command(program).args(arguments).output().unwrap()
    }

    /// Runs a program, which checks for itself too.
    fn run(&self, program: &Path, arguments: &[&str]) {
        let output = Self::output(program, arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{program:?} {arguments:?}, {} sanitizer:\n{said}", self.name);
    }

    fn check(&self, sources: &str, arguments: &[&str]) {
        self.run(&self.compile(sources), arguments);
    }

    /// Runs what shows the faults of the legacy library whose numbers are wanted.
    fn check_faults(&self, is_wanted: impl Fn(&str) -> bool) {
        let program = self.compile("legacy");
        let faults = include_str!("c/legacy.c").lines().filter_map(|line| line.trim().strip_prefix("FAULT("));
        for fault in faults.map(|line| line.trim_end_matches("),")) {
            if is_wanted(&fault[..3]) {
                self.run(&program, &[fault, "few"]);
            }
        }
    }

    /// Without this the silence of the others would mean nothing.
    fn finds(&self, fault: &str, report: &str) {
        let output = Self::output(&self.compile("faulty"), &[fault]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(report), "{fault}: {output:?}");
        assert!(said.contains("socketpool::capi"), "not in the library's own code: {said}");
    }
}

/// The sanitizer, or a word that there is none.
fn sanitizer(name: &'static str, runtime: &str) -> Option<Sanitizer> {
    Sanitizer::make(name, runtime)
        .inspect_err(|reason| println!("SKIPPED: nothing is checked by the {name} sanitizer: {reason}"))
        .ok()
}

#[test]
fn threads_race_for_nothing() {
    let Some(sanitizer) = sanitizer("thread", "tsan") else { return };
    sanitizer.finds("race", "data race");
    sanitizer.check("threads", &["200"]);
    sanitizer.check("crowd", &["200"]);
    sanitizer.check("poll_threads", &["200"]);
    sanitizer.check("newborn_threads", &["20"]);
    sanitizer.check("shown_input", &["100"]);
    sanitizer.check("shared_buffers", &["500"]);
    sanitizer.check("reentry", &[]);
    sanitizer.check_faults(|number| ["w03", "w13", "w15", "w17", "w20"].contains(&number));
}

#[test]
fn no_program_reaches_beyond_what_is_there() {
    let Some(sanitizer) = sanitizer("address", "asan") else { return };
    sanitizer.finds("overflow", "heap-buffer-overflow");
    for program in [
        "life",
        "syn",
        "poll_forms",
        "poll",
        "poll_threads",
        "sockets",
        "stale_socket",
        "buffers",
        "shared_buffers",
        "arenas",
        "reentry",
        "jump",
        "driven",
        "newcomers",
        "except except_elsewhere",
        "user_forced",
        "user_chat",
        "user_proxy",
        "user_freed_inside",
        "user_wake",
        "user_foreign_loop",
    ] {
        sanitizer.check(program, &[]);
    }
    for (program, few) in [
        ("misuse", "60"),
        ("threads", "200"),
        ("crowd", "300"),
        ("arena_growth", "2000"),
        ("tagged_buffers", "50000"),
    ] {
        sanitizer.check(program, &[few]);
    }
    sanitizer.check_faults(|_| true);
    for example in ["echo", "guide_server"] {
        serves(&mut Sanitizer::command(&sanitizer.compile_in("examples/c", example)));
    }
}
