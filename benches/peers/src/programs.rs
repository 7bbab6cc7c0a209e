//! The servers that are C programs: the examples of the library as they stand, and what `c/` has.
//!
//! Builds them against the library as `make` makes it for everybody, and knows what they are started with. What they cost
//! is measured like any other server's.

use crate::server::Role;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server that is a program of its own, which echoes from the start and takes no commands.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    name: &'static str,
    /// From the root of the library.
    source: &'static str,
    /// What comes before and after the number of connections.
    words: (&'static [&'static str], &'static [&'static str]),
}

impl Program {
    /// The program that a role is, if it is one.
    pub const fn of(role: Role) -> Option<Self> {
        Some(match role {
            Role::CBare | Role::CAgain => {
                Self { name: "bare", source: "benches/peers/c/bare.c", words: (&[], &[]) }
            }
            Role::CLoop => Self { name: "echo", source: "examples/c/echo.c", words: (&["0"], &[]) },
            Role::CGuide => {
                Self { name: "guide_server", source: "examples/c/guide_server.c", words: (&["0"], &[]) }
            }
            Role::CGuideAll => Self::guide(&["through", "all"]),
            Role::CToggled => Self::guide(&["toggled", "some"]),
            _ => return None,
        })
    }

    const fn guide(words: &'static [&'static str]) -> Self {
        Self { name: "guide", source: "benches/peers/c/guide.c", words: (&[], words) }
    }

    /// What it is started with.
    pub fn command(self, capacity: usize) -> io::Result<Vec<String>> {
        let path = target()?.join(self.name).display().to_string();
        let capacity = capacity.to_string();
        let (before, after) = self.words;
        let words = before.iter().copied().chain([capacity.as_str()]).chain(after.iter().copied());
        Ok(std::iter::once(path).chain(words.map(str::to_owned)).collect())
    }

    fn compile(self) -> io::Result<()> {
        let target = target()?;
        let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        command.current_dir(root()).args(["-std=c99", "-O2", "-g", "-Iinclude", self.source, "-o"]);
        command.arg(target.join(self.name)).arg(target.join("release/libsocketpool.a"));
        run(command.args(LIBRARIES))
    }
}

/// Builds all that these roles need.
pub fn build(roles: &[Role]) -> io::Result<()> {
    let programs: Vec<_> = roles.iter().filter_map(|role| Program::of(*role)).collect();
    if programs.is_empty() {
        return Ok(());
    }
    let mut make = Command::new("make");
    make.current_dir(root()).arg("--quiet").arg("build").arg(format!("TARGET={}", target()?.display()));
    run(&mut make)?;
    programs.into_iter().try_for_each(Program::compile)
}

fn run(command: &mut Command) -> io::Result<()> {
    let status =
        command.status().map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Beside this program, which stands in `target/release`.
fn target() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    Ok(program.parent().and_then(Path::parent).unwrap_or(Path::new("target")).join("c"))
}

/// What the library needs of the system.
const LIBRARIES: [&str; 3] = ["-lpthread", "-ldl", "-lm"];
