//! What is run: the flags, and every size and time that follows from them. Runs nothing itself.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::crowd::Crowd;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) plan: Plan,
    pub(crate) role: Role,
    pub(crate) json: bool,
    pub(crate) help: bool,
}

/// Which of the processes this one is. The last two are for the program itself and stand in no help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The server, the judge, and the parent of the others.
    Server,
    /// All clients of the server at this address.
    Driver(SocketAddr),
    /// A server that only says how much memory it holds; with room for so many connections.
    Idle(u32),
}

/// The sizes and times of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) clients: u32,
    /// Multiplies every hostile crowd.
    pub(crate) hostile: f64,
    pub(crate) seconds: u32,
    pub(crate) seed: u64,
    /// Switches the pool's protections off: the control, which has to fail.
    pub(crate) unprotected: bool,
}

impl Plan {
    /// Clients in the crowd; a hostile crowd has at least one unless all are switched off.
    pub(crate) fn clients(&self, crowd: Crowd) -> u32 {
        match crowd {
            Crowd::Honest => self.clients,
            Crowd::Dribbler => self.scaled(500),
            Crowd::Silent => self.scaled(200),
            Crowd::Deaf => self.scaled(20),
            Crowd::Flood => self.scaled(64),
        }
    }

    /// How fast the clients of the crowd may connect, together. The honest all come within the first half second; no
    /// factor makes the attackers faster than twice the usual, else the driver would be what is measured.
    pub(crate) fn connects_per_second(&self, crowd: Crowd) -> u32 {
        match crowd {
            Crowd::Honest => self.clients.saturating_mul(2).max(1_000),
            Crowd::Dribbler | Crowd::Silent | Crowd::Deaf => self.scaled(1_000).min(2_000),
            Crowd::Flood => self.scaled(2_000).min(4_000),
        }
    }

    /// When the crowd arrives. Until the large crowds do there is room, and only a deadline ends the silent; from then
    /// on there is none, and somebody has to make way.
    pub(crate) fn arrival(&self, crowd: Crowd) -> Duration {
        match crowd {
            Crowd::Honest | Crowd::Silent | Crowd::Deaf => Duration::ZERO,
            Crowd::Dribbler | Crowd::Flood => self.run().mul_f64(0.35),
        }
    }

    /// From the first connection to the announcement of the drain.
    pub(crate) fn run(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// Room for every honest client and for half of the attackers. In peace a little more than for every client: one
    /// that leaves and comes back may be there twice until the server has seen it leave.
    pub(crate) fn max_connections(&self) -> u32 {
        let hostile = [Crowd::Dribbler, Crowd::Silent, Crowd::Deaf].map(|crowd| self.clients(crowd));
        match hostile.iter().sum::<u32>() {
            0 => self.clients + self.clients.div_ceil(8),
            hostile => self.clients + hostile.div_ceil(2),
        }
    }

    /// Short enough to be seen within the run; so is [`write_stall`](Self::write_stall).
    pub(crate) fn first_message(&self) -> Duration {
        Duration::from_secs(3).min(self.run() / 4)
    }

    pub(crate) fn write_stall(&self) -> Duration {
        Duration::from_secs(3).min(self.run() / 4)
    }

    /// Descriptors that the largest of the processes needs.
    pub(crate) fn descriptors(&self) -> u64 {
        let clients: u32 = Crowd::ALL.map(|crowd| self.clients(crowd)).iter().sum();
        u64::from(clients.max(self.max_connections()).max(IDLE_CONNECTIONS)) + 64
    }

    /// The flags that make another process run the same plan.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--clients={}", self.clients),
            format!("--hostile={}", self.hostile),
            format!("--seconds={}", self.seconds),
            format!("--seed={}", self.seed),
        ];
        flags.extend(self.unprotected.then(|| "--unprotected".into()));
        flags
    }

    fn scaled(&self, full: u32) -> u32 {
        // From 0 to 20,000: the cast loses nothing.
        (f64::from(full) * self.hostile).ceil() as u32
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self { clients: 1_000, hostile: 1.0, seconds: 12, seed: 1, unprotected: false }
    }
}

impl Role {
    /// The flags that give another process this role.
    pub(crate) fn flags(self) -> Vec<String> {
        match self {
            Self::Server => Vec::new(),
            Self::Driver(server) => vec!["--role=driver".into(), format!("--server={server}")],
            Self::Idle(room) => vec!["--role=idle".into(), format!("--room={room}")],
        }
    }
}

