//! The flags of the echo server: one for every limit of a pool.

use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use socketpool::{
    Builder, ByteRate, Cidr, Error, Families, ListenOptions, OverRate, PortSharing, Rate, ReadStall,
    SocketPool, SynProtection,
};

use crate::command_line::{CommandLine, Flag, Wrong};

pub(crate) struct Options {
    pub(crate) builder: Builder<()>,
    pub(crate) listen: Vec<String>,
    pub(crate) listening: ListenOptions,
    pub(crate) drain: Option<Duration>,
    /// As it was asked for. Invariant: from 1 to what input is kept; of a longer line the end would never be seen.
    max_line: Option<usize>,
    max_input: usize,
}

pub(crate) enum Parsed {
    Run(Box<Options>),
    Help,
}

type Apply = fn(Options, &Value<'_>) -> Result<Options, Wrong>;

/// Every flag: its name, what its value is, what it does, and how.
const FLAGS: &[(&str, &str, &str, Apply)] = &[
    (
        "--listen",
        "ADDR",
        "HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME; may be repeated [127.0.0.1:7000]",
        |mut o, v| {
            o.listen.push(v.text.into());
            Ok(o)
        },
    ),
    ("--backlog", "N", "connections that may wait to be accepted [1024]", |mut o, v| {
        o.listening = o.listening.backlog(v.number()?);
        Ok(o)
    }),
    ("--v6-only", "on|off", "an IPv6 listener takes no IPv4 [off]", |mut o, v| {
        o.listening = o.listening.families(if v.switch()? { Families::V6Only } else { Families::Both });
        Ok(o)
    }),
    ("--reuse-port", "on|off", "other processes may listen on the same port [off]", |mut o, v| {
        o.listening =
            o.listening.sharing(if v.switch()? { PortSharing::ReusePort } else { PortSharing::Exclusive });
        Ok(o)
    }),
    (
        "--max-line",
        "BYTES",
        "a longer line, newline included, closes the connection [16384, or --max-input if less]",
        |mut o, v| {
            o.max_line = Some(v.number()?);
            Ok(o)
        },
    ),
    ("--drain", "SECONDS", "how long a drain waits for the busy; off for ever [30]", |mut o, v| {
        o.drain = v.seconds()?;
        Ok(o)
    }),
    ("--max-connections", "N", "connections at a time [10000]", |o, v| {
        o.with(|b| Ok(b.max_connections(v.number()?)))
    }),
    ("--eviction", "WHAT", "oldest_unproven or off [oldest_unproven]", |o, v| {
        o.with(|b| Ok(b.eviction(v.parsed()?)))
    }),
    ("--eviction-grace", "SECONDS", "a newcomer is safe for so long [0.02]", |o, v| {
        o.with(|b| Ok(b.eviction_grace(v.time()?)))
    }),
    ("--eviction-idle", "SECONDS", "a proven one can go after so long without a byte [0.02]", |o, v| {
        o.with(|b| Ok(b.eviction_idle(v.time()?)))
    }),
    ("--when-full", "WHAT", "wait or refuse [wait]", |o, v| o.with(|b| Ok(b.when_full(v.parsed()?)))),
    ("--proof", "WHAT", "answered or consumed [answered]", |o, v| o.with(|b| Ok(b.proof(v.parsed()?)))),
    ("--first-message", "SECONDS", "time to complete a first message; off [30]", |o, v| {
        o.with(|b| Ok(b.first_message_timeout(v.seconds()?)))
    }),
    ("--idle", "SECONDS", "time without a byte; off [300]", |o, v| {
        o.with(|b| Ok(b.idle_timeout(v.seconds()?)))
    }),
    ("--lifetime", "SECONDS", "longest life; off [off]", |o, v| o.with(|b| Ok(b.lifetime(v.seconds()?)))),
    ("--lifetime-jitter", "PERCENT", "lifetimes are spread by so much [10]", |o, v| {
        o.with(|b| Ok(b.lifetime_jitter_percent(v.number()?)))
    }),
    (
        "--min-read",
        "BYTES/SECONDS",
        "least bytes of an open message in each window, as 640/10; off [off]",
        |o, v| {
            let stall = v.pair()?.map(|(bytes, window)| ReadStall { bytes, window });
            o.with(|b| Ok(b.read_stall(stall)))
        },
    ),
    ("--write-stall", "SECONDS", "output waits untaken; off [30]", |o, v| {
        o.with(|b| Ok(b.write_stall_timeout(v.seconds()?)))
    }),
    ("--max-input", "BYTES", "input kept for a connection [65536]", |mut o, v| {
        o.max_input = v.number()?;
        o.with(|b| Ok(b.max_input(v.number()?)))
    }),
    ("--max-output", "BYTES", "output kept for a connection [262144]", |o, v| {
        o.with(|b| Ok(b.max_output(v.number()?)))
    }),
    ("--output-high", "BYTES", "waiting output at which reading stops [65536]", |o, v| {
        o.with(|b| Ok(b.output_high(v.number()?)))
    }),
    ("--output-low", "BYTES", "waiting output at which it goes on [16384]", |o, v| {
        o.with(|b| Ok(b.output_low(v.number()?)))
    }),
    ("--on-output-high", "WHAT", "stop_reading or report [stop_reading]", |o, v| {
        o.with(|b| Ok(b.on_output_high(v.parsed()?)))
    }),
    ("--max-buffers", "BYTES", "buffers of all connections; off [off]", |o, v| {
        let bytes = v.optional()?;
        o.with(|b| Ok(b.max_buffer_bytes(bytes)))
    }),
    ("--operations", "N/SECONDS", "operations of one connection, as 100/1; off [off]", |o, v| {
        let rate = v.pair()?.map(|(n, window)| Rate::new(n, window));
        o.with(|b| Ok(b.operation_rate(rate)))
    }),
    ("--pool-operations", "N/SECONDS", "operations of all connections; off [off]", |o, v| {
        let rate = v.pair()?.map(|(n, window)| Rate::new(n, window));
        o.with(|b| Ok(b.pool_operation_rate(rate)))
    }),
    ("--over-rate", "WHAT", "ask, delay or close [delay]", |o, v| o.with(|b| Ok(b.over_rate(v.parsed()?)))),
    ("--receive-rate", "BYTES", "bytes a second received from one connection; off [off]", |o, v| {
        let rate = v.optional()?.map(ByteRate::per_second);
        o.with(|b| Ok(b.received_rate(rate)))
    }),
    ("--send-rate", "BYTES", "bytes a second sent to one connection; off [off]", |o, v| {
        let rate = v.optional()?.map(ByteRate::per_second);
        o.with(|b| Ok(b.sent_rate(rate)))
    }),
    ("--accepts", "N/SECONDS", "connections accepted, as 1000/1; off [off]", |o, v| {
        let rate = v.pair()?.map(|(n, window)| Rate::new(n, window));
        o.with(|b| Ok(b.accept_rate(rate)))
    }),
    ("--max-per-ip", "N", "connections of one address; off [off]", |o, v| {
        let most = v.optional()?;
        o.with(|b| Ok(b.max_per_ip(most)))
    }),
    ("--v4-prefix", "BITS", "that make two IPv4 addresses one [32]", |o, v| {
        o.with(|b| Ok(b.v4_prefix(v.number()?)))
    }),
    ("--v6-prefix", "BITS", "that make two IPv6 addresses one [64]", |o, v| {
        o.with(|b| Ok(b.v6_prefix(v.number()?)))
    }),
    ("--allow", "NET,NET", "only these may come", |o, v| {
        let networks = v.networks()?;
        o.with(|b| Ok(b.allow(networks)))
    }),
    ("--deny", "NET,NET", "these may not come", |o, v| {
        let networks = v.networks()?;
        o.with(|b| Ok(b.deny(networks)))
    }),
    ("--syn", "on|off", "scores for addresses that connect and say nothing [off]", |o, v| {
        let protection = v.switch()?.then(SynProtection::default);
        o.with(|b| Ok(b.syn_protection(protection)))
    }),
];

pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, Wrong> {
    let mut options = Options {
        builder: SocketPool::builder().over_rate(OverRate::Delay),
        listen: Vec::new(),
        listening: ListenOptions::default(),
        drain: Some(Duration::from_secs(30)),
        max_line: None,
        max_input: 64 << 10,
    };
    let mut line = CommandLine::new(arguments);
    while let Some(flag) = line.flag()? {
        if flag.name == "--help" || flag.name == "-h" {
            flag.alone()?;
            return Ok(Parsed::Help);
        }
        let (_, kind, _, apply) =
            FLAGS.iter().find(|(name, ..)| *name == flag.name).ok_or_else(|| flag.unknown())?;
        let text = line.value(&flag, kind)?;
        options = apply(options, &Value { flag: &flag, kind, text: &text })?;
    }
    if let Options { max_line: Some(max_line), max_input, .. } = options
        && !(1..=max_input).contains(&max_line)
    {
        return Err(Wrong(format!(
            "--max-line is {max_line}, must be from 1 to {max_input}, which is --max-input"
        )));
    }
    if options.listen.is_empty() {
        options.listen.push("127.0.0.1:7000".into());
    }
    Ok(Parsed::Run(Box::new(options)))
}

pub(crate) fn help() -> String {
    let mut text = String::from("echo: a line echo server on a socketpool\n\n");
    for (name, kind, what, _) in FLAGS {
        text += &format!("  {:<34} {what}\n", format!("{name} {kind}"));
    }
    text + "\n\
        SIGTERM or SIGINT drains, a second one ends at once. RUST_LOG=debug shows every connection's end.\n\
        exit code: 0 when drained, 1 if the system refused something, 2 if a flag or a limit is wrong\n"
}

impl Options {
    /// The longest line, which is no longer than what input is kept, for whoever asks for less of that only.
    pub(crate) fn max_line(&self) -> usize {
        self.max_line.unwrap_or(MAX_LINE.min(self.max_input))
    }

    fn with(self, change: impl FnOnce(Builder<()>) -> Result<Builder<()>, Wrong>) -> Result<Self, Wrong> {
        Ok(Self { builder: change(self.builder)?, ..self })
    }
}

struct Value<'a> {
    flag: &'a Flag,
    kind: &'a str,
    text: &'a str,
}

