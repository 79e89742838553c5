//! Puts a signed record into the DHT, once or repeatedly.

use std::time::Duration;

use phase_cli::{self as cli, Fault, NodeArgs, Signals, counted};
use phase_client::Client;
use phase_core::{DhtKey, Failure};
use phase_node::{NodeHandle, PeerId, QueryError};
use serde_json::json;

use crate::clock;
use crate::network;
use crate::output::Output;

/// The interval at which a record is put again. It is half of the hour for which DHT nodes store a record.
const REFRESH: Duration = Duration::from_secs(30 * 60);
/// The time until the next attempt if no node has stored the record.
const RETRY: Duration = Duration::from_secs(60);

/// The options that all subcommands of `phase advertise` share.
#[derive(Debug, clap::Args)]
pub(super) struct Announcing {
    /// Announce once and exit; DHT nodes drop the record after about an hour
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// A signed record that the command puts into the DHT.
pub(super) struct Announcement<'a> {
    /// The DHT key of the record. The record is also put under the copies of this key ([`DhtKey::copies`]).
    pub(super) key: DhtKey,
    /// The time from the signing of the record to its expiry.
    pub(super) lifetime: Duration,
    /// A function that returns the record, signed at the given time in seconds since 1970.
    pub(super) sign: &'a dyn Fn(u64) -> Result<Vec<u8>, Fault>,
}

/// The result of one attempt to put a record under its DHT key and the copies of the key.
struct Round {
    /// The DHT nodes that stored the record under at least one of its keys.
    stored_at: Vec<PeerId>,
    /// The DHT keys under which no node stored the record.
    failed: Vec<(DhtKey, QueryError)>,
}

/// Announces a record. Without `--once`, repeats the announcement until a signal arrives.
pub(super) fn announce(announcement: &Announcement<'_>, args: &Announcing, output: &Output) -> Result<(), Fault> {
    // The signed record is not used here. It is signed before the node connects to any peer, so that a signing error is
    // reported at once.
    (announcement.sign)(clock::signing_time()?)?;
    network::block_on(async {
        let mut signals = Signals::new()?;
        let first = async {
            let client = network::join_dht(&args.node).await?;
            let round = put(client.node(), announcement).await?;
            print(&announcement.key, &round, output)?;
            Ok::<Client, Fault>(client)
        };
        let client = tokio::select! {
            client = first => client?,
            () = signals.next() => return Err(Fault::new(Failure::Interrupted, "interrupted")),
        };
        let ended = match args.once {
            true => Ok(()),
            false => tokio::select! {
                result = refresh(client.node(), announcement, output) => result,
                () = signals.next() => Ok(()),
            },
        };
        client.stop().await;
        ended
    })
}

/// Announces the record repeatedly. Returns only with an error, for instance because the record can no longer be
/// signed.
async fn refresh(node: &NodeHandle, announcement: &Announcement<'_>, output: &Output) -> Result<(), Fault> {
    // The interval is at most half of the lifetime, so that the record is signed again before it expires.
    let interval = REFRESH.min(announcement.lifetime / 2);
    output.remark(&format!("announcing it again every {}; stop with Ctrl-C", cli::duration(interval)));
    let mut wait = interval;
    loop {
        tokio::time::sleep(wait).await;
        wait = match put(node, announcement).await {
            Ok(round) => {
                print(&announcement.key, &round, output)?;
                interval
            }
            Err(error) if error.failure() == Failure::Network => {
                let wait = RETRY.min(interval);
                output.remark(&format!("not announced, trying again in {}: {}", cli::duration(wait), error.summary()));
                wait
            }
            Err(error) => return Err(error),
        };
    }
}

/// Puts the record under its DHT key and the copies of the key. Fails if the record cannot be signed, or if no node
/// stored it under any of these keys.
async fn put(node: &NodeHandle, announcement: &Announcement<'_>) -> Result<Round, Fault> {
    let value = (announcement.sign)(clock::signing_time()?)?;
    let (mut reports, mut failed) = (Vec::new(), Vec::new());
    for key in announcement.key.copies() {
        match node.put(&key, value.clone()).await {
            Ok(report) => reports.push(report),
            Err(error) => failed.push((key, error)),
        }
    }
    if reports.is_empty()
        && let Some((_, error)) = failed.pop()
    {
        return Err(error.into());
    }
    Ok(Round { stored_at: network::sum(reports).stored_at, failed })
}

fn print(key: &DhtKey, round: &Round, output: &Output) -> Result<(), Fault> {
    let nodes = network::texts(&round.stored_at);
    output.line(
        || {
            let failed =
                round.failed.iter().map(|(key, error)| format!("{key}: {}", Fault::from(error.clone()).chain()));
            json!({ "announced": key.to_string(), "acknowledged_by": nodes, "failed": failed.collect::<Vec<_>>() })
        },
        || {
            let failed = round.failed.iter().map(|(key, error)| format!("\n  not stored under {key}: {error}"));
            let failed: String = failed.collect();
            format!("announced {key}: {} stored it{failed}", counted(nodes.len(), "node", "nodes"))
        },
    )
}
