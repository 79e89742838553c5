//! The report of one simulated run.

use std::fmt;

use serde::Serialize;

/// The figures of one run. Times are in seconds of virtual time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The RNG seed, with which the run can be repeated.
    pub seed: u64,
    /// The number of clients that must finish. Clients that were killed before they finished do not count.
    pub clients: u32,
    /// The number of clients that finished.
    pub finished: u32,
    /// The size of the artifact in bytes.
    pub size: u64,
    /// The number of chunks of the artifact.
    pub chunks: u32,
    /// T_min: no schedule could finish in less time.
    pub t_min: f64,
    /// The time at which half of the clients had finished, or `None` if fewer finished.
    pub p50: Option<f64>,
    /// The time at which 99 % of the clients had finished, or `None` if fewer finished.
    pub p99: Option<f64>,
    /// The time at which all clients had finished, or `None` if fewer finished.
    pub last: Option<f64>,
    /// The bytes that seeds sent, divided by the size of the artifact.
    pub seed_copies: f64,
    /// The number of received chunks that the client had already verified, divided by the number of verified chunks.
    pub duplicates: f64,
    /// The number of chunks that were requested but not delivered, so that they were missing again.
    pub reassigned: u64,
    /// The number of reassigned chunks whose request was recalled from a slow peer, so that a faster peer can be asked.
    pub stolen: u64,
    /// The number of times that a peer of a client stalled.
    pub stalls: u64,
    /// The number of times that a client banned a peer.
    pub bans: u64,
    /// The number of simulated events.
    pub events: u64,
    /// The sorted finish times of all clients that finished.
    pub finish_times: Vec<f64>,
    /// How much of the artifact the clients had verified, at regular times. A run longer than T_min has 100 to 200
    /// samples.
    pub samples: Vec<Sample>,
}

/// A sample: how much of the artifact the live clients had verified at a given time. 1 is the whole artifact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// The time of the sample, in seconds of virtual time.
    pub at: f64,
    /// The smallest part of the artifact that a client had verified.
    pub least: f64,
    /// The mean part of the artifact that the clients had verified.
    pub mean: f64,
    /// The largest part of the artifact that a client had verified.
    pub most: f64,
}

impl Report {
    /// Whether every client that must finish has finished.
    pub fn is_complete(&self) -> bool {
        self.finished == self.clients
    }

    /// Returns the time at which all clients had finished, as a multiple of T_min. `None` if a client did not finish.
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
        writeln!(
            f,
            "RNG seed {seed}: {finished} of {clients} clients finished; artifact: {size} bytes, {chunks} chunks"
        )?;
        writeln!(f, "  T_min       {:8.3} s", self.t_min)?;
        writeln!(f, "  p50         {}", time(self.p50))?;
        writeln!(f, "  p99         {}", time(self.p99))?;
        writeln!(f, "  last        {}", time(self.last))?;
        writeln!(f, "  seeds sent  {:8.2} copies", self.seed_copies)?;
        writeln!(f, "  duplicates  {:8.2} %", self.duplicates * 100.0)?;
        writeln!(f, "  reassigned  {:8} chunks", self.reassigned)?;
        writeln!(f, "  stalls      {:8}", self.stalls)?;
        write!(f, "  bans        {:8}", self.bans)
    }
}
