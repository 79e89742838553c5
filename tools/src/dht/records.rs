//! `phase dht contact` and `phase dht authority`: find the records in which nodes and publishers describe themselves.

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, counted};
use phase_core::time::TrustedTime;
use phase_core::{Attempt, Failure, KeyId};
use phase_node::PeerId;
use serde_json::{Value, json};

use crate::output::Output;
use crate::{network, view};

const CONTACT_EXAMPLES: &str = "\
Examples:
  phase dht contact \"$(phase dht ping /ip4/127.0.0.1/tcp/4001 --json | jq -r '.[0].peer')\" \\
      --bootstrap /ip4/127.0.0.1/tcp/4001

The record is signed with the node's identity, whose public key is in the peer id. Connecting verifies it a second time:
only that node can answer at the addresses in the record.";

const AUTHORITY_EXAMPLES: &str = "\
Examples:
  phase dht authority \"$(phase key show publisher.key --json | jq -r .key_id)\" --bootstrap /ip4/127.0.0.1/tcp/4001

The record is signed with the key itself and lists the names that the key claims to sign for. A client accepts the key
only if its trust root lists it.";

#[derive(clap::Args)]
#[command(after_help = CONTACT_EXAMPLES, after_long_help = format!("{CONTACT_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct ContactArgs {
    /// The peer id of the node
    #[arg(value_parser = cli::parse_peer_id)]
    peer: PeerId,
    /// Do not connect to the node
    #[arg(long)]
    no_connect: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(clap::Args)]
#[command(after_help = AUTHORITY_EXAMPLES, after_long_help = format!("{AUTHORITY_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct AuthorityArgs {
    /// The key id, as `phase key show` prints it
    #[arg(value_name = "KEY ID")]
    key: KeyId,
    #[command(flatten)]
    node: NodeArgs,
}

pub(super) fn contact(args: &ContactArgs, output: &Output) -> Result<(), Fault> {
    let (found, verified) = network::ask_dht(&args.node, async |node| {
        let found = node.find_contact(args.peer, TrustedTime(cli::now())).await?;
        let verified = match args.no_connect {
            true => None,
            false => Some(node.verify_contact(&found.record).await),
        };
        Ok((found, verified))
    })?;
    let reachable = match &verified {
        None => Value::Null,
        Some(answer) => answer.is_ok().into(),
    };
    output.result(
        || {
            let mut json = view::contact_json(&found.record);
            json["holders"] = found.holders.into();
            json["reachable"] = reachable;
            json["search"] = network::json_report(&found.report);
            json
        },
        || {
            let answer = match &verified {
                None => "not tried (--no-connect)",
                Some(Ok(())) => "yes",
                Some(Err(_)) => "no",
            };
            let record = view::contact_text(&found.record);
            format!("{record}\nstored by  {}\nreachable  {answer}", counted(found.holders, "node", "nodes"))
        },
    )?;
    match verified {
        Some(Err(error)) => {
            let message = "the peer does not answer at the addresses in its contact record";
            Err(Fault::new(Failure::Network, message).attempts(vec![Attempt::new(args.peer, error.causes())]))
        }
        _ => Ok(()),
    }
}

pub(super) fn authority(args: &AuthorityArgs, output: &Output) -> Result<(), Fault> {
    let found =
        network::ask_dht(&args.node, async |node| Ok(node.find_authority(args.key, TrustedTime(cli::now())).await?))?;
    output.result(
        || {
            let mut json = view::authority_json(&found.record);
            json["holders"] = found.holders.into();
            json["search"] = json!(network::json_report(&found.report));
            json
        },
        || {
            let nodes = counted(found.holders, "node", "nodes");
            format!("{}\nstored by  {nodes}", view::authority_text(&found.record))
        },
    )
}
