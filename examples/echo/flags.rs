//! The flags of the echo server: one for every limit of a pool.

use std::fmt;
use std::time::Duration;

use socketpool::{
    Builder, ByteRate, Cidr, Error, Families, ListenOptions, PortSharing, Rate, ReadStall, SocketPool,
    SynProtection,
};

pub(crate) struct Options {
    pub(crate) builder: Builder<()>,
    pub(crate) listen: Vec<String>,
    pub(crate) listening: ListenOptions,
    pub(crate) drain: Option<Duration>,
    pub(crate) max_line: usize,
}

pub(crate) enum Parsed {
    Run(Box<Options>),
    Help,
}

/// A flag that cannot be used, with the value and what it must be.
#[derive(Debug)]
pub(crate) struct BadFlag {
    flag: String,
    problem: String,
}

impl fmt::Display for BadFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flag, self.problem)
    }
}

type Apply = fn(Options, &Value<'_>) -> Result<Options, BadFlag>;

/// Every flag: its name, what its value is, what it does, and how.
const FLAGS: &[(&str, &str, &str, Apply)] = &[
    (
        "--listen",
        "ADDR",
        "HOST:PORT, [V6]:PORT or unix:PATH; may be repeated [127.0.0.1:7000]",
        |mut o, v| {
            o.listen.push(v.text.to_owned());
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
    ("--max-line", "BYTES", "a longer line closes the connection [16384]", |mut o, v| {
        o.max_line = v.number()?;
        Ok(o)
    }),
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
        o.with(|b| Ok(b.eviction_grace(v.seconds()?.unwrap_or_default())))
    }),
    ("--eviction-idle", "SECONDS", "a proven one can go after so long without a byte [0.02]", |o, v| {
        o.with(|b| Ok(b.eviction_idle(v.seconds()?.unwrap_or_default())))
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
    ("--max-input", "BYTES", "input kept for a connection [65536]", |o, v| {
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

pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Parsed, BadFlag> {
    let mut options = Options {
        builder: SocketPool::builder().over_rate(socketpool::OverRate::Delay),
        listen: Vec::new(),
        listening: ListenOptions::default(),
        drain: Some(Duration::from_secs(30)),
        max_line: 16 << 10,
    };
    while let Some(argument) = arguments.next() {
        if argument == "--help" || argument == "-h" {
            return Ok(Parsed::Help);
        }
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        let bad = |problem: String| BadFlag { flag: name.clone(), problem };
        let (_, kind, _, apply) = FLAGS
            .iter()
            .find(|(flag, ..)| *flag == name)
            .ok_or_else(|| bad("is no flag of this program".into()))?;
        let text =
            attached.or_else(|| arguments.next()).ok_or_else(|| bad(format!("needs a value: {kind}")))?;
        options = apply(options, &Value { flag: &name, kind, text: &text })?;
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
    text + "\nSIGTERM or SIGINT drains, a second one ends. RUST_LOG=debug shows every connection's end.\n"
}

impl Options {
    fn with(self, change: impl FnOnce(Builder<()>) -> Result<Builder<()>, BadFlag>) -> Result<Self, BadFlag> {
        Ok(Self { builder: change(self.builder)?, ..self })
    }
}

struct Value<'a> {
    flag: &'a str,
    kind: &'a str,
    text: &'a str,
}

impl Value<'_> {
    fn number<T: std::str::FromStr>(&self) -> Result<T, BadFlag> {
        self.text.parse().map_err(|_| self.bad(self.kind))
    }

    fn parsed<T: std::str::FromStr<Err = Error>>(&self) -> Result<T, BadFlag> {
        self.text.parse().map_err(|error| match error {
            Error::Config { bound, .. } => self.bad(&bound),
            other => self.bad(&other.to_string()),
        })
    }

    fn optional<T: std::str::FromStr>(&self) -> Result<Option<T>, BadFlag> {
        if self.text == "off" { Ok(None) } else { self.number().map(Some) }
    }

    fn seconds(&self) -> Result<Option<Duration>, BadFlag> {
        let seconds: Option<f64> = self.optional()?;
        seconds
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(|error| self.bad(&error.to_string())))
            .transpose()
    }

    fn pair(&self) -> Result<Option<(u32, Duration)>, BadFlag> {
        if self.text == "off" {
            return Ok(None);
        }
        let (n, window) = self.text.split_once('/').ok_or_else(|| self.bad(self.kind))?;
        let window = Value { text: window, ..*self }.seconds()?.ok_or_else(|| self.bad(self.kind))?;
        Ok(Some((Value { text: n, ..*self }.number()?, window)))
    }

    fn switch(&self) -> Result<bool, BadFlag> {
        match self.text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.bad("on or off")),
        }
    }

    fn networks(&self) -> Result<Vec<Cidr>, BadFlag> {
        self.text
            .split(',')
            .map(|network| {
                network.parse().map_err(|error: socketpool::ParseCidrError| self.bad(&error.to_string()))
            })
            .collect()
    }

    fn bad(&self, wanted: &str) -> BadFlag {
        BadFlag { flag: self.flag.to_owned(), problem: format!("is {:?}, must be {wanted}", self.text) }
    }
}
