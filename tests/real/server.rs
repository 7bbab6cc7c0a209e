//! The `echo` example as a program of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{PATIENCE, proc, wait_until};

/// A running `echo`; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it on a free port with `flags`, as it is or under a limit of descriptors, and waits until it listens.
    pub(crate) fn start(flags: &[&str], descriptors: Option<u32>) -> Self {
        let mut server = Self::spawn(&[&["--listen", "127.0.0.1:0"], flags].concat(), descriptors);
        wait_until("the server to listen", || {
            assert!(server.child.try_wait().unwrap().is_none(), "echo ended: {:?}", server.log());
            server.line_with("listening on ").is_some()
        });
        server
    }

    /// Starts it with exactly `flags`.
    pub(crate) fn spawn(flags: &[&str], descriptors: Option<u32>) -> Self {
        let mut command = match descriptors {
            None => Command::new(program()),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).arg(program());
                shell
            }
        };
        command.args(flags).env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the example starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let shared = log.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().unwrap().push(line);
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let line = self.line_with("listening on ").expect("it listens");
        let text = line.split("listening on ").nth(1).expect("found by it");
        text.split(',').next().expect("one part at least").parse().expect("an address")
    }

    pub(crate) fn cpu(&self) -> Duration {
        proc::cpu(self.child.id())
    }

    pub(crate) fn private_bytes(&self) -> u64 {
        proc::private_bytes(self.child.id())
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn line_with(&self, text: &str) -> Option<String> {
        self.log().into_iter().find(|line| line.contains(text))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill is there and the server lives");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(start.elapsed() < PATIENCE, "echo does not end: {:?}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Drains it and returns what its last snapshot counted.
    pub(crate) fn drain(mut self) -> Counts {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "{status}: {:?}", self.log());
        let line = self.log().into_iter().rev().find(|line| line.contains("verdict=")).expect("a snapshot");
        Counts::read(&line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `key=value` words of a snapshot.
#[derive(Debug)]
pub(crate) struct Counts(HashMap<String, String>);

impl Counts {
    fn read(line: &str) -> Self {
        let words = line.split_whitespace().filter_map(|word| word.split_once('='));
        Self(words.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// A counter; reasons that never occurred are left out of the line, so what is not there is 0.
    pub(crate) fn of(&self, key: &str) -> u64 {
        self.0.get(key).map_or(0, |value| value.parse().expect("a counter"))
    }
}

/// The built `echo`.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| example("echo"))
}

/// The built example of this name, made first if it is missing or older than this test.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let program = profile.join("examples").join(name);
    let age = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    if age(&program) < age(&test) {
        build(name, profile);
    }
    assert!(program.exists(), "{} was built", program.display());
    program
}

fn build(name: &str, profile: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", name, "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    cargo.arg("--target-dir").arg(profile.parent().expect("below a target directory"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    for (feature, on) in [("audit", cfg!(feature = "audit")), ("sim", cfg!(feature = "sim"))] {
        if on {
            cargo.args(["--features", feature]);
        }
    }
    assert!(cargo.status().is_ok_and(|status| status.success()), "cargo build --example {name}");
}
