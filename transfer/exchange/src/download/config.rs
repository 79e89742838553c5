//! How a download behaves.

use std::time::Duration;

use phase_protocol::scheduler::{self, Order};

/// How a download behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Windows, limits and timeouts of the scheduler.
    pub scheduler: scheduler::Config,
    /// Artifacts fetched at a time. Default 64; each takes a file descriptor, and its index is held in memory.
    pub max_active: usize,
    /// How long to go on without a single verified chunk. Default 60 s.
    pub give_up_after: Duration,
    /// The time between two checkpoints: what a power cut can lose. Default 500 ms.
    pub checkpoint: Duration,
    /// In which order chunks are asked for. Default: the rarest first.
    pub order: Order,
    /// The seed of random choices. Default `None`: another one for each download, so that clients that start together do not
    /// all ask for the same.
    pub seed: Option<u64>,
}

impl Config {
    /// For a machine with little memory: 8 MiB on their way at a time, few artifacts open at once.
    pub fn small() -> Self {
        let scheduler = scheduler::Config {
            max_inflight: 8 << 20,
            max_window: 4 << 20,
            max_request: 512 << 10,
            ..scheduler::Config::default()
        };
        Self { scheduler, max_active: 16, ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // What is in flight may arrive faster than it can be written: then it waits in memory.
            scheduler: scheduler::Config { max_inflight: 12 << 20, ..scheduler::Config::default() },
            max_active: 64,
            give_up_after: Duration::from_secs(60),
            checkpoint: Duration::from_millis(500),
            order: Order::default(),
            seed: None,
        }
    }
}
