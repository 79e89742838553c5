//! Who may know a name: everybody who can be found is asked side by side, and none of the ways can crowd out another.

use std::time::Duration;

use phase_core::{Cid, DhtKey, Name};
use phase_node::{FoundProvider, NodeHandle, PeerState, QueryError, QueryReport, Source};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Peers that one way of finding them may contribute: somebody who controls one fills no other's share.
const MAX_PER_SOURCE: usize = 32;
/// Findings that may wait.
const QUEUE: usize = 64;
/// How long to listen for peers of the local network: mDNS answers within a second.
const LOCAL_PATIENCE: Duration = Duration::from_secs(3);

/// Something that a source has found.
pub(crate) enum Finding {
    /// A value that is said to be the name's pointer.
    Value(Vec<u8>),
    /// A search for values has ended.
    ValuesEnded,
    /// A peer that may know the name, and the number of the source that says so.
    Peer(usize, FoundProvider),
    /// A peer that was given, whether or not it has ever heard of the name, and the number of the source.
    Given(usize, FoundProvider),
    /// A search for providers has ended.
    Ended(Result<QueryReport, QueryError>),
}

/// All sources of one name.
pub(crate) struct Sources {
    node: NodeHandle,
    findings: mpsc::Receiver<Finding>,
    sender: mpsc::Sender<Finding>,
    tasks: JoinSet<()>,
    /// Sources of peers that have been started.
    started: usize,
}

impl Sources {
    /// Asks the DHT under every key of the name, the peers that were given, and the local network.
    pub(crate) fn start(node: &NodeHandle, name: &Name) -> Self {
        let (sender, findings) = mpsc::channel(QUEUE);
        let mut sources = Self { node: node.clone(), findings, sender, tasks: JoinSet::new(), started: 0 };
        for key in DhtKey::Name(name.clone()).copies() {
            sources.find_values(key.clone());
            sources.find_providers(key);
        }
        sources.find_given();
        sources.watch_local_network(name.clone());
        sources
    }

    /// Asks for those who have a manifest: they know its name too, even if the name's own records are stale.
    pub(crate) fn find_providers_of(&mut self, manifest: &Cid) {
        self.find_providers(DhtKey::Content(*manifest));
    }

    /// The next finding; `None` when every source has ended.
    pub(crate) async fn next(&mut self) -> Option<Finding> {
        loop {
            tokio::select! {
                biased;
                finding = self.findings.recv() => return finding,
                ended = self.tasks.join_next() => if ended.is_none() {
                    // What the last of them found may still wait.
                    return self.findings.try_recv().ok();
                },
            }
        }
    }

    fn find_values(&mut self, key: DhtKey) {
        let (node, sender) = (self.node.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let mut search = node.find_values(&key).await;
            for _ in 0..MAX_PER_SOURCE {
                let Some(found) = search.recv().await else { break };
                if sender.send(Finding::Value(found.value)).await.is_err() {
                    return;
                }
            }
            let _ = sender.send(Finding::ValuesEnded).await;
        });
    }

    fn find_providers(&mut self, key: DhtKey) {
        let (node, sender, source) = (self.node.clone(), self.sender.clone(), self.next_source());
        self.tasks.spawn(async move {
            let mut search = node.find_providers(&key).await;
            for n in 0.. {
                let Some(found) = search.recv().await else { break };
                if n == MAX_PER_SOURCE || sender.send(Finding::Peer(source, found)).await.is_err() {
                    // Dropping the search ends it.
                    return;
                }
            }
            let _ = sender.send(Finding::Ended(search.finish().await)).await;
        });
    }

    /// Peers that were given: each is asked, also those that do not answer just now or are still being dialled.
    fn find_given(&mut self) {
        let (node, sender, source) = (self.node.clone(), self.sender.clone(), self.next_source());
        self.tasks.spawn(async move {
            let mut given = node.given_peers().await;
            for _ in 0..MAX_PER_SOURCE {
                let Some(found) = given.recv().await else { return };
                if sender.send(Finding::Given(source, found)).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Peers of the local network: they can be asked without the DHT.
    fn watch_local_network(&mut self, name: Name) {
        let (node, sender, source) = (self.node.clone(), self.sender.clone(), self.next_source());
        self.tasks.spawn(async move {
            let watching = watch(&node, &name, source, &sender);
            let _ = tokio::time::timeout(LOCAL_PATIENCE, watching).await;
        });
    }

    fn next_source(&mut self) -> usize {
        self.started += 1;
        self.started
    }
}

async fn watch(node: &NodeHandle, name: &Name, source: usize, sender: &mpsc::Sender<Finding>) {
    // First, so that nobody is missed who comes between.
    let mut events = node.peer_events();
    let found = |peer| Finding::Peer(source, FoundProvider { peer, addresses: Vec::new() });
    // Those who say that they serve it come first.
    for peer in node.local_providers(name).into_iter().take(MAX_PER_SOURCE) {
        let _ = sender.send(found(peer)).await;
    }
    let known = node.peers().into_iter().filter(|info| info.source == Source::LocalNetwork);
    for info in known.take(MAX_PER_SOURCE) {
        let _ = sender.send(found(info.peer)).await;
    }
    if !node.looks_around() {
        return;
    }
    for _ in 0..MAX_PER_SOURCE {
        let peer = loop {
            match events.recv().await {
                Ok(event) if event.source == Source::LocalNetwork && event.state == PeerState::Discovered => {
                    break event.peer;
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        };
        if sender.send(found(peer)).await.is_err() {
            return;
        }
    }
}
