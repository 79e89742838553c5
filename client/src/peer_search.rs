//! Finds peers for a fetch, as long as it runs: those that answered the name, the DHT's providers of everything in the
//! manifest, and whoever those peers know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use phase_core::{Cid, DhtKey};
use phase_node::{Backoff, Multiaddr, NodeHandle, PeerId};
use phase_transfer::PeerLink;
use phase_transfer::download::LinkOpener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pool::{MAX_LINKS, Pool};

/// Links being opened at a time.
const MAX_OPENING: usize = 16;
/// Peers remembered; further ones are not tried.
const MAX_KNOWN: usize = 1024;
/// How long after a failed or ended link the same peer is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The time between two rounds of questions; doubles from the first to the last.
const ROUND_MIN: Duration = Duration::from_secs(1);
/// The longest time between two rounds.
const ROUND_MAX: Duration = Duration::from_secs(30);
/// Peers asked for others in one round.
const ASKED_PER_ROUND: usize = 4;
/// Artifacts whose own provider records are looked up: a manifest of thousands would flood the DHT, and whoever has an
/// artifact usually has its manifest.
const MAX_ARTIFACT_KEYS: usize = 8;

/// What to look for.
pub(crate) struct SearchTargets {
    /// Peers known to have it.
    pub(crate) peers: Vec<PeerId>,
    /// DHT keys whose providers have some of it: name, manifest.
    pub(crate) keys: Vec<DhtKey>,
    /// Artifacts, most important first.
    pub(crate) artifacts: Vec<Cid>,
}

/// A peer and where it is said to be.
type Found = (PeerId, Vec<Multiaddr>);

/// A peer that has been tried.
struct Tried {
    at: Instant,
    /// Somebody is at it still: a second link would be of no use, and stand in the way of a third.
    is_opening: bool,
    link: Option<Arc<PeerLink>>,
}

struct PeerSearch {
    opener: LinkOpener,
    pool: Arc<Pool>,
    own: PeerId,
    tried: BTreeMap<PeerId, Tried>,
    opening: JoinSet<(PeerId, Option<PeerLink>)>,
    /// Peers being asked for others.
    asking: JoinSet<(PeerId, Vec<Found>)>,
    asked: BTreeSet<PeerId>,
}

/// Looks for peers until it is dropped.
pub(crate) async fn run(node: NodeHandle, opener: LinkOpener, pool: Arc<Pool>, mut targets: SearchTargets) {
    targets.artifacts.truncate(MAX_ARTIFACT_KEYS);
    let mut search = PeerSearch {
        opener,
        pool,
        own: node.peer_id(),
        tried: BTreeMap::new(),
        opening: JoinSet::new(),
        asking: JoinSet::new(),
        asked: BTreeSet::new(),
    };
    let mut round = Backoff::new(ROUND_MIN, ROUND_MAX);
    loop {
        // Again and again: nobody else may ever name them, for instance without a DHT.
        for peer in &targets.peers {
            search.attempt(*peer, Vec::new());
        }
        search.ask_all(&node, &targets).await;
        search.settle_for(round.next_wait()).await;
        // Another artifact is asked about in the next round.
        if !targets.artifacts.is_empty() {
            targets.artifacts.rotate_left(1);
        }
    }
}

impl PeerSearch {
    /// One round of questions: the DHT for each key, some peers for others.
    async fn ask_all(&mut self, node: &NodeHandle, targets: &SearchTargets) {
        let keys = targets.keys.iter().cloned().chain(targets.artifacts.iter().copied().map(DhtKey::Content));
        for key in keys {
            let mut providers = node.find_providers(&key).await;
            loop {
                tokio::select! {
                    found = providers.recv() => match found {
                        Some(found) => self.attempt(found.peer, found.addresses),
                        None => break,
                    },
                    () = self.settle() => {}
                }
            }
        }
        if let Some(artifact) = targets.artifacts.first() {
            self.ask_peers(*artifact);
        }
    }

    /// Asks some peers for others. One that has not answered yet is not asked again.
    fn ask_peers(&mut self, artifact: Cid) {
        let links = self.pool.all().into_iter().rev();
        let idle: Vec<_> = links.filter(|link| link.is_open() && !self.asked.contains(&link.peer())).collect();
        for link in idle.into_iter().take(ASKED_PER_ROUND) {
            self.asked.insert(link.peer());
            self.asking.spawn(async move { (link.peer(), link.peers(&artifact).await.unwrap_or_default()) });
        }
    }

    /// Opens a link unless there is one, or was an attempt just now.
    fn attempt(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let open = self.open_links();
        let known = self.tried.get(&peer);
        let is_wanted = known.is_none_or(|tried| match &tried.link {
            // One that misbehaved is not wanted back.
            Some(link) => link.closed().is_some_and(|error| !error.is_misbehaviour()) && tried.at.elapsed() >= RETRY,
            None => !tried.is_opening && tried.at.elapsed() >= RETRY,
        });
        let has_room = open + self.opening.len() < MAX_LINKS
            && self.opening.len() < MAX_OPENING
            && (known.is_some() || self.tried.len() < MAX_KNOWN);
        if peer == self.own || !is_wanted || !has_room {
            return;
        }
        self.tried.insert(peer, Tried { at: Instant::now(), is_opening: true, link: None });
        let opener = self.opener.clone();
        self.opening.spawn(async move {
            match opener.open(peer, addresses).await {
                Ok(link) => (peer, Some(link)),
                Err(error) => {
                    tracing::debug!(%peer, %error, "cannot be used");
                    (peer, None)
                }
            }
        });
    }

    fn open_links(&self) -> usize {
        self.tried.values().filter(|tried| tried.link.as_ref().is_some_and(|link| link.is_open())).count()
    }

    fn handle_opened(&mut self, opened: Result<(PeerId, Option<PeerLink>), tokio::task::JoinError>) {
        let Ok((peer, link)) = opened else { return };
        let link = link.map(Arc::new);
        self.tried.insert(peer, Tried { at: Instant::now(), is_opening: false, link: link.clone() });
        link.into_iter().for_each(|link| self.pool.add(link));
    }

    /// Waits, and takes in what comes up meanwhile. Does not wait on if nobody is left: all may be tried again.
    async fn settle_for(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut look = Instant::now() + RETRY;
        loop {
            tokio::select! {
                () = self.settle() => {}
                () = tokio::time::sleep_until(until) => return,
                () = tokio::time::sleep_until(look) => match self.open_links() {
                    0 => return,
                    _ => look += RETRY,
                },
            }
        }
    }

    /// Waits for the next link or answer.
    async fn settle(&mut self) {
        tokio::select! {
            Some(opened) = self.opening.join_next() => self.handle_opened(opened),
            Some(answer) = self.asking.join_next() => self.handle_answer(answer),
            else => std::future::pending().await,
        }
    }

    fn handle_answer(&mut self, answer: Result<(PeerId, Vec<Found>), tokio::task::JoinError>) {
        let Ok((asked, found)) = answer else { return };
        self.asked.remove(&asked);
        for (peer, addresses) in found {
            self.attempt(peer, addresses);
        }
    }
}
