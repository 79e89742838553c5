//! The configuration of a download.

use std::time::Duration;

use phase_protocol::scheduler::{self, Order};

/// The configuration of a download.
#[derive(Clone, Debug)]
pub struct Config {
    /// Windows, limits and timeouts of the scheduler.
    pub scheduler: scheduler::Config,
    /// The limit on artifacts that are fetched at a time. Each of these artifacts occupies a file descriptor, and
    /// memory for its index. Default: 64.
    pub max_active: usize,
    /// The download fails after this time without progress. Progress is a verified chunk, or the end of a job that
    /// opens or finishes artifacts. Default: 60 s.
    pub give_up_after: Duration,
    /// The time between two checkpoints. Chunks that were written after the last checkpoint may be lost in a power cut.
    /// Default: 500 ms.
    pub checkpoint: Duration,
    /// The order in which chunks are requested. Default: rarest first.
    pub order: Order,
    /// The RNG seed. Default: `None`, which draws a new seed for each download. So clients that start together request
    /// chunks in different orders.
    pub seed: Option<u64>,
}

impl Config {
    /// Returns the configuration for a machine with little RAM: at most 8 MiB inflight, and at most 16 artifacts at a
    /// time.
    pub fn small() -> Self {
        let scheduler = scheduler::Config {
            max_inflight: 8 << 20,
            max_window: 4 << 20,
            max_request: 512 << 10,
            ..scheduler::Config::default()
        };
        Self { scheduler, max_active: 16, ..Self::default() }
    }

    /// Requests the chunks from the first to the last, and none that begins more than `max_ahead` bytes after the first
    /// chunk that is not verified. This is for content that is used in order while it is fetched.
    #[must_use]
    pub fn in_order(self, max_ahead: u64) -> Self {
        let scheduler = scheduler::Config { max_ahead: Some(max_ahead), ..self.scheduler };
        Self { scheduler, order: Order::Sequential, ..self }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // This limit is lower than the default of the scheduler, because inflight bytes that arrive faster than the
            // disk can write wait in memory.
            scheduler: scheduler::Config { max_inflight: 12 << 20, ..scheduler::Config::default() },
            max_active: 64,
            give_up_after: Duration::from_secs(60),
            checkpoint: Duration::from_millis(500),
            order: Order::default(),
            seed: None,
        }
    }
}
