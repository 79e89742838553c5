//! The node: announces what it says it has, and takes streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phase_cli as cli;
use phase_cli::Fault;
use phase_core::store::{FileStore, Store};
use phase_core::{Envelope, Failure, Manifest, Pointer};
use phase_node::{Identity, Node, NodeConfig, NodeHandle, Role};
use phase_transfer::catalog::Catalog;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::answer::Answerer;
use crate::options::Cli;

/// Streams at a time; further ones wait.
const MAX_STREAMS: usize = 512;
/// The time between two announcements of the same: others may only have come meanwhile.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(20);
/// The time between two attempts while nobody is there who would remember it.
const ANNOUNCE_RETRY: Duration = Duration::from_millis(500);
/// How often it tells what it has done, if there is anything new.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// Runs until something is wrong.
pub(crate) async fn run(args: &Cli) -> Result<(), Fault> {
    let store = FileStore::open(&args.store)?;
    let identity = Identity::from_key(&store.identity()?);
    let keys = keys(&store)?;
    let catalog = Arc::new(Catalog::new(Arc::new(store)));
    let config = NodeConfig { identity, listen: args.listen.clone(), ..args.node.configure(Role::Server)? };
    let node = Node::start(config).await?;
    let handle = node.handle();
    let mut streams = handle.accept_streams().expect("nobody else takes the streams of this node");
    cli::print(&format!("{}\n", json!({ "peer_id": handle.peer_id().to_string() })))?;
    tokio::spawn(announce(handle.clone(), keys));
    let deeds = Arc::new(AtomicU64::new(0));
    tokio::spawn(tell(deeds.clone()));
    let slots = Arc::new(Semaphore::new(MAX_STREAMS));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Some((peer, stream)) = streams.recv().await else {
            return Err(Fault::new(Failure::Other, "the node has ended"));
        };
        let answerer = Answerer::new(args.harm, catalog.clone(), deeds.clone());
        tokio::spawn(async move {
            if let Err(error) = answerer.run(stream).await {
                tracing::info!(%peer, %error, "a stream has ended");
            }
            drop(slot);
        });
    }
}

/// What a provider of the store announces: names, manifests, artifacts.
fn keys(store: &dyn Store) -> Result<Vec<Vec<u8>>, Fault> {
    let mut keys = Vec::new();
    for name in store.names()? {
        keys.push(name.key().into_bytes());
        let Some(pointer) = store.pointer(&name)? else { continue };
        let pointer: Pointer = pointer.payload_unverified()?;
        let Some(cid) = pointer.manifest else { continue };
        keys.push(cid.to_bytes());
        let Some(block) = store.block(&cid)? else { continue };
        let manifest: Manifest = Envelope::decode(&block)?.payload_unverified()?;
        keys.extend(manifest.artifacts.iter().map(|entry| entry.cid.to_bytes()));
    }
    Ok(keys)
}

async fn announce(node: NodeHandle, keys: Vec<Vec<u8>>) {
    let mut is_told = false;
    loop {
        let mut done = 0;
        for key in &keys {
            done += usize::from(node.provide(key).await.is_ok());
        }
        let is_complete = done == keys.len();
        if is_complete && !std::mem::replace(&mut is_told, true) {
            // Whoever reads the lines may be gone.
            let _ = cli::print(&format!("{}\n", json!({ "announced": done, "keys": done })));
        }
        tokio::time::sleep(if is_complete { ANNOUNCE_INTERVAL } else { ANNOUNCE_RETRY }).await;
    }
}

async fn tell(deeds: Arc<AtomicU64>) {
    let mut told = 0;
    loop {
        tokio::time::sleep(TELL_INTERVAL).await;
        let now = deeds.load(Ordering::Relaxed);
        if now != told {
            told = now;
            let _ = cli::print(&format!("{}\n", json!({ "deeds": now })));
        }
    }
}
