//! Runs the hostile node. It announces the releases in its store, and answers the requests on the streams that peers
//! open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phase_cli as cli;
use phase_cli::Fault;
use phase_core::store::{FileStore, Store};
use phase_core::{DhtKey, Envelope, Failure, Manifest, Pointer};
use phase_node::{Identity, Node, NodeConfig, NodeHandle, Role};
use phase_transfer::catalog::Catalog;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::answer::Answerer;
use crate::options::Cli;

/// The largest number of streams on which requests are answered at a time. Further streams wait.
const MAX_STREAMS: usize = 512;
/// The time between two announcements. The node repeats them, because DHT nodes may have joined since the last one.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(20);
/// The time until a failed announcement is repeated. An announcement fails, for example, while no DHT node is
/// connected.
const ANNOUNCE_RETRY: Duration = Duration::from_millis(500);
/// The time between two reports of the number of harmful answers. A report is printed only if the number has changed.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the node. Returns only after an error.
pub(crate) async fn run(args: &Cli) -> Result<(), Fault> {
    let store = FileStore::open(&args.store)?;
    let identity = Identity::from_key(&store.identity()?);
    let keys = keys(&store)?;
    let catalog = Arc::new(Catalog::new(Arc::new(store)));
    let config = NodeConfig { identity, listen: args.listen.clone(), ..args.node.configure(Role::Server)? };
    let node = Node::start(config).await?;
    let handle = node.handle();
    let mut streams = handle.accept_streams().expect("no other code takes the streams of this node");
    cli::print(&format!("{}\n", json!({ "peer_id": handle.peer_id().to_string() })))?;
    tokio::spawn(announce(handle.clone(), keys));
    let harmful_answers = Arc::new(AtomicU64::new(0));
    tokio::spawn(report_harm(harmful_answers.clone()));
    let slots = Arc::new(Semaphore::new(MAX_STREAMS));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Some((peer, stream)) = streams.recv().await else {
            return Err(Fault::new(Failure::Other, "the node stopped"));
        };
        let answerer = Answerer::new(args.harm, catalog.clone(), harmful_answers.clone());
        tokio::spawn(async move {
            if let Err(error) = answerer.run(stream).await {
                tracing::info!(%peer, %error, "stream ended");
            }
            drop(slot);
        });
    }
}

/// Returns the DHT keys that an honest provider of the store would announce: those of names, manifests and artifacts.
fn keys(store: &dyn Store) -> Result<Vec<DhtKey>, Fault> {
    let mut keys = Vec::new();
    for name in store.names()? {
        keys.push(DhtKey::Name(name.clone()));
        let Some(pointer) = store.pointer(&name)? else { continue };
        let pointer: Pointer = pointer.payload_unverified()?;
        let Some(cid) = pointer.manifest else { continue };
        keys.push(DhtKey::Content(cid));
        let Some(block) = store.block(&cid)? else { continue };
        let manifest: Manifest = Envelope::decode(&block)?.payload_unverified()?;
        keys.extend(manifest.artifacts.iter().map(|entry| DhtKey::Content(entry.cid)));
    }
    Ok(keys)
}

async fn announce(node: NodeHandle, keys: Vec<DhtKey>) {
    let mut is_reported = false;
    loop {
        let mut done = 0;
        for key in &keys {
            done += usize::from(node.provide(key).await.is_ok());
        }
        let is_complete = done == keys.len();
        if is_complete && !std::mem::replace(&mut is_reported, true) {
            // Printing fails if the program that reads the output has ended, which does not matter here.
            let _ = cli::print(&format!("{}\n", json!({ "announced": done, "keys": done })));
        }
        tokio::time::sleep(if is_complete { ANNOUNCE_INTERVAL } else { ANNOUNCE_RETRY }).await;
    }
}

async fn report_harm(harmful_answers: Arc<AtomicU64>) {
    let mut reported = 0;
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        let now = harmful_answers.load(Ordering::Relaxed);
        if now != reported {
            reported = now;
            let _ = cli::print(&format!("{}\n", json!({ "deeds": now })));
        }
    }
}
