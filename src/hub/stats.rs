//! What a hub did and what it holds, as plain numbers: whoever calls it tells the metrics, a few times a second.

use super::Hub;

/// What a hub did since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Frames handed to receivers' sockets or backlogs.
    pub deliveries: u64,
    /// Frames dropped because a receiver was slow and they were ephemeral.
    pub dropped: u64,
    /// System calls that wrote.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Flush passes over a room.
    pub passes: u64,
    /// Pings put behind what was written.
    pub pings: u64,
    /// Connections closed because they were slow.
    pub slow_consumers: u64,
    /// Bytes read.
    pub received: u64,
}

/// What a hub holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Rooms with anyone live, or with anything unwritten.
    pub rooms: usize,
    /// Rooms of each connection, summed.
    pub memberships: usize,
    /// Bytes that wait for sockets which are full.
    pub waiting_bytes: usize,
    /// Connections for which something waits.
    pub waiting_connections: usize,
}

impl Hub {
    /// What was done since the last call.
    pub fn take_stats(&mut self) -> Stats {
        std::mem::take(&mut self.stats)
    }

    /// Adds what a connection's own task did.
    pub fn add_stats(&mut self, stats: &Stats) {
        self.stats.writes += stats.writes;
        self.stats.bytes += stats.bytes;
        self.stats.received += stats.received;
    }

    /// What there is: for metrics.
    pub fn usage(&self) -> Usage {
        let backlogs = self.connections.iter().filter_map(|(_, connection)| connection.backlog.as_ref());
        let none = Usage { rooms: self.by_id.len(), memberships: self.memberships, ..Usage::default() };
        backlogs.fold(none, |usage, backlog| Usage {
            waiting_bytes: usage.waiting_bytes + backlog.bytes(),
            waiting_connections: usage.waiting_connections + 1,
            ..usage
        })
    }
}