impl Options {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Wrong> {
        let mut options = Self { plan: Plan::default(), role: Role::Server, json: false, help: false };
        let (mut role, mut server, mut room) = (None, None, 1);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (flag, attached) = match argument.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let is_switch = matches!(flag.as_str(), "--json" | "--unprotected" | "--help" | "-h");
            if is_switch && let Some(value) = attached {
                return Err(Wrong::new(&flag, value, "given without a value"));
            }
            let mut value = || attached.clone().or_else(|| arguments.next());
            match flag.as_str() {
                "--clients" => options.plan.clients = number(&flag, value(), CLIENTS)?,
                "--hostile" => options.plan.hostile = number(&flag, value(), HOSTILE)?,
                "--seconds" => options.plan.seconds = number(&flag, value(), SECONDS)?,
                "--seed" => options.plan.seed = number(&flag, value(), 0..=u64::MAX)?,
                "--json" => options.json = true,
                "--unprotected" => options.plan.unprotected = true,
                "--help" | "-h" => options.help = true,
                "--role" => role = value(),
                "--server" => server = value().and_then(|address| address.parse().ok()),
                "--room" => room = number(&flag, value(), 1..=IDLE_CONNECTIONS)?,
                _ => return Err(Wrong::unknown(&flag)),
            }
        }
        options.role = match (role.as_deref(), server) {
            (None, _) => Role::Server,
            (Some("driver"), Some(server)) => Role::Driver(server),
            (Some("idle"), _) => Role::Idle(room),
            (Some(role), _) => return Err(Wrong::new("--role", role, "left to the program itself")),
        };
        Ok(options)
    }
}

/// An argument that cannot be: which, what it is, and what it must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong(String);

impl Wrong {
    fn new(flag: &str, value: impl fmt::Display, bound: &str) -> Self {
        Self(format!("{flag} is {value}, must be {bound}"))
    }

    fn unknown(flag: &str) -> Self {
        Self(format!(
            "{flag} is unknown, must be one of --clients, --hostile, --seconds, --seed, --unprotected, --json, --help"
        ))
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn number<T>(flag: &str, value: Option<String>, range: RangeInclusive<T>) -> Result<T, Wrong>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let bound = format!("from {} to {}", range.start(), range.end());
    let Some(value) = value else { return Err(Wrong::new(flag, "without a value", &bound)) };
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Wrong::new(flag, value, &bound)),
    }
}

/// Connections that the memory of an idle one is measured with.
pub(crate) const IDLE_CONNECTIONS: u32 = 2_000;
/// Longest line that the server takes, newline included.
pub(crate) const LINE_MAX: usize = 16 << 10;
/// What is not finished by then is ended by force.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// One driver process on one core is fair to so many.
const CLIENTS: RangeInclusive<u32> = 1..=10_000;
const HOSTILE: RangeInclusive<f64> = 0.0..=10.0;
/// Below two seconds there is no time for the deadlines to pass.
const SECONDS: RangeInclusive<u32> = 2..=3_600;

pub(crate) const HELP: &str = "\
Runs a line echo server on a socketpool and attacks it from a second process, while honest clients
check every byte that it answers; then drains it and says whether every promise was kept.

usage: cargo run --release --example demo -- [flags]

  --clients N     honest clients, from 1 to 10000 (1000)
  --hostile F     factor on every hostile crowd, from 0 (none) to 10 (1): 500 slowloris dribblers, 200
                  that never speak, 20 that never read, 2000 connects a second from one address;
                  no crowd connects more than twice as fast for it
  --seconds S     length of the run before the drain, from 2 to 3600 (12)
  --seed N        what the lines and pauses follow from (1)
  --unprotected   the control: the pool's protections are off, and the run has to fail
  --json          the last line of the output is one JSON object
  --help          this text

exit code: 0 if every promise was kept, 1 if not, 2 if the arguments are wrong
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(String::from)).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn a_plan_comes_back_from_its_flags() {
        let plan = Plan { clients: 7, hostile: 0.25, seconds: 3, seed: 9, unprotected: true };
        for role in [Role::Server, Role::Idle(5), Role::Driver("127.0.0.1:80".parse().unwrap())] {
            let flags = [plan.flags(), role.flags()].concat().join(" ");
            let options = parse(&flags).unwrap();
            assert_eq!((options.plan, options.role), (plan.clone(), role));
        }
    }

    #[test]
    fn a_wrong_argument_is_named_with_its_value_and_bound() {
        for (line, said) in [
            ("--clients 0", "--clients is 0, must be from 1 to 10000"),
            ("--hostile NaN", "--hostile is NaN, must be from 0 to 10"),
            ("--hostile=-1", "--hostile is -1, must be from 0 to 10"),
            ("--seconds", "--seconds is without a value, must be from 2 to 3600"),
            ("--json=yes", "--json is yes, must be given without a value"),
            ("--role boss", "--role is boss, must be left to the program itself"),
        ] {
            assert_eq!(parse(line), Err(said.into()), "{line}");
        }
        assert!(parse("--fast").unwrap_err().starts_with("--fast is unknown"));
    }

    #[test]
    fn the_pool_is_smaller_than_the_crowds_together() {
        for hostile in [0.001, 0.1, 1.0, 10.0] {
            let plan = Plan { hostile, ..Plan::default() };
            let all: u32 = Crowd::ALL.map(|crowd| plan.clients(crowd)).iter().sum();
            assert!(plan.max_connections() < all, "{hostile}");
        }
        let peaceful = Plan { hostile: 0.0, ..Plan::default() };
        assert_eq!(peaceful.max_connections(), 1_125);
    }
}
