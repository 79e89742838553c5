//! The engines that run scenarios, and the limits of each.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What runs a scenario: the simulator or the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The simulator, which runs simulated nodes in virtual time.
    Simulator,
    /// The lab, which runs real nodes in containers.
    Containers,
}

/// An error in a scenario: the wrong key of the scenario file, and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {cause}")]
pub struct Problem {
    /// The wrong key with its section, such as `clients.spread`.
    pub key: String,
    /// The cause, as the end of a sentence that begins with the key: `is 0, but must be from 1 to 250`.
    pub cause: String,
}

/// The limits within which an engine can run a scenario.
pub(crate) struct Limits {
    /// The maximum number of nodes of all kinds together.
    pub(crate) nodes: u32,
    /// The maximum size of all artifacts together, in bytes.
    pub(crate) size: u64,
    /// The permitted range of the upload rate and the download rate of a node, in bytes per second.
    pub(crate) rates: RangeInclusive<f64>,
    /// The maximum one-way latency between two nodes.
    pub(crate) latency: Duration,
    /// The maximum number of events.
    pub(crate) events: usize,
    /// The latest permitted time of an event, counted from the start of the run.
    pub(crate) event_time: Duration,
    /// The smallest factor by which an event may multiply the upload rate of a node.
    pub(crate) slowest: f64,
}

/// The limits of the simulator.
const SIMULATOR: Limits = Limits {
    // With more nodes or bytes, a run would take longer than some minutes, or more than a few gigabytes of RAM.
    nodes: 20_000,
    size: 16 << 30,
    // At the highest rate, an average chunk (128 KiB) is sent in about 0.1 µs.
    rates: 1.0..=1e12,
    // With a longer latency, most round trips would exceed the timeout of a peer, which is at most 15 s.
    latency: Duration::from_secs(10),
    events: 10_000,
    // No run is longer than this.
    event_time: Duration::from_secs(4 * 3600),
    // With a smaller factor, a node would be frozen rather than slow.
    slowest: 1e-6,
};

/// The limits of the lab.
const CONTAINERS: Limits = Limits {
    // A /24 network has about 250 addresses.
    nodes: 250,
    // All clients store the artifacts in RAM or on one disk.
    size: 4 << 30,
    // At a lower rate, an average chunk (128 KiB) would take more than 13 s. At a higher rate, the machine would be the
    // bottleneck.
    rates: 10e3..=1.25e9,
    // With a longer latency, a round trip would exceed the shortest timeout of a peer, which is 2 s.
    latency: Duration::from_secs(1),
    events: 1000,
    event_time: Duration::from_secs(3600),
    slowest: 0.001,
};

impl Engine {
    pub(crate) fn limits(self) -> &'static Limits {
        match self {
            Self::Simulator => &SIMULATOR,
            Self::Containers => &CONTAINERS,
        }
    }

    /// Returns the error for a key that this engine does not support.
    pub(crate) fn unsupported(self, key: &str) -> Problem {
        let other = match self {
            Self::Simulator => Self::Containers,
            Self::Containers => Self::Simulator,
        };
        Problem::new(key, format!("is for {other} only: {self} cannot run it"))
    }
}

impl Problem {
    pub(crate) fn new(key: &str, cause: impl Into<String>) -> Self {
        Self { key: key.to_owned(), cause: cause.into() }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simulator => "the simulator",
            Self::Containers => "networks of containers",
        })
    }
}
