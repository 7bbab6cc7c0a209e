//! One server process, seen from the runner: started, commanded, its CPU time and memory read, ended.

use crate::programs::Program;
use crate::server::Role;
use crate::sys;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A server process; dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    address: SocketAddrV4,
    /// `None` for a program that echoes from the start.
    pipes: Option<Pipes>,
}

/// Commands go there, and replies come from there.
#[derive(Debug)]
struct Pipes {
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

/// What a command cost the server.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub cpu: Duration,
    /// The longest time in one go, where the server can tell.
    pub longest: Duration,
}

impl Child {
    /// Starts this program once more, as the server `role`, on `core`; or the program in C that the role is.
    pub fn spawn(role: Role, capacity: usize, core: usize) -> io::Result<Self> {
        Self::spawn_under::<&str>(&[], role, capacity, core)
    }

    /// The same below another program, such as valgrind, whose words `prefix` are.
    pub fn spawn_under<S: AsRef<OsStr>>(
        prefix: &[S],
        role: Role,
        capacity: usize,
        core: usize,
    ) -> io::Result<Self> {
        let mut words: Vec<OsString> = prefix.iter().map(|word| word.as_ref().to_owned()).collect();
        let program = Program::of(role);
        if let Some(program) = program {
            words.extend(program.command(capacity)?.into_iter().map(OsString::from));
        } else {
            words.push(env::current_exe()?.into());
            words.extend(
                ["server", role.name(), &capacity.to_string(), &core.to_string()].map(OsString::from),
            );
        }
        let mut process =
            Command::new(&words[0]).args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // The others do that themselves.
        if program.is_some() {
            sys::pin_other(process.id(), core)?;
        }
        let commands = process.stdin.take().expect("stdin was asked for");
        let mut replies = BufReader::new(process.stdout.take().expect("stdout was asked for"));
        let line = read_line(&mut replies)?;
        let address = line.rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| io::Error::other(format!("server {role} said `{line}`")))?;
        let pipes = if program.is_none() {
            Some(Pipes { commands, replies })
        } else {
            // Whatever else it says must not fill the pipe.
            thread::spawn(move || io::copy(&mut replies, &mut io::sink()));
            None
        };
        Ok(Self { process, address, pipes })
    }

    pub fn accept(&mut self, n: usize) -> io::Result<Work> {
        self.command(&format!("accept {n}"))
    }

    pub fn drain(&mut self) -> io::Result<Work> {
        self.command("drain")
    }

    /// From now on the server echoes and takes no more commands. A program in C has done so from the start.
    pub fn serve(&mut self) -> io::Result<()> {
        self.pipes.as_mut().map_or(Ok(()), |pipes| writeln!(pipes.commands, "serve"))
    }

    /// Ends it with a signal that valgrind survives long enough to write its report.
    pub fn terminate(mut self) -> io::Result<()> {
        sys::signal(self.process.id(), libc::SIGTERM)?;
        self.process.wait()?;
        Ok(())
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    pub fn takes_commands(&self) -> bool {
        self.pipes.is_some()
    }

    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn cpu(&self) -> io::Result<Duration> {
        sys::cpu_of(self.process.id())
    }

    /// Memory that is the server's alone and that it has touched.
    pub fn private_bytes(&self) -> io::Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        Ok(rollup.lines().filter(|line| line.starts_with("Private_")).filter_map(kilobytes).sum::<u64>()
            * 1_024)
    }

    fn command(&mut self, command: &str) -> io::Result<Work> {
        let Some(pipes) = &mut self.pipes else { return Err(io::Error::other("it takes no commands")) };
        writeln!(pipes.commands, "{command}")?;
        let line = read_line(&mut pipes.replies)?;
        let work = line.strip_prefix("done ").and_then(parse_work);
        work.ok_or_else(|| io::Error::other(format!("asked for `{command}`, the server said `{line}`")))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_line(replies: &mut BufReader<ChildStdout>) -> io::Result<String> {
    let mut line = String::new();
    replies.read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn parse_work(nanos: &str) -> Option<Work> {
    let (cpu, longest) = nanos.split_once(' ')?;
    let nanos = |word: &str| word.parse().ok().map(Duration::from_nanos);
    Some(Work { cpu: nanos(cpu)?, longest: nanos(longest)? })
}

fn kilobytes(line: &str) -> Option<u64> {
    line.split_whitespace().nth(1)?.parse().ok()
}
