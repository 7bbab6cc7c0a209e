//! What a pool says of itself when it starts: its limits, and where the machine's contradict them.

use super::config::Config;
use crate::net::{machine, sys};

/// Logs one line with the limits, and a warning for each limit of the machine that is too small for them.
pub(super) fn announce(config: &Config) {
    let descriptors = sys::descriptor_limit().ok().flatten();
    let shown = descriptors.map_or_else(|| "none".into(), |limit| limit.to_string());
    log::info!("socketpool {}: {config} fd_limit={shown}", env!("CARGO_PKG_VERSION"));
    for warning in contradictions(config, descriptors, machine::syn_cookies()) {
        log::warn!("{warning}");
    }
}

/// Where the machine cannot give what the limits promise.
fn contradictions(config: &Config, descriptors: Option<u64>, syn_cookies: Option<bool>) -> Vec<String> {
    let mut found = Vec::new();
    let wanted = u64::from(config.max_connections) + OTHER_DESCRIPTORS;
    if let Some(limit) = descriptors
        && limit < wanted
    {
        found.push(format!(
            "max_connections is {} but this process may open {limit} descriptors; raise RLIMIT_NOFILE to {wanted} or \
             more, or expect newcomers to wait",
            config.max_connections
        ));
    }
    if syn_cookies == Some(false) {
        found.push(
            "net.ipv4.tcp_syncookies is 0: a flood of SYNs keeps clients out before any pool sees them"
                .to_owned(),
        );
    }
    found
}

/// What a process needs besides: standard streams, poller, wakers, listeners, log files.
const OTHER_DESCRIPTORS: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_suits_is_not_complained_about() {
        let config = Config::default();
        assert_eq!(contradictions(&config, Some(20_000), Some(true)), Vec::<String>::new());
        assert_eq!(contradictions(&config, None, None), Vec::<String>::new());
    }

    #[test]
    fn too_few_descriptors_are_named_with_both_numbers() {
        let found = contradictions(&Config::default(), Some(1024), Some(true));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("10000") && found[0].contains("1024") && found[0].contains("10016"),
            "{found:?}"
        );
    }

    #[test]
    fn missing_syn_cookies_are_named() {
        let found = contradictions(&Config::default(), None, Some(false));
        assert!(found[0].contains("tcp_syncookies"), "{found:?}");
    }
}
