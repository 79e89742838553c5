//! `phase dht`: questions to the DHT itself. Every subcommand joins as a client, asks, shows what came, and leaves.

mod closest;
mod distance;
mod get;
mod ping;
mod put;
mod records;
mod routing;
mod stats;
mod values;

use clap::Subcommand;
use phase_cli::{EXIT_CODES, Fault, NodeArgs};
use phase_core::{DhtKey, DhtKeyError};
use phase_node::PeerId;

use crate::output::Output;
use crate::providers;

const KEYS: &str = "\
A KEY is one of
  stable/x86_64                   a name: its pointer records, and who provides the release
  bafyr4i…                        the CID of a manifest or artifact: who provides it
  contact:12D3KooW…               where a node says it is
  authority:<key id>              what a publisher's key says it signs for
  record:<key id>/<label>         a value of another application
A name stands under three keys of the DHT, and each of them is asked.";

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

/// A key, for clap. Whether a contact's peer id is one, the data model cannot tell.
fn parse_key(text: &str) -> Result<DhtKey, String> {
    let key: DhtKey = text.parse().map_err(|error: DhtKeyError| error.to_string())?;
    match &key {
        DhtKey::Contact(peer) if peer.as_str().parse::<PeerId>().is_err() => {
            Err(format!("{peer:?} is not a peer id: expected for instance 12D3KooW…", peer = peer.as_str()))
        }
        _ => Ok(key),
    }
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
