//! The figures of one run.

use std::fmt;

use serde::Serialize;

/// The outcome of one run. Times are in seconds of virtual time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The seed that replays it.
    pub seed: u64,
    /// Clients that were to finish: those that did not get lost.
    pub clients: u32,
    /// Clients that did.
    pub finished: u32,
    /// The size of the artifact in bytes.
    pub size: u64,
    /// Its chunks.
    pub chunks: u32,
    /// The shortest time in which any scheme could finish.
    pub t_min: f64,
    /// When half of the clients had finished.
    pub p50: Option<f64>,
    /// When 99 % had.
    pub p99: Option<f64>,
    /// When all had.
    pub last: Option<f64>,
    /// Bytes that seeds sent, as copies of the artifact.
    pub seed_copies: f64,
    /// Chunks that came twice, as part of all that were needed.
    pub duplicates: f64,
    /// Chunks that were taken from one peer and given to another.
    pub reassigned: u64,
    /// Chunks of these that were taken from a slow peer by one with nothing to do.
    pub stolen: u64,
    /// Times that a peer counted as stalled.
    pub stalls: u64,
    /// Times that a client banned a peer.
    pub bans: u64,
    /// Events that were simulated.
    pub events: u64,
    /// When each client that did had finished, sorted.
    pub finish_times: Vec<f64>,
    /// What clients had in the course of time: about a hundred points.
    pub samples: Vec<Sample>,
}

/// What clients had verified at a point of time, as parts of the artifact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// When.
    pub at: f64,
    /// What the client with the least had.
    pub least: f64,
    /// What they had on average.
    pub mean: f64,
    /// What the client with the most had.
    pub most: f64,
}

impl Report {
    /// Whether every client has everything.
    pub fn is_complete(&self) -> bool {
        self.finished == self.clients
    }

    /// When the last client had finished, as a multiple of the shortest possible time.
    pub fn ratio(&self) -> Option<f64> {
        self.last.map(|last| last / self.t_min)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Option<f64>| match time {
            Some(time) => format!("{time:8.3} s   {:5.2} x T_min", time / self.t_min),
            None => "       —".to_owned(),
        };
        let Self { seed, clients, finished, size, chunks, .. } = self;
        writeln!(f, "seed {seed}: {finished} of {clients} clients have all {chunks} chunks of {size} bytes")?;
        writeln!(f, "  T_min       {:8.3} s", self.t_min)?;
        writeln!(f, "  p50         {}", time(self.p50))?;
        writeln!(f, "  p99         {}", time(self.p99))?;
        writeln!(f, "  last        {}", time(self.last))?;
        writeln!(f, "  seeds sent  {:8.2} copies", self.seed_copies)?;
        writeln!(f, "  duplicates  {:8.2} %", self.duplicates * 100.0)?;
        write!(f, "  reassigned  {:8} chunks, {} stalls, {} bans", self.reassigned, self.stalls, self.bans)
    }
}
