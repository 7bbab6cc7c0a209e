//! Runs every bench of the library but the comparison with other servers (`benches/peers`) and prints what one operation
//! takes. The benches themselves are a package of their own, `benches/counts`: criterion and gungraun bring 80 crates
//! that `cargo test` would build for nothing.
//!
//! ```text
//! cargo bench                      # all of it
//! cargo bench -- instructions      # one of: footprint, ratios, instructions, leases
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing is measured outside of `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|name| !name.starts_with('-')).collect();
    let target = target();
    let mut good = true;
    for bench in ["footprint", "ratios", "instructions", "leases"] {
        if !chosen.is_empty() && !chosen.contains(&bench) {
            continue;
        }
        println!("\n=== {bench}");
        if matches!(bench, "instructions" | "leases") {
            good &= count(bench, &target);
        } else {
            good &= run(bench, &target);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Counts instructions, if there is something to count with.
fn count(bench: &str, target: &Path) -> bool {
    let mut missing = Vec::new();
    if version_of("valgrind").is_none() {
        missing.push("valgrind (Debian: apt-get install valgrind)".to_owned());
    }
    if !version_of("gungraun-runner").is_some_and(|version| version.contains(RUNNER)) {
        missing.push(format!("gungraun-runner {RUNNER} (cargo install gungraun-runner --version {RUNNER})"));
    }
    if !missing.is_empty() {
        eprintln!("\n!!! NO INSTRUCTIONS WERE COUNTED. Missing: {}", missing.join(", "));
        return false;
    }
    let good = run(bench, target);
    print_table(&target.join("gungraun/counts").join(bench));
    good
}

fn run(bench: &str, target: &Path) -> bool {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["bench", "--quiet", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts/Cargo.toml"))
        .args(["--bench", bench])
        .env("CARGO_TARGET_DIR", target)
        .status();
    match status {
        Ok(status) if status.success() => true,
        Ok(status) => {
            eprintln!("!!! {bench}: {status}");
            false
        }
        Err(error) => {
            eprintln!("!!! {bench}: cargo cannot be run: {error}");
            false
        }
    }
}

/// What one operation takes, from the files that callgrind has written.
fn print_table(home: &Path) {
    let mut rows: Vec<(String, f64)> = Vec::new();
    collect(home, &mut rows);
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    println!("\n{:<52} {:>16}", "user instructions", "one operation");
    for (name, count) in rows {
        println!("{name:<52} {count:>16.1}");
    }
}

fn collect(directory: &Path, rows: &mut Vec<(String, f64)>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, rows);
        } else {
            rows.extend(row(&path));
        }
    }
}

/// `callgrind.request.on_x8000.out` counts 8,000 operations. With several threads, `.t1.p1` is the one that does them.
fn row(path: &Path) -> Option<(String, f64)> {
    let file = path.file_name()?.to_str()?;
    let name = file.strip_prefix("callgrind.")?.strip_suffix(".out")?;
    let name = name.strip_suffix(".t1.p1").unwrap_or(name);
    let (what, times) = name.rsplit_once("_x")?;
    let text = fs::read_to_string(path).ok()?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    let instructions: f64 = totals.split_whitespace().next()?.parse().ok()?;
    Some((what.replace('.', " "), instructions / times.parse::<f64>().ok()?))
}

/// What a program says of its version; `None` if there is no such program.
fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Beside the library's own artifacts: this program stands in `target/release/deps`.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).unwrap_or(Path::new("target")).join("counts")
}

/// The version of gungraun in `benches/counts/Cargo.toml`; runner and library must be the same.
const RUNNER: &str = "0.20.0";
