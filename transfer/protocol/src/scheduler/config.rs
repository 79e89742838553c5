//! Limits and times of a scheduler.

use std::time::Duration;

/// Limits of a scheduler. `ARCHITECTURE.md` says where the defaults come from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes in flight in all. Default 64 MiB; 8 MiB suits a machine with little memory.
    pub max_inflight: u64,
    /// Bytes in flight of one peer before anything is known of it. Default 128 KiB: one chunk.
    pub first_window: u64,
    /// The least window of a peer, in bytes. Default 128 KiB: one chunk.
    pub min_window: u64,
    /// The largest window of a peer, in bytes. Default 16 MiB.
    pub max_window: u64,
    /// The most bytes of one request. Default 1 MiB.
    pub max_request: u64,
    /// The shortest time that a window is to cover. Default 250 ms.
    pub horizon: Duration,
    /// The longest time that a window is to cover. Default 2 s.
    pub max_horizon: Duration,
    /// How long a peer that has never delivered may take. Default 5 s.
    pub first_timeout: Duration,
    /// The shortest time after which a silent peer counts as stalled. Default 2 s.
    pub min_timeout: Duration,
    /// The longest such time. Default 15 s.
    pub max_timeout: Duration,
    /// Peers that are used at a time. Default 128. One more takes the place of one that disappointed, or is not used.
    pub max_peers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_inflight: 64 << 20,
            first_window: 128 << 10,
            min_window: 128 << 10,
            max_window: 16 << 20,
            max_request: 1 << 20,
            horizon: Duration::from_millis(250),
            max_horizon: Duration::from_secs(2),
            first_timeout: Duration::from_secs(5),
            min_timeout: Duration::from_secs(2),
            max_timeout: Duration::from_secs(15),
            max_peers: 128,
        }
    }
}
