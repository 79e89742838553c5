//! What runs scenarios, and within which bounds.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What runs scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Swarms in virtual time.
    Simulator,
    /// Real nodes in containers.
    Containers,
}

/// What is wrong with a scenario: the key of a scenario file, and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {cause}")]
pub struct Problem {
    /// The key with its section: `clients.spread`.
    pub key: String,
    /// Its value and the range, or what contradicts it.
    pub cause: String,
}

/// The bounds of an engine.
pub(crate) struct Limits {
    /// The most nodes in all.
    pub(crate) nodes: u32,
    /// The most bytes of all artifacts together.
    pub(crate) size: u64,
    /// What a link may carry, in bytes per second.
    pub(crate) rates: RangeInclusive<f64>,
    /// The longest way from node to node.
    pub(crate) latency: Duration,
    /// The most events.
    pub(crate) events: usize,
    /// Nothing happens later than this.
    pub(crate) event_time: Duration,
    /// The least part of its rate that a slow node keeps.
    pub(crate) slowest: f64,
}

/// Beyond these numbers of nodes and bytes a run takes more than minutes and some gigabytes. At the highest rate a chunk takes
/// 0.1 µs. With a longer latency every answer comes too late. A run is given up after four hours. A node that sends less than
/// the least part of its rate is frozen rather than slow.
const SIMULATOR: Limits = Limits {
    nodes: 20_000,
    size: 16 << 30,
    rates: 1.0..=1e12,
    latency: Duration::from_secs(10),
    events: 10_000,
    event_time: Duration::from_secs(4 * 3600),
    slowest: 1e-6,
};

/// A small network has so many addresses, and all clients keep what they fetch in memory or on one disk. At a lower rate a
/// chunk takes minutes; at a higher one the machine is the limit. With a longer latency peers give each other up, since they
/// wait for answers for some seconds.
const CONTAINERS: Limits = Limits {
    nodes: 250,
    size: 4 << 30,
    rates: 10e3..=1.25e9,
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

    /// An error for a key that this engine does not know and the other one does.
    pub(crate) fn lacks(self, key: &str) -> Problem {
        let other = match self {
            Self::Simulator => Self::Containers,
            Self::Containers => Self::Simulator,
        };
        Problem::new(key, format!("is for {other} alone: {self} cannot run it"))
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