impl Value<'_> {
    fn number<T: FromStr>(&self) -> Result<T, Wrong> {
        self.whole("")
    }

    fn optional<T: FromStr>(&self) -> Result<Option<T>, Wrong> {
        if self.text == "off" { Ok(None) } else { self.whole(", or off").map(Some) }
    }

    /// Of an unsigned type; all that are read here are.
    fn whole<T: FromStr>(&self, or: &str) -> Result<T, Wrong> {
        let most = u64::MAX >> (64 - 8 * size_of::<T>());
        self.text.parse().map_err(|_| self.bad(&format!("a whole number from 0 to {most}{or}")))
    }

    fn parsed<T: FromStr<Err = Error>>(&self) -> Result<T, Wrong> {
        self.text.parse().map_err(|error| match error {
            Error::Config { bound, .. } => self.bad(&bound),
            other => self.bad(&other.to_string()),
        })
    }

    fn time(&self) -> Result<Duration, Wrong> {
        self.time_or("")
    }

    fn seconds(&self) -> Result<Option<Duration>, Wrong> {
        if self.text == "off" { Ok(None) } else { self.time_or(", or off").map(Some) }
    }

    fn time_or(&self, or: &str) -> Result<Duration, Wrong> {
        match self.text.parse() {
            Ok(seconds) if (0.0..=MOST_SECONDS).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
            _ => Err(self.bad(&format!("seconds from 0 to {MOST_SECONDS}{or}"))),
        }
    }

    /// So many in so many seconds.
    fn pair(&self) -> Result<Option<(u32, Duration)>, Wrong> {
        if self.text == "off" {
            return Ok(None);
        }
        let (n, window) =
            self.text.split_once('/').ok_or_else(|| self.bad(&format!("{} as 100/1, or off", self.kind)))?;
        let part = |text| Value { text, ..*self };
        Ok(Some((part(n).number()?, part(window).time()?)))
    }

    fn switch(&self) -> Result<bool, Wrong> {
        match self.text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.bad("on or off")),
        }
    }

    fn networks(&self) -> Result<Vec<Cidr>, Wrong> {
        let parse = |network: &str| {
            network.parse().map_err(|e: socketpool::ParseCidrError| Wrong(format!("{}: {e}", self.flag)))
        };
        self.text.split(',').map(parse).collect()
    }

    fn bad(&self, wanted: &str) -> Wrong {
        self.flag.wrong(self.text, wanted)
    }
}

const MAX_LINE: usize = 16 << 10;
/// Ten years, as long as any limit of a pool may be.
const MOST_SECONDS: f64 = 315_360_000.0;
