//! The command line of the parent.

use std::path::PathBuf;

use phase_units::{Size, parse_size};

use crate::contender::{Contender, Memory, Transport};

/// What is compared, how often and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each contender fetches the file.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// The size of the file, for instance 1GiB or 256MiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    pub(crate) size: Size,
    /// Where the file, the stores and the results are kept: twice the size. A tmpfs, or the disk decides.
    #[arg(long, default_value = "/dev/shm")]
    pub(crate) dir: PathBuf,
    /// What both contenders run over.
    #[arg(long, value_enum, default_value_t = Transport::Tls)]
    pub(crate) transport: Transport,
    /// Who fetches: phase; `bare-STREAMSxCONNECTIONS`, the pipeline over Phase's own transport; `stock-…`, over
    /// libp2p's as it comes. The ratio needs Phase and another one
    #[arg(long, value_delimiter = ',', default_value = "stock-1,bare-1,bare-2,phase")]
    pub(crate) contenders: Vec<Contender>,
    /// How much memory the Phase client may use.
    #[arg(long, value_enum, default_value_t = Memory::Normal)]
    pub(crate) memory: Memory,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
}
