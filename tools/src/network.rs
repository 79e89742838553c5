//! What the commands that use the network have in common.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use phase_cli::{self as cli, Fault, NodeArgs, Signals};
use phase_client::Client;
use phase_core::Failure;
use phase_core::store::{MemStore, Store};
use phase_node::{NodeHandle, PeerId, QueryError, QueryReport, RecordsError, Role};
use serde_json::{Value, json};

/// How long to wait for a DHT server after somebody else, for instance of the local network, has answered.
const DHT_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a command's asynchronous part.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    cli::warn_of_key_log();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    runtime.block_on(work)
}

/// Runs a question to the network until it is answered or a signal comes.
pub(crate) fn ask<T>(question: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            answer = question => answer,
            () = signals.next() => Err(Fault::new(Failure::Interrupted, "interrupted")),
        }
    })
}

/// A node that asks and serves nothing. Without a store it keeps nothing.
pub(crate) async fn join(node: &NodeArgs, store: Option<Arc<dyn Store>>) -> Result<Client, Fault> {
    let store = store.unwrap_or_else(|| Arc::new(MemStore::default()));
    Ok(Client::start(store, node.configure(Role::Client)?).await?)
}

/// Joins the DHT, asks it something, and leaves.
pub(crate) fn ask_dht<T>(
    node: &NodeArgs,
    question: impl AsyncFnOnce(&NodeHandle) -> Result<T, Fault>,
) -> Result<T, Fault> {
    ask(async {
        let client = join_dht(node).await?;
        let answer = question(client.node()).await;
        client.stop().await;
        answer
    })
}

/// A node that is connected with a server of the DHT.
pub(crate) async fn join_dht(node: &NodeArgs) -> Result<Client, Fault> {
    if node.configure(Role::Client)?.dht.is_none() {
        return Err(QueryError::Off.into());
    }
    let client = join(node, None).await?;
    let mut servers = client.node().routing_peers();
    let joined = servers.wait_for(|servers| *servers > 0);
    if tokio::time::timeout(DHT_PATIENCE, joined).await.is_ok_and(|joined| joined.is_ok()) {
        return Ok(client);
    }
    let known: Vec<_> = client.node().peers().iter().map(|info| info.peer.to_string()).collect();
    let message = format!("none of the peers that answer is a server of the DHT: {}", known.join(", "));
    Err(Fault::new(Failure::Network, message).hint("give the address of a provider with --bootstrap"))
}

/// A failed query, and whom it asked.
pub(crate) fn query_fault(error: QueryError) -> Fault {
    let asked = error.report().map(|report| format!(" ({report})")).unwrap_or_default();
    let message = format!("{error}{asked}");
    Fault::new(Fault::from(error).failure(), message)
}

/// The same of a record.
pub(crate) fn records_fault(error: RecordsError) -> Fault {
    match error {
        RecordsError::Query(error) => query_fault(error),
        other => other.into(),
    }
}

/// What a query did, for machines.
pub(crate) fn json_report(report: &QueryReport) -> Value {
    json!({
        "seconds": report.took.as_secs_f64(),
        "requests": report.requests,
        "answered": report.answered,
        "failed": report.failed,
        "closest": texts(&report.closest),
        "unreachable": report.unreachable.iter().map(|(peer, error)| json!({
            "peer": peer.to_string(),
            "error": error,
        })).collect::<Vec<_>>(),
    })
}

/// Several queries as one.
pub(crate) fn sum(reports: impl IntoIterator<Item = QueryReport>) -> QueryReport {
    let mut all = QueryReport::default();
    let mut stored_at = BTreeSet::new();
    for report in reports {
        all.took = all.took.max(report.took);
        all.requests += report.requests;
        all.answered += report.answered;
        all.failed += report.failed;
        stored_at.extend(report.stored_at);
        all.closest.extend(report.closest);
        for (peer, error) in report.unreachable {
            if all.unreachable.iter().all(|(other, _)| *other != peer) {
                all.unreachable.push((peer, error));
            }
        }
    }
    let mut seen = BTreeSet::new();
    all.closest.retain(|peer| seen.insert(*peer));
    all.stored_at = stored_at.into_iter().collect();
    all
}

/// Peers, addresses and the like as text.
pub(crate) fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// A peer that holds something; `None` is this node.
pub(crate) fn holder(peer: Option<PeerId>) -> String {
    peer.map_or_else(|| "this node".to_owned(), |peer| peer.to_string())
}

/// The time a ping took.
pub(crate) fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.2} ms", 1000.0 * time.as_secs_f64()))
}
