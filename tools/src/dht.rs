//! `phase dht`: queries to the DHT. Each subcommand joins the DHT in client mode, runs a query, prints the result and
//! leaves. Only `ping` does not join the DHT if all of its targets are addresses.

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
use key::{PROVIDED_KEYS, parse_key};

pub(crate) const EXAMPLES: &str = "\
Examples:
  phase dht get stable/x86_64 --root root.cbor --bootstrap /ip4/127.0.0.1/tcp/4001
  phase dht stats --bootstrap /ip4/127.0.0.1/tcp/4001

The address is that of a provider on this machine: phase-provider serve --store store. Without --bootstrap, peers are
found in the local network.";

const PROVIDERS_EXAMPLES: &str = "\
Examples:
  phase dht providers stable/x86_64 --bootstrap /ip4/127.0.0.1/tcp/4001";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show every value that the DHT stores under a DHT key, the nodes that store it, and whether it verifies
    Get(get::Args),
    /// Sign a value and put it under record:KEY_ID/LABEL
    Put(put::Args),
    /// Show the providers of a name, manifest or artifact, and whether they can be reached
    Providers(ProvidersArgs),
    /// Show the nodes closest to a DHT key or peer id, the closest first
    Closest(closest::Args),
    /// Show the routing table of a node that has just joined
    Peers(routing::Args),
    /// Connect to peers and measure their round-trip times
    Ping(ping::Args),
    /// Show the size of the DHT, the time of a lookup, and this node's counters
    Stats(stats::Args),
    /// Find the addresses that a node has published, and connect to it
    Contact(records::ContactArgs),
    /// Find the names that a publisher's key claims to sign for, and their providers
    Authority(records::AuthorityArgs),
}

#[derive(clap::Args)]
#[command(after_help = format!("{PROVIDERS_EXAMPLES}\n\n{PROVIDED_KEYS}"),
    after_long_help = format!("{PROVIDERS_EXAMPLES}\n\n{PROVIDED_KEYS}\n\n{EXIT_CODES}"))]
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
