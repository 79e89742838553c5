//! The sources of a resolve: the DHT, the configured peers and the local network. All are searched in parallel. The
//! findings of each search are limited, so that no source can crowd out another.

use std::time::Duration;

use phase_core::{Cid, DhtKey, Name};
use phase_node::{FoundProvider, NodeHandle, PeerState, QueryError, QueryReport, Source};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The maximum number of findings of one search, such as a DHT search. The local network counts as three searches.
/// Because of this limit, an attacker who controls one source cannot crowd out the other sources.
const MAX_PER_SOURCE: usize = 32;
/// The capacity of the channel that passes findings to the resolve.
const QUEUE: usize = 64;
/// The time to wait for peers of the local network, which answer mDNS queries within a second.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A message from a source to the resolve: the source has found something, or a DHT search has ended.
pub(crate) enum Finding {
    /// An unverified value that was found in the DHT under a key of the name.
    Value(Vec<u8>),
    /// A DHT search for values under one key of the name has ended.
    ValuesEnded,
    /// A peer that may serve the name. The first field is the number of the source that reported the peer.
    Peer(usize, FoundProvider),
    /// A configured peer, which may not serve the name. The first field is the number of the source.
    Configured(usize, FoundProvider),
    /// A DHT search for providers has ended with this result.
    Ended(Result<QueryReport, QueryError>),
}

/// The running searches for one name.
pub(crate) struct Sources {
    node: NodeHandle,
    findings: mpsc::Receiver<Finding>,
    sender: mpsc::Sender<Finding>,
    tasks: JoinSet<()>,
    /// The number of sources of peers that have been started. The sources are numbered from 1 in this order.
    started: usize,
}

impl Sources {
    /// Starts to search all sources: the DHT under every key of the name, the configured peers and the local network.
    pub(crate) fn start(node: &NodeHandle, name: &Name) -> Self {
        let (sender, findings) = mpsc::channel(QUEUE);
        let mut sources = Self { node: node.clone(), findings, sender, tasks: JoinSet::new(), started: 0 };
        for key in DhtKey::Name(name.clone()).copies() {
            sources.find_values(key.clone());
            sources.find_providers(key);
        }
        sources.find_configured();
        sources.watch_local_network(name.clone());
        sources
    }

    /// Starts to search the DHT for providers of a manifest, because the provider records of the name may be outdated.
    pub(crate) fn find_providers_of(&mut self, manifest: &Cid) {
        self.find_providers(DhtKey::Content(*manifest));
    }

    /// Returns the next finding, or `None` when every source has ended.
    pub(crate) async fn next(&mut self) -> Option<Finding> {
        loop {
            tokio::select! {
                biased;
                finding = self.findings.recv() => return finding,
                ended = self.tasks.join_next() => if ended.is_none() {
                    // The last source may have left a finding in the channel.
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
                    // Returning drops `search`, which ends the DHT search.
                    return;
                }
            }
            let _ = sender.send(Finding::Ended(search.finish().await)).await;
        });
    }

    /// Starts to report every configured peer, including peers that do not answer or are still being dialled.
    fn find_configured(&mut self) {
        let (node, sender, source) = (self.node.clone(), self.sender.clone(), self.next_source());
        self.tasks.spawn(async move {
            let mut configured = node.configured_peers().await;
            for _ in 0..MAX_PER_SOURCE {
                let Some(found) = configured.recv().await else { return };
                if sender.send(Finding::Configured(source, found)).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Starts to report peers of the local network, which can be asked without the DHT.
    fn watch_local_network(&mut self, name: Name) {
        let (node, sender, source) = (self.node.clone(), self.sender.clone(), self.next_source());
        self.tasks.spawn(async move {
            let watching = report_local_peers(&node, &name, source, &sender);
            let _ = tokio::time::timeout(LOCAL_TIMEOUT, watching).await;
        });
    }

    fn next_source(&mut self) -> usize {
        self.started += 1;
        self.started
    }
}

/// Reports the peers of the local network: first the peers that announce the name, then the other known peers, then
/// each peer that is discovered later.
async fn report_local_peers(node: &NodeHandle, name: &Name, source: usize, sender: &mpsc::Sender<Finding>) {
    // Subscribe before the known peers are listed, so that a peer that is discovered in between is not missed.
    let mut events = node.peer_events();
    let found = |peer| Finding::Peer(source, FoundProvider { peer, addresses: Vec::new() });
    for peer in node.local_providers(name).into_iter().take(MAX_PER_SOURCE) {
        let _ = sender.send(found(peer)).await;
    }
    let known = node.peers().into_iter().filter(|info| info.source == Source::LocalNetwork);
    for info in known.take(MAX_PER_SOURCE) {
        let _ = sender.send(found(info.peer)).await;
    }
    if !node.searches_local_network() {
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
