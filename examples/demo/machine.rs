//! What the machine gives this process: descriptors, memory, processor time. As Linux tells it under `/proc/self`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

/// Descriptors that are open now.
pub(crate) fn open_descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// Sees to it that this process and those it starts may have as many as are `needed`, and as are `wanted` if that can
/// be. Says how many they may have.
///
/// Many systems start programs with a limit of 1,024 and a far higher one up to which they may raise it. A shell can,
/// without a system call of ours: the program starts itself anew through one, and comes here again.
pub(crate) fn make_room_for_descriptors(needed: u64, wanted: u64) -> io::Result<u64> {
    let (soft, hard) = limits()?;
    let enough = needed.max(wanted).min(hard);
    if enough < needed {
        return Err(io::Error::other(format!(
            "{needed} file descriptors are needed and the hard limit is {hard}: raise it, or take fewer --clients \
             and less of --hostile"
        )));
    }
    if soft >= enough {
        return Ok(soft);
    }
    let raised = format!("ulimit -S -n {enough} && exec \"$0\" \"$@\"");
    Err(Command::new("sh").arg("-c").arg(raised).arg(env::current_exe()?).args(env::args_os().skip(1)).exec())
}

/// Bytes that this process shares with no other.
pub(crate) fn private_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let private = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    match (private("Private_Clean:"), private("Private_Dirty:")) {
        (Some(clean), Some(dirty)) => Ok((clean + dirty) * 1_024),
        _ => Err(io::Error::other("/proc/self/smaps_rollup names no private memory")),
    }
}

/// How long this thread could have run and had to wait for a processor, since it began; 0 where the kernel does not
/// keep account of it.
pub(crate) fn waited_for_processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// The soft and the hard limit.
fn limits() -> io::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/limits")?;
    parse(&text).ok_or_else(|| io::Error::other("/proc/self/limits names no limit of open files"))
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace();
    let mut next = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 unlimited            files     \n";
        assert_eq!(parse(text), Some((1_024, u64::MAX)));
        assert_eq!(parse("Max open files 1"), None);
    }
}
