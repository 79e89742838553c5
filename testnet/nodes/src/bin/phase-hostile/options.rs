//! The command line of `phase-hostile`.

use std::path::PathBuf;

use clap::Parser;
use phase_cli::{EXIT_CODES, NodeArgs};
use phase_node::Multiaddr;
use phase_scenario::HostileKind;

/// Serves a store but answers chunk requests harmfully, to test how other nodes react
///
/// The node announces the releases in its store and answers requests about them like a provider. --harm selects its
/// answers to chunk requests. The program prints the number of harmful answers as JSON, one object per line.
#[derive(Parser)]
#[command(name = "phase-hostile", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// The store whose releases the node announces
    #[arg(long, value_name = "DIR", env = "PHASE_STORE")]
    pub(crate) store: PathBuf,
    /// How chunk requests are answered. corrupt: one bit of each chunk is wrong; stall: no reply is sent; lie: every
    /// request is refused, as if the chunks were missing; drip: chunks are sent at 256 bytes per second; oversize:
    /// headers announce more bytes than the protocol permits
    #[arg(long, value_name = "KIND")]
    pub(crate) harm: HostileKind,
    /// Address to listen on; repeatable
    #[arg(long, value_name = "ADDR", default_value = "/ip4/0.0.0.0/tcp/4001")]
    pub(crate) listen: Vec<Multiaddr>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Log more; twice: log much more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}
