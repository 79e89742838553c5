//! Functions shared by the commands that use the network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use phase_cli::{self as cli, Fault, NodeArgs, Signals};
use phase_client::Client;
use phase_core::store::{MemStore, Store};
use phase_core::{Attempt, Cause, Failure};
use phase_node::{NodeHandle, PeerId, QueryError, QueryReport, Role};
use serde_json::{Value, json};

/// The timeout for learning of a DHT server after the client has connected to its first peer, which need not be a DHT
/// server.
const DHT_PATIENCE: Duration = Duration::from_secs(5);

/// The error of a command that needs the DHT, if `--peer` is given.
pub(crate) const PEER_WITHOUT_DHT: &str = "--peer switches the DHT off: use --bootstrap instead";
/// The shortest round-trip time that is printed. A shorter time would be printed as zero.
const SHORTEST_ROUND_TRIP: Duration = Duration::from_micros(5);

/// Runs the asynchronous part of a command until it ends.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    cli::warn_of_key_log();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    runtime.block_on(work)
}

/// Runs a query to the network. SIGINT or SIGTERM ends the query, and this function then returns an error.
pub(crate) fn ask<T>(query: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            answer = query => answer,
            () = signals.next() => Err(Fault::new(Failure::Interrupted, "interrupted")),
        }
    })
}

/// Starts a client that listens on no address. Without a store, the client keeps its state in memory.
pub(crate) async fn join(node: &NodeArgs, store: Option<Arc<dyn Store>>) -> Result<Client, Fault> {
    let store = store.unwrap_or_else(|| Arc::new(MemStore::default()));
    Ok(Client::start(store, node.configure(Role::Client)?).await?)
}

/// Joins the DHT, runs a query and leaves the DHT.
pub(crate) fn ask_dht<T>(
    node: &NodeArgs,
    query: impl AsyncFnOnce(&NodeHandle) -> Result<T, Fault>,
) -> Result<T, Fault> {
    ask(async {
        let client = join_dht(node).await?;
        let answer = query(client.node()).await;
        client.stop().await;
        answer
    })
}

/// Starts a client and waits until it knows a node in DHT server mode.
///
/// # Errors
/// If the DHT is switched off, if no peer can be reached, or if no reachable peer is a DHT server.
pub(crate) async fn join_dht(node: &NodeArgs) -> Result<Client, Fault> {
    if node.configure(Role::Client)?.dht.is_none() {
        return Err(match node.has_peers() {
            true => Fault::new(Failure::Usage, PEER_WITHOUT_DHT),
            false => QueryError::Off.into(),
        });
    }
    let client = join(node, None).await?;
    let mut servers = client.node().routing_peers();
    let joined = servers.wait_for(|servers| *servers > 0);
    if tokio::time::timeout(DHT_PATIENCE, joined).await.is_ok_and(|joined| joined.is_ok()) {
        return Ok(client);
    }
    let known = client.node().peers().into_iter().map(|info| {
        let cause = if info.is_connected() { "connected, but not a DHT server" } else { "not connected" };
        Attempt::new(info.peer, vec![Cause::new(cause)])
    });
    let message = format!("no DHT server answers within {}", cli::duration(DHT_PATIENCE));
    let fault = Fault::new(Failure::Network, message).attempts(known.collect());
    Err(fault.hint("give the address of a provider with --bootstrap"))
}

/// Returns the report of a query as JSON.
pub(crate) fn json_report(report: &QueryReport) -> Value {
    json!({
        "seconds": report.took.as_secs_f64(),
        "requests": report.requests,
        "answered": report.answered,
        "failed": report.failed,
        "closest": texts(&report.closest),
        "unreachable": report.unreachable.iter().map(|(peer, causes)| json!({
            "peer": peer.to_string(),
            "error": texts(causes).join("; "),
        })).collect::<Vec<_>>(),
    })
}

/// Combines the reports of several queries that ran at the same time.
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
        for (peer, causes) in report.unreachable {
            if all.unreachable.iter().all(|(other, _)| *other != peer) {
                all.unreachable.push((peer, causes));
            }
        }
    }
    let mut seen = BTreeSet::new();
    all.closest.retain(|peer| seen.insert(*peer));
    all.stored_at = stored_at.into_iter().collect();
    all
}

/// Converts each element, for instance a peer id or an address, to text.
pub(crate) fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Formats the peer id of a node that stores a record. `None` stands for this node.
pub(crate) fn holder(peer: Option<PeerId>) -> String {
    peer.map_or_else(|| "this node".to_owned(), |peer| peer.to_string())
}

/// Formats the round-trip time of a ping. `None` means that it was not measured.
pub(crate) fn milliseconds(time: Option<Duration>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < SHORTEST_ROUND_TRIP => "less than 0.01 ms".to_owned(),
        Some(time) => format!("{:.2} ms", 1000.0 * time.as_secs_f64()),
    }
}
