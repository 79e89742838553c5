//! The command line of the parent process.

use std::path::PathBuf;

use phase_units::{Size, parse_size};

use crate::contender::{Contender, RamProfile, Transport};

/// The command line options of the parent process.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Number of times that each contender fetches the file.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Size of the file, for example 1GiB or 256MiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    pub(crate) size: Size,
    /// Folder for the file, the stores and the results. Needs free space of twice the size. Should be a tmpfs, because
    /// a disk would limit the speed.
    #[arg(long, default_value = "/dev/shm")]
    pub(crate) dir: PathBuf,
    /// Transport that all contenders use.
    #[arg(long, value_enum, default_value_t = Transport::Tls)]
    pub(crate) transport: Transport,
    /// Contenders, separated by commas. `phase` is a Phase fetch. `bare-STREAMSxCONNECTIONS` is the bare pipeline over
    /// Phase's transport. `stock-STREAMSxCONNECTIONS` is the bare pipeline over libp2p's unchanged transport. The ratio
    /// is printed only for `phase` with at least one other contender.
    #[arg(long, value_delimiter = ',', default_value = "stock-1,bare-1,bare-2,phase")]
    pub(crate) contenders: Vec<Contender>,
    /// RAM profile of the Phase client.
    #[arg(long, value_enum, default_value_t = RamProfile::Normal)]
    pub(crate) memory: RamProfile,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
}
