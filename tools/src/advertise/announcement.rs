//! A signed record that is put into the DHT, again and again.

use std::time::Duration;

use phase_cli::{self as cli, Fault, NodeArgs, Signals};
use phase_client::Client;
use phase_core::{DhtKey, Failure};
use phase_node::{NodeHandle, PeerId, QueryError};
use serde_json::json;

use crate::network;
use crate::output::Output;

/// How often a record is put again, at least: nodes keep it for an hour.
const REFRESH: Duration = Duration::from_secs(30 * 60);
/// How soon again if nobody took it.
const RETRY: Duration = Duration::from_secs(60);

/// Options of every announcement.
#[derive(Debug, clap::Args)]
pub(super) struct Announcing {
    /// Announce once and exit; nodes forget it within about an hour
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// What is announced: where, and how it is made for a given time.
pub(super) struct Announcement<'a> {
    pub(super) key: DhtKey,
    /// How long a record may be believed after it was made.
    pub(super) lifetime: Duration,
    pub(super) sign: &'a dyn Fn(u64) -> Result<Vec<u8>, Fault>,
}

/// What became of one round.
struct Round {
    /// Nodes that acknowledged the record, under any of its keys.
    stored_at: Vec<PeerId>,
    /// Keys under which nobody did.
    failed: Vec<(DhtKey, QueryError)>,
}

/// Announces, again and again if that is wanted.
pub(super) fn announce(announcement: &Announcement<'_>, args: &Announcing, output: &Output) -> Result<(), Fault> {
    // What cannot be signed is found before anybody is met.
    (announcement.sign)(cli::now())?;
    network::block_on(async {
        let mut signals = Signals::new()?;
        let first = async {
            let client = network::join_dht(&args.node).await?;
            let round = put(client.node(), announcement).await?;
            tell(&announcement.key, &round, output)?;
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

/// Ends only if the record cannot be made any more.
async fn refresh(node: &NodeHandle, announcement: &Announcement<'_>, output: &Output) -> Result<(), Fault> {
    // Before its own time is over, too.
    let interval = REFRESH.min(announcement.lifetime / 2);
    output.remark(&format!("announcing it again every {} s; stop with Ctrl-C", interval.as_secs()));
    let mut wait = interval;
    loop {
        tokio::time::sleep(wait).await;
        wait = match put(node, announcement).await {
            Ok(round) => {
                tell(&announcement.key, &round, output)?;
                interval
            }
            Err(error) if error.failure() == Failure::Network => {
                let wait = RETRY.min(interval);
                output.remark(&format!("not announced, trying again in {} s: {}", wait.as_secs(), error.chain()));
                wait
            }
            Err(error) => return Err(error),
        };
    }
}

/// Puts it under each of its keys; one that is taken somewhere is enough.
async fn put(node: &NodeHandle, announcement: &Announcement<'_>) -> Result<Round, Fault> {
    let value = (announcement.sign)(cli::now())?;
    let (mut reports, mut failed) = (Vec::new(), Vec::new());
    for key in network::copies(&announcement.key) {
        match node.put(&key.to_bytes(), value.clone()).await {
            Ok(report) => reports.push(report),
            Err(error) => failed.push((key, error)),
        }
    }
    if reports.is_empty()
        && let Some((_, error)) = failed.pop()
    {
        return Err(network::query_fault(error));
    }
    Ok(Round { stored_at: network::sum(reports).stored_at, failed })
}

fn tell(key: &DhtKey, round: &Round, output: &Output) -> Result<(), Fault> {
    let nodes = network::texts(&round.stored_at);
    let failed: Vec<_> = round.failed.iter().map(|(key, error)| format!("{key}: {error}")).collect();
    output.line(
        || json!({ "announced": key.to_string(), "acknowledged_by": nodes, "failed": failed }),
        || {
            let failed: String = failed.iter().map(|failed| format!("\n  not under {failed}")).collect();
            format!("announced {key}: {} nodes acknowledged it{failed}", nodes.len())
        },
    )
}
