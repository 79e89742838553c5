//! `phase dht`: questions to the DHT itself. Every subcommand joins as a client, asks, shows what came, and leaves.

mod closest;
mod distance;
mod get;
mod key;
mod ping;
mod put;
mod records;
mod routing;
mod stats;
mod values;

use clap::Subcommand;
use phase_cli::{EXIT_CODES, Fault, NodeArgs};
use phase_core::DhtKey;

use crate::output::Output;
use crate::providers;
use key::{KEYS, parse_key};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show every value that the DHT holds under a key, who holds it, and whether it verifies
    Get(get::Args),
    /// Sign a value and put it under record:KEY_ID/LABEL
    Put(put::Args),
    /// Show who provides a name, manifest or artifact, and whether they can be reached
    Providers(ProvidersArgs),
    /// Show the nodes closest to a key or peer, the closest first
    Closest(closest::Args),
    /// Show the routing table that a node which joins now gets
    Peers(routing::Args),
    /// Connect to peers, and measure the time to them and back
    Ping(ping::Args),
    /// Show figures about the DHT: its size, how long a lookup takes
    Stats(stats::Args),
    /// Find where a node says it is, and whether it answers there
    Contact(records::ContactArgs),
    /// Find which names a publisher's key says it signs for, and where they are served
    Authority(records::AuthorityArgs),
}

#[derive(clap::Args)]
#[command(after_help = KEYS, after_long_help = format!("{KEYS}\n\n{EXIT_CODES}"))]
pub(crate) struct ProvidersArgs {
    /// A name, or the CID of a manifest or artifact
    #[arg(value_parser = parse_key)]
    key: DhtKey,
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::Get(args) => get::run(&args, output),
        Command::Put(args) => put::run(&args, output),
        Command::Providers(args) => providers::run_in_dht(&args.key, &args.node, output),
        Command::Closest(args) => closest::run(&args, output),
        Command::Peers(args) => routing::run(&args, output),
        Command::Ping(args) => ping::run(&args, output),
        Command::Stats(args) => stats::run(&args, output),
        Command::Contact(args) => records::contact(&args, output),
        Command::Authority(args) => records::authority(&args, output),
    }
}
