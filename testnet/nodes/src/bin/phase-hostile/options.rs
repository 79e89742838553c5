//! The command line of `phase-hostile`.

use std::path::PathBuf;

use clap::Parser;
use phase_cli::{EXIT_CODES, NodeArgs};
use phase_node::Multiaddr;
use phase_scenario::Harm;

/// Serves a store with malice, to see what others do about it
///
/// It announces what is in the store and answers every question about releases as a provider does; what it does to chunks
/// is told with --harm. What it has spoilt is printed as JSON, one document per line.
#[derive(Parser)]
#[command(name = "phase-hostile", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// The store whose releases it says it has
    #[arg(long, value_name = "DIR", env = "PHASE_STORE")]
    pub(crate) store: PathBuf,
    /// corrupt: one bit of each chunk is wrong; stall: nothing comes; lie: every chunk is missing after all; drip: a few
    /// bytes a second; oversize: headers announce more than a chunk may have
    #[arg(long, value_name = "KIND")]
    pub(crate) harm: Harm,
    /// Address to serve on; repeatable
    #[arg(long, value_name = "ADDR", default_value = "/ip4/0.0.0.0/tcp/4001")]
    pub(crate) listen: Vec<Multiaddr>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Log more; twice: much more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}
