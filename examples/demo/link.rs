//! The line to another process of this program: orders on its standard input, words on its standard output.
//!
//! One message is one line: a word and numbers. Both ends are the same program, so the order of the numbers is fixed
//! here and nowhere else. The other process ends when its standard input does, so it cannot outlive the first one,
//! whatever ends that; and dropping [`Link`] ends it too.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio, exit};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::crowd::Crowd;
use crate::tally::{Failure, Outcome};

/// What the first process tells another one to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Begin no request any more, and say [`Word::Quiet`] when that holds.
    Quiet,
    /// Say how it went, and end.
    Finish,
    /// To an idle server: say [`Word::Memory`].
    Measure,
}

impl Order {
    fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Finish => "finish",
            Self::Measure => "measure",
        }
    }

    fn parse(line: &str) -> Option<Self> {
        [Self::Quiet, Self::Finish, Self::Measure].into_iter().find(|order| order.as_str() == line)
    }
}

/// What another process says to the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// How it goes, a few times a second.
    Progress(Progress),
    /// No request is begun from here on; so many have not their whole reply yet, and the server owes them.
    Quiet { outstanding: u64 },
    /// What befell an honest client; and the number of the system's error, or 0.
    Failed { client: u64, failure: Failure, errno: u64 },
    /// How it went for one crowd.
    Crowd(Crowd, Outcome),
    /// That was all; and how long the driver had to wait for a processor, and how late it came at most to what was due.
    End { waited_us: u64, late_us: u64 },
    /// An idle server listens on this port of 127.0.0.1.
    Listening { port: u64 },
    /// It has so many bytes of memory to itself.
    Memory { bytes: u64 },
}

/// The clients' view while it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) answered: u64,
    pub(crate) failures: u64,
    pub(crate) hostile_open: u64,
    pub(crate) p99_us: u64,
}

impl Word {
    /// Says it to the first process. If that is gone, so is this one, without another word.
    pub(crate) fn say(self) -> io::Result<()> {
        match writeln!(io::stdout(), "{}", self.line()).and_then(|()| io::stdout().flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => exit(1),
            result => result,
        }
    }

    fn line(self) -> String {
        let (word, numbers) = match self {
            Self::Progress(p) => ("progress", vec![p.answered, p.failures, p.hostile_open, p.p99_us]),
            Self::Quiet { outstanding } => ("quiet", vec![outstanding]),
            Self::Crowd(crowd, mut outcome) => {
                (crowd.as_str(), outcome.numbers().map(|number| *number).collect())
            }
            Self::Failed { client, failure, errno } => ("failed", vec![client, failure as u64, errno]),
            Self::End { waited_us, late_us } => ("end", vec![waited_us, late_us]),
            Self::Listening { port } => ("listening", vec![port]),
            Self::Memory { bytes } => ("memory", vec![bytes]),
        };
        let numbers: String = numbers.iter().map(|number| format!(" {number}")).collect();
        format!("{word}{numbers}")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(' ');
        let word = parts.next()?;
        let numbers: Vec<u64> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
        match (word, numbers.as_slice()) {
            ("progress", &[answered, failures, hostile_open, p99_us]) => {
                Some(Self::Progress(Progress { answered, failures, hostile_open, p99_us }))
            }
            ("quiet", &[outstanding]) => Some(Self::Quiet { outstanding }),
            ("failed", &[client, failure, errno]) => {
                let failure = *Failure::ALL.get(usize::try_from(failure).ok()?)?;
                Some(Self::Failed { client, failure, errno })
            }
            ("end", &[waited_us, late_us]) => Some(Self::End { waited_us, late_us }),
            ("listening", &[port]) => Some(Self::Listening { port }),
            ("memory", &[bytes]) => Some(Self::Memory { bytes }),
            (name, numbers) => {
                let crowd = Crowd::ALL.into_iter().find(|crowd| crowd.as_str() == name)?;
                let mut outcome = Outcome::default();
                let places: Vec<&mut u64> = outcome.numbers().collect();
                if places.len() != numbers.len() {
                    return None;
                }
                places.into_iter().zip(numbers).for_each(|(place, number)| *place = *number);
                Some(Self::Crowd(crowd, outcome))
            }
        }
    }
}

