//! What is run: the flags, and every size and time that follows from them. Runs nothing itself.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::command_line::{CommandLine, Flag, Wrong};
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

    /// How fast the clients of the crowd may connect, together. The honest all come within the first half second.
    ///
    /// No factor makes the attackers more than twice as busy as usual, only more: else the driver would be what is
    /// measured, for it has no more than a processor, and shares that with the server.
    pub(crate) fn connects_per_second(&self, crowd: Crowd) -> u32 {
        match crowd {
            Crowd::Honest => self.clients.saturating_mul(2).max(1_000),
            Crowd::Dribbler | Crowd::Silent => self.paced(1_000),
            // Each of them is good for megabytes as soon as it is there.
            Crowd::Deaf => self.paced(20),
            Crowd::Flood => self.paced(2_000),
        }
    }

    /// Between two bytes of a dribbler.
    pub(crate) fn dribble_every(&self) -> Duration {
        Duration::from_millis(200).mul_f64((self.hostile / MOST_PACE).max(1.0))
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

    /// Room for every honest client and for half of the attackers that can be there at a time: for all who come before
    /// the large crowds do, but never for all. In peace for an eighth more than every client: one that leaves and comes
    /// back may be there twice until the server has seen it leave.
    pub(crate) fn max_connections(&self) -> u32 {
        let [early, late] = [[Crowd::Silent, Crowd::Deaf].as_slice(), &[Crowd::Dribbler]]
            .map(|crowds| crowds.iter().map(|crowd| self.at_a_time(*crowd)).sum::<u32>());
        let with_spare = |count: u32| count + count.div_ceil(8);
        match early + late {
            0 => with_spare(self.clients),
            hostile => self.clients + hostile.div_ceil(2).max(with_spare(early)).min(hostile - 1),
        }
    }

    /// Attackers of the crowd that the pace at which they come and the time that they may stay allow together.
    fn at_a_time(&self, crowd: Crowd) -> u32 {
        let stay = self.first_message().max(self.write_stall());
        let come = f64::from(self.connects_per_second(crowd)) * stay.as_secs_f64();
        self.clients(crowd).min(come.ceil() as u32)
    }

    /// Short enough to be seen within the run; so is [`write_stall`](Self::write_stall).
    pub(crate) fn first_message(&self) -> Duration {
        Duration::from_secs(3).min(self.run() / 4)
    }

    pub(crate) fn write_stall(&self) -> Duration {
        Duration::from_secs(3).min(self.run() / 4)
    }

    /// Descriptors that the larger of the two processes needs.
    pub(crate) fn descriptors(&self) -> u64 {
        let clients: u32 = Crowd::ALL.map(|crowd| self.clients(crowd)).iter().sum();
        u64::from(clients.max(self.max_connections())) + SPARE_DESCRIPTORS
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

    fn paced(&self, usual: u32) -> u32 {
        (f64::from(usual) * self.hostile.min(MOST_PACE)).ceil() as u32
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
            Self::Driver(server) => vec![format!("--drive={server}")],
            Self::Idle(room) => vec![format!("--idle={room}")],
        }
    }
}

impl Options {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Wrong> {
        let mut options = Self { plan: Plan::default(), role: Role::Server, json: false, help: false };
        let plan = &mut options.plan;
        let mut line = CommandLine::new(arguments);
        while let Some(flag) = line.flag()? {
            let switch = match flag.name.as_str() {
                "--json" => Some(&mut options.json),
                "--unprotected" => Some(&mut plan.unprotected),
                "--help" | "-h" => Some(&mut options.help),
                _ => None,
            };
            if let Some(switch) = switch {
                flag.alone()?;
                *switch = true;
                continue;
            }
            match flag.name.as_str() {
                "--clients" => plan.clients = number(&mut line, &flag, CLIENTS)?,
                "--hostile" => plan.hostile = number(&mut line, &flag, HOSTILE)?,
                "--seconds" => plan.seconds = number(&mut line, &flag, SECONDS)?,
                "--seed" => plan.seed = number(&mut line, &flag, 0..=u64::MAX)?,
                "--drive" => {
                    let address = line.value(&flag, ADDRESS)?;
                    let server = address.parse().map_err(|_| flag.wrong(&address, ADDRESS))?;
                    options.role = Role::Driver(server);
                }
                "--idle" => options.role = Role::Idle(number(&mut line, &flag, 1..=IDLE_CONNECTIONS)?),
                _ => return Err(flag.unknown()),
            }
        }
        Ok(options)
    }
}

