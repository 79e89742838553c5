//! How much memory a fetch may take.

use std::fmt;

use clap::ValueEnum;
use phase_transfer::download;

/// How much memory a fetch may take. What it takes beyond this for indexes and peers is a few MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RamProfile {
    /// At most 12 MiB on their way: enough for 1 Gbit/s over 100 ms
    #[default]
    Normal,
    /// At most 8 MiB on their way, for an initramfs: enough for 1 Gbit/s over 60 ms
    Small,
}

impl RamProfile {
    /// How a download keeps to it.
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