/// The first process' end of the line, and the process at the other end.
pub(crate) struct Link {
    child: Child,
    orders: ChildStdin,
    words: Receiver<io::Result<Word>>,
    listener: Option<JoinHandle<()>>,
}

impl Link {
    /// Starts this program once more, with these flags; `wake` is called from another thread when there is
    /// something to hear.
    pub(crate) fn start(flags: &[String], wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let mut child = command.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, words) = mpsc::channel();
        let listener = thread::Builder::new().name("link".into()).spawn(move || {
            for line in lines {
                let word = line.and_then(|line| Word::parse(&line).ok_or_else(|| not_a_word(&line)));
                let sent = sender.send(word);
                wake();
                if sent.is_err() {
                    return;
                }
            }
            drop(sender);
            wake();
        })?;
        Ok(Self { child, orders, words, listener: Some(listener) })
    }

    pub(crate) fn order(&mut self, order: Order) -> io::Result<()> {
        writeln!(self.orders, "{}", order.as_str())
    }

    /// What it has said, if there is something; an error when it is gone or talks nonsense.
    pub(crate) fn heard(&mut self) -> io::Result<Option<Word>> {
        match self.words.try_recv() {
            Ok(word) => word.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(gone()),
        }
    }

    /// The same, but waits a few seconds for it.
    pub(crate) fn hear(&mut self) -> io::Result<Word> {
        self.words.recv_timeout(ANSWER_WITHIN).map_err(|_| gone())?
    }
}

impl Drop for Link {
    /// After a regular end the first two calls find a process that has ended or is about to.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its input has ended with the process, so it ends, and with it its descriptor.
        let _ = self.listener.take().map(JoinHandle::join);
    }
}

/// Hears orders on standard input from a thread of its own; the process ends when the input does.
pub(crate) fn hear_orders(wake: impl Fn() + Send + 'static) -> io::Result<Receiver<Order>> {
    let (sender, orders) = mpsc::channel();
    thread::Builder::new().name("link".into()).spawn(move || {
        for line in io::stdin().lines() {
            let Some(order) = line.ok().and_then(|line| Order::parse(&line)) else { break };
            if sender.send(order).is_err() {
                break;
            }
            wake();
        }
        // Nobody is left to whom the result would matter; the sockets end with the process.
        exit(1);
    })?;
    Ok(orders)
}

fn gone() -> io::Error {
    io::Error::other("the other process of the demo has ended or hangs")
}

fn not_a_word(line: &str) -> io::Error {
    io::Error::other(format!("the other process of the demo said {line:?}, which is no message"))
}

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::{Counts, Quantiles};

    #[test]
    fn words_come_back_as_they_were_said() {
        let quantiles = Quantiles { p50_us: 1, p90_us: 2, p99_us: 3, p999_us: 4, max_us: 5 };
        let counts = Counts { connected: 7, failed: [1, 2, 3, 4, 5], open: 9, ..Counts::default() };
        let outcome = Outcome { counts, reply: quantiles, ..Outcome::default() };
        let progress = Progress { answered: 1, failures: 2, hostile_open: 4, p99_us: 5 };
        for word in [
            Word::Progress(progress),
            Word::Quiet { outstanding: 9 },
            Word::Failed { client: 5, failure: Failure::Cut, errno: 111 },
            Word::Crowd(Crowd::Deaf, outcome),
            Word::End { waited_us: 7, late_us: 8 },
            Word::Listening { port: 80 },
            Word::Memory { bytes: 1 << 40 },
        ] {
            assert_eq!(Word::parse(&word.line()), Some(word));
        }
    }

    #[test]
    fn nonsense_is_no_word() {
        for line in
            ["", "progress", "quiet x", "quiet 1 2", "honest 1 2 3", "failed 1 9 0", "end", "nobody 1"]
        {
            assert_eq!(Word::parse(line), None, "{line:?}");
        }
    }
}
