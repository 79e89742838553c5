//! The RAM profile: how much memory a fetch may use.

use std::fmt;

use clap::ValueEnum;
use phase_transfer::download;

/// A RAM profile: how much memory a fetch may use for chunks that are inflight. Indexes and connections need a few MiB
/// more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RamProfile {
    /// At most 12 MiB in flight: enough for 1 Gbit/s at a round trip of 100 ms
    #[default]
    Normal,
    /// At most 8 MiB in flight, for an initramfs: enough for 1 Gbit/s at a round trip of 60 ms
    Small,
}

impl RamProfile {
    /// Returns the download configuration for this profile.
    pub fn config(self) -> download::Config {
        match self {
            Self::Normal => download::Config::default(),
            Self::Small => download::Config::small(),
        }
    }
}

impl fmt::Display for RamProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Small => "small",
        })
    }
}
