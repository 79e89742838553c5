//! `phase dht contact` and `phase dht authority`: records of nodes and publishers about themselves.

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs};
use phase_core::time::TrustedTime;
use phase_core::{Failure, KeyId};
use phase_node::PeerId;
use serde_json::{Value, json};

use crate::output::Output;
use crate::{network, view};

const CONTACT_NOTE: &str = "\
The record is signed by the node's own key, which is in its peer id. It is verified once more by connecting: only that
node can answer there.";
const AUTHORITY_NOTE: &str = "\
The record is signed by the key itself: it says what the key claims to sign for. Whether a client accepts that, only its
trust root says.";

#[derive(clap::Args)]
#[command(after_help = CONTACT_NOTE, after_long_help = format!("{CONTACT_NOTE}\n\n{EXIT_CODES}"))]
pub(crate) struct ContactArgs {
    /// Whom to find
    peer: PeerId,
    /// Do not connect
    #[arg(long)]
    no_connect: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(clap::Args)]
#[command(after_help = AUTHORITY_NOTE, after_long_help = format!("{AUTHORITY_NOTE}\n\n{EXIT_CODES}"))]
pub(crate) struct AuthorityArgs {
    /// The key's id, as `phase key show` prints it
    #[arg(value_name = "KEY ID")]
    key: KeyId,
    #[command(flatten)]
    node: NodeArgs,
}

pub(super) fn contact(args: &ContactArgs, output: &Output) -> Result<(), Fault> {
    let (found, verified) = network::ask_dht(&args.node, async |node| {
        let found = node.find_contact(args.peer, TrustedTime(cli::now())).await.map_err(network::records_fault)?;
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
                None => "not tried",
                Some(Ok(())) => "yes",
                Some(Err(_)) => "no",
            };
            let record = view::contact_text(&found.record);
            format!("{record}\nholders    {}\nreachable  {answer}", found.holders)
        },
    )?;
    match verified {
        Some(Err(error)) => {
            let message = format!("{} says where it is, but does not answer there: {error}", args.peer);
            Err(Fault::new(Failure::Network, message))
        }
        _ => Ok(()),
    }
}

pub(super) fn authority(args: &AuthorityArgs, output: &Output) -> Result<(), Fault> {
    let found = network::ask_dht(&args.node, async |node| {
        node.find_authority(args.key, TrustedTime(cli::now())).await.map_err(network::records_fault)
    })?;
    output.result(
        || {
            let mut json = view::authority_json(&found.record);
            json["holders"] = found.holders.into();
            json["search"] = json!(network::json_report(&found.report));
            json
        },
        || format!("{}\nholders    {}", view::authority_text(&found.record), found.holders),
    )
}
