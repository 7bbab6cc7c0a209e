//! The command line.

use crate::load::Peers;
use crate::rows::{C_ROWS, ROWS, Row};
use crate::server::Role;
use socketpool_peers::number;
use std::time::Duration;

/// What to measure, and how thoroughly.
#[derive(Debug)]
pub struct Options {
    pub rounds: usize,
    pub time: Duration,
    pub rows: Vec<Row>,
    pub roles: Vec<Role>,
    pub peers: Peers,
    pub server_core: usize,
    pub load_core: usize,
}

impl Options {
    /// `None` when help was asked for.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::full()?;
        let mut words = words.into_iter();
        let mut rows = None;
        while let Some(word) = words.next() {
            let mut argument = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                // What `cargo bench` adds by itself.
                "--bench" => {}
                "--quick" => {
                    options.rounds = QUICK_ROUNDS;
                    options.time = QUICK_TIME;
                }
                "--instructions" => rows = Some(select_rows("instructions")?),
                "--rounds" => options.rounds = number(&word, &argument()?)?,
                "--millis" => options.time = Duration::from_millis(number(&word, &argument()?)?),
                "--only" => match argument()?.as_str() {
                    "c" => {
                        rows = Some(select_rows(C_ROWS)?);
                        options.roles = Role::C.to_vec();
                    }
                    names => rows = Some(select_rows(names)?),
                },
                "--roles" => options.roles = select_roles(&argument()?)?,
                "--addresses" => options.peers = Peers::new(number(&word, &argument()?)?)?,
                "--server-core" => options.server_core = number(&word, &argument()?)?,
                "--load-core" => options.load_core = number(&word, &argument()?)?,
                _ => return Err(format!("unknown option `{word}`; --help lists them")),
            }
        }
        if options.rounds == 0 {
            return Err("--rounds 0: at least one round is needed".into());
        }
        let c_program = options.roles.iter().find(|role| Role::C.contains(role));
        match (rows, c_program) {
            (None, None) => {}
            (None, Some(_)) => options.rows.retain(|row| !row.commands()),
            (Some(rows), _) => options.rows = rows,
        }
        if let (Some(role), Some(row)) = (c_program, options.rows.iter().find(|row| row.commands())) {
            return Err(format!("{role} cannot be told when to do what {} is about", row.name));
        }
        Ok(Some(options))
    }

    fn full() -> Result<Self, String> {
        let mut roles = vec![Role::Raw, Role::Again, Role::Mio];
        if cfg!(feature = "pool") {
            roles.push(Role::Pool);
        }
        Ok(Self {
            rounds: FULL_ROUNDS,
            time: FULL_TIME,
            rows: ROWS.to_vec(),
            roles,
            peers: Peers::new(ADDRESSES)?,
            server_core: 0,
            load_core: 1,
        })
    }
}

pub const HELP: &str = "\
Side-by-side benchmarks of socketpool against a bare epoll server.

  --rounds N        rounds of each timed row (15)
  --millis N        length of one closed loop (400)
  --quick           2 rounds of 100 ms: a look, not a measurement
  --only A,B        only these rows: echo-64 echo-1k echo-10k echo-1k-4kib echo-10k-4kib
                    pipeline churn accept drain memory calls instructions;
                    c: the servers that are C programs, and the rows they can do
  --instructions    the same as --only instructions
  --roles A,B       servers: raw raw-again mio pool pool-off (default: all but the last),
                    in C: c-bare c-bare-again c-loop c-guide c-guide-all c-guide-toggled
  --addresses N     source addresses that clients come from (10000)
  --server-core N   core of the server (0)
  --load-core N     core of the load (1)

Ratios are to `raw` in the same round, or to `c-bare` where all servers are C programs: median (lowest..highest).
The last line is JSON.";

fn select_rows(names: &str) -> Result<Vec<Row>, String> {
    let find = |name| ROWS.iter().find(|row| row.name == name).copied();
    names.split(',').map(|name| find(name).ok_or_else(|| format!("no row is called `{name}`"))).collect()
}

/// A bare server is always the first of them: without it there is nothing to compare with.
fn select_roles(names: &str) -> Result<Vec<Role>, String> {
    let named = names.split(',').map(str::parse).collect::<Result<Vec<Role>, _>>()?;
    let all_in_c = named.iter().all(|role| Role::C.contains(role));
    let mut roles = vec![if all_in_c { Role::CBare } else { Role::Raw }];
    for role in named {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}

const FULL_ROUNDS: usize = 15;
const FULL_TIME: Duration = Duration::from_millis(400);
const QUICK_ROUNDS: usize = 2;
const QUICK_TIME: Duration = Duration::from_millis(100);

/// Every connection of the largest crowd is a peer of its own, the dearest case for per-address bookkeeping.
const ADDRESSES: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn raw_is_measured_even_when_nobody_asks_for_it() {
        let options = parse("--roles mio").unwrap().unwrap();
        assert_eq!(options.roles, [Role::Raw, Role::Mio]);
    }

    #[test]
    fn programs_in_c_are_compared_with_the_bare_one_in_c() {
        let options = parse("--roles c-loop").unwrap().unwrap();
        assert_eq!(options.roles, [Role::CBare, Role::CLoop]);
        let options = parse("--only c").unwrap().unwrap();
        assert_eq!(options.roles, Role::C);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("--rounds", "value"),
            ("--only x", "`x`"),
            ("--rounds 0", "0"),
            ("--what", "--what"),
            ("--only drain --roles c-loop", "drain"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn help_lists_every_row_and_server() {
        for name in ROWS.iter().map(|row| row.name).chain(Role::ALL.map(Role::name)) {
            assert!(HELP.contains(name), "{name}");
        }
    }
}
