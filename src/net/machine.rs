//! What the machine is set to, read from where the kernel shows it.

use std::fs;

/// Whether the kernel answers a flood of SYNs with cookies; `None` where it does not say.
pub(crate) fn syn_cookies() -> Option<bool> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").ok()?;
    text.trim().parse::<u8>().ok().map(|value| value != 0)
}

/// The longest backlog that the kernel gives; the default of Linux since 5.4 where it does not say.
pub(crate) fn longest_backlog() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().unwrap_or(4096)
}
