//! What a program that was compiled against an earlier header needs of the library is still there, by abidiff: functions
//! with what they take and answer, structs and objects. What is added is no difference.
//!
//! `tests/abi/socketpool-0.h` is the code of the header that such programs were compiled against, those that are linked with
//! libsocketpool.so.0. `SOCKETPOOL_BLESS=1` writes it: with each release, so that what was added is kept from then on;
//! otherwise it breaks programs, and the number after the .so is to be another. Both headers are compiled to empty functions
//! for abidiff, which cannot read the types of the library itself; that this one has the functions of its header
//! `capi.rs` sees to.

mod c_programs;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use c_programs::{compiler_of, is_here, root, run, scratch};

/// The code of the header as it is now, without comments.
fn present() -> String {
    let text = fs::read_to_string(root().join("include/socketpool/socketpool.h")).unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//") && !line.starts_with("/*"));
    let mut lines: Vec<&str> = code.collect();
    lines.dedup();
    lines.join("\n") + "\n"
}

fn kept() -> PathBuf {
    root().join("tests/abi/socketpool-0.h")
}

/// A library of empty functions, as a header declares them, for abidiff.
fn library_of(header: &str, name: &str) -> PathBuf {
    let folder = scratch().join("abi");
    fs::create_dir_all(&folder).unwrap();
    let (_, declarations) = header.split_once("extern \"C\" {\n#endif // __cplusplus\n").unwrap();
    let (declarations, _) = declarations.split_once("#ifdef").unwrap();
    let mut code = header.to_owned();
    for declaration in declarations.split_terminator(';').map(str::trim).filter(|text| !text.is_empty()) {
        code += &match declaration.strip_prefix("extern const ") {
            Some(object) => format!("const {object} = {{0}};\n"),
            None => format!("{declaration} {{ __builtin_trap(); }}\n"),
        };
    }
    let (source, made) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    fs::write(&source, code).unwrap();
    let mut compiler = compiler_of("gcc", "c11");
    compiler.args(["-Wno-unused-parameter", "-fPIC", "-shared"]).arg(source).arg("-o");
    run(compiler.arg(&made));
    made
}

/// What is not there any more, or not as it was, for those who were compiled against `earlier`; nothing if it is empty.
fn broken(earlier: &str, later: &str, name: &str) -> String {
    let earlier = library_of(earlier, &format!("{name}-earlier"));
    let later = library_of(later, &format!("{name}-later"));
    let output = Command::new("abidiff").arg("--no-added-syms").arg(earlier).arg(later).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // 4 is a difference, and 12 one that certainly breaks programs: abidiff(1).
    match output.status.code() {
        Some(0) => String::new(),
        Some(4 | 12) => said,
        _ => panic!("abidiff: {output:?}"),
    }
}

fn can_compare() -> bool {
    let here = is_here("abidiff");
    if !here {
        println!("SKIPPED: abidiff is not here (Debian has it in abigail-tools)");
    }
    here
}

#[test]
fn programs_that_are_compiled_keep_what_they_were_compiled_against() {
    if std::env::var_os("SOCKETPOOL_BLESS").is_some() {
        fs::create_dir_all(kept().parent().unwrap()).unwrap();
        fs::write(kept(), present()).unwrap();
    }
    if can_compare() {
        let broken = broken(&fs::read_to_string(kept()).unwrap(), &present(), "kept");
        assert!(broken.is_empty(), "programs that are compiled break:\n{broken}");
    }
}

/// What a change of the present header breaks.
fn broken_by(name: &str, from: &str, to: &str) -> String {
    let changed = present().replacen(from, to, 1);
    assert_ne!(changed, present(), "{from} is there");
    broken(&present(), &changed, name)
}

#[test]
fn a_change_that_breaks_programs_is_told_and_an_addition_is_none() {
    if !can_compare() {
        return;
    }
    let answer = "int SocketPool_is_drained(SocketPool_T pool);";
    let said = broken_by("answer", answer, &answer.replacen("int", "int64_t", 1));
    assert!(said.contains("SocketPool_is_drained"), "{said}");
    let said = broken_by("taken", answer, &answer.replace("pool)", "pool, int really)"));
    assert!(said.contains("SocketPool_is_drained"), "{said}");
    let said = broken_by("gone", answer, "");
    assert!(said.contains("SocketPool_is_drained"), "{said}");
    let said = broken_by("order", "  int kind;\n  int reason;\n", "  int reason;\n  int kind;\n");
    assert!(said.contains("sp_event"), "{said}");
    let said =
        broken_by("longer", "  size_t max_connections;\n", "  size_t max_connections;\n  size_t more;\n");
    assert!(said.contains("SocketPool_Stats"), "{said}");
    let said = broken_by("more", answer, &format!("{answer}\nint SocketPool_is_new(SocketPool_T pool);"));
    assert_eq!(said, "");
}
