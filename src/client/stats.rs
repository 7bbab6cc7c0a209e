//! stand-in
#[derive(Clone, Debug, Default)]
pub struct PoolStats {
    pub total_connections: u32,
    pub idle_connections: u32,
    pub active_connections: u32,
    pub acquires: u64,
}
impl std::fmt::Display for PoolStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PoolMetrics{{ total={}, idle={}, active={}, invalid=0, waiting=0, acquires={}, timeouts=0 }}",
            self.total_connections, self.idle_connections, self.active_connections, self.acquires
        )
    }
}