fn number<T, I>(line: &mut CommandLine<I>, flag: &Flag, range: RangeInclusive<T>) -> Result<T, Wrong>
where
    T: FromStr + PartialOrd + Display,
    I: Iterator<Item = OsString>,
{
    // Only a fraction can be read from this.
    let kind = if "0.5".parse::<T>().is_ok() { "a number" } else { "a whole number" };
    let bound = format!("{kind} from {} to {}", range.start(), range.end());
    let value = line.value(flag, &bound)?;
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| flag.wrong(&value, &bound))
}

/// Connections that the memory of an idle one is measured with, where there are descriptors for them.
pub(crate) const IDLE_CONNECTIONS: u32 = 2_000;
/// Descriptors of a process that are no connections of its crowds or its pool.
pub(crate) const SPARE_DESCRIPTORS: u64 = 64;
/// Longest line that the server takes, newline included.
pub(crate) const LINE_MAX: usize = 16 << 10;
/// What is not finished by then is ended by force.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// How many times the usual an attack may make of each second.
const MOST_PACE: f64 = 2.0;
const ADDRESS: &str = "the address of a server";
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
                  above 2 there are more attackers, and each does less in a second
  --seconds S     length of the run before the drain, from 2 to 3600 (12)
  --seed N        what the lines and pauses follow from (1)
  --unprotected   the control: the pool's protections are off, and the run has to fail
  --json          the last line of the output is one JSON object
  --help          this text

exit code: 0 if every promise was kept, 1 if not or if it could not be run, 2 if the arguments are
wrong, 130 after Ctrl-C; nothing of it stays behind
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(OsString::from)).map_err(|wrong| wrong.to_string())
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
            ("--clients 0", "--clients is \"0\", must be a whole number from 1 to 10000"),
            ("--hostile NaN", "--hostile is \"NaN\", must be a number from 0 to 10"),
            ("--hostile=-1", "--hostile is \"-1\", must be a number from 0 to 10"),
            ("--seconds", "--seconds has no value, must be a whole number from 2 to 3600"),
            ("--json=yes", "--json is \"yes\", must be without a value"),
            ("--drive away", "--drive is \"away\", must be the address of a server"),
            ("--fast", "--fast is no flag of this program, see --help"),
        ] {
            assert_eq!(parse(line), Err(said.into()), "{line}");
        }
    }

    #[test]
    fn no_factor_makes_the_attackers_busier_than_twice_the_usual() {
        let busy = |hostile| {
            let plan = Plan { hostile, ..Plan::default() };
            let dribbles = f64::from(plan.clients(Crowd::Dribbler)) / plan.dribble_every().as_secs_f64();
            let mut all = Crowd::ALL.map(|crowd| plan.connects_per_second(crowd)).to_vec();
            all.push(dribbles as u32);
            all
        };
        assert_eq!(busy(1.0), [2_000, 1_000, 1_000, 20, 2_000, 2_500]);
        for hostile in [2.0, 5.0, 10.0] {
            assert_eq!(busy(hostile), [2_000, 2_000, 2_000, 40, 4_000, 5_000], "{hostile}");
        }
    }

    #[test]
    fn the_pool_is_smaller_than_the_crowds_together() {
        for hostile in [0.001, 0.1, 1.0, 10.0] {
            let plan = Plan { hostile, ..Plan::default() };
            // The flood does not stay.
            let all: u32 = Crowd::ALL[..4].iter().map(|crowd| plan.clients(*crowd)).sum();
            assert!(plan.max_connections() < all, "{hostile}");
        }
        // So fast that not all of them are ever there.
        let short = Plan { hostile: 10.0, seconds: 2, ..Plan::default() };
        assert_eq!(short.max_connections(), 1_000 + 1_020 + 128);
        let peaceful = Plan { hostile: 0.0, ..Plan::default() };
        assert_eq!(peaceful.max_connections(), 1_125);
    }
}
