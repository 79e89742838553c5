//! Finds peers while a fetch runs. First, it tries the peers that offered the release during the resolve. Then it tries
//! the DHT providers of the name, of the manifest and of some artifacts. It also tries the peers that connected peers
//! report.

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

/// The maximum number of links that are being opened at the same time.
const MAX_OPENING: usize = 16;
/// The maximum number of peers to which one fetch tries to open a link.
const MAX_TRIED: usize = 1024;
/// The minimum time between two attempts to open a link to the same peer.
const RETRY: Duration = Duration::from_secs(5);
/// The wait after the first search round. The wait doubles with each round, up to [`ROUND_MAX`].
const ROUND_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two search rounds.
const ROUND_MAX: Duration = Duration::from_secs(30);
/// The maximum number of connected peers that are asked for further peers in one search round.
const ASKED_PER_ROUND: usize = 4;
/// The maximum number of artifacts whose provider records are looked up. Thousands of lookups would flood the DHT, and
/// would find few new peers, because a peer that has an artifact usually has the manifest too.
const MAX_ARTIFACT_KEYS: usize = 8;

/// The targets of a peer search: the known peers and the content of one release.
pub(crate) struct SearchTargets {
    /// The peers that offered the release during the resolve.
    pub(crate) peers: Vec<PeerId>,
    /// The DHT keys of the name and the manifest. Their providers have at least a part of the release.
    pub(crate) keys: Vec<DhtKey>,
    /// The artifacts to fetch, largest first.
    pub(crate) artifacts: Vec<Cid>,
}

/// The id and addresses of a peer that another peer reported.
type NamedPeer = (PeerId, Vec<Multiaddr>);

/// The last attempt to open a link to a peer.
struct Tried {
    /// The time when the attempt ended, or when it began if it is still running.
    at: Instant,
    /// Whether the attempt is still running. A second attempt is made only after it has ended, because both would count
    /// towards [`MAX_OPENING`].
    is_opening: bool,
    /// The link that the attempt opened, which may be closed now. `None` if the attempt is running or has failed.
    link: Option<Arc<PeerLink>>,
}

struct PeerSearch {
    opener: LinkOpener,
    pool: Arc<Pool>,
    own: PeerId,
    tried: BTreeMap<PeerId, Tried>,
    opening: JoinSet<(PeerId, Option<PeerLink>)>,
    /// The running requests for further peers.
    asking: JoinSet<(PeerId, Vec<NamedPeer>)>,
    /// The peers to which the requests in `asking` were sent.
    asked: BTreeSet<PeerId>,
}

/// Searches for peers in rounds until the future is dropped.
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
        // Try these peers in every round, because without a DHT the search may not find them in any other way.
        for peer in &targets.peers {
            search.attempt(*peer, Vec::new());
        }
        search.ask_all(&node, &targets).await;
        search.wait_for_round(round.next_wait()).await;
        // Rotate the list, so that peers are asked about another artifact in the next round.
        if !targets.artifacts.is_empty() {
            targets.artifacts.rotate_left(1);
        }
    }
}

impl PeerSearch {
    /// Runs one search round: looks up each DHT key, and asks some connected peers for further peers.
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
                    () = self.handle_next_result() => {}
                }
            }
        }
        if let Some(artifact) = targets.artifacts.first() {
            self.ask_peers(*artifact);
        }
    }

    /// Asks some connected peers, the newest links first, for further peers that have `artifact`. Skips a peer while
    /// its previous request is still running.
    fn ask_peers(&mut self, artifact: Cid) {
        let links = self.pool.all().into_iter().rev();
        let askable: Vec<_> = links.filter(|link| link.is_open() && !self.asked.contains(&link.peer())).collect();
        for link in askable.into_iter().take(ASKED_PER_ROUND) {
            self.asked.insert(link.peer());
            self.asking.spawn(async move { (link.peer(), link.peers(&artifact).await.unwrap_or_default()) });
        }
    }

    /// Starts to open a link to a peer. Does nothing if the peer has an open link or a running attempt, if the last
    /// attempt ended less than [`RETRY`] ago, if the peer misbehaved, or if a limit is reached.
    fn attempt(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let open = self.open_links();
        let known = self.tried.get(&peer);
        let is_wanted = known.is_none_or(|tried| match &tried.link {
            // A peer that misbehaved is never tried again.
            Some(link) => link.closed().is_some_and(|error| !error.is_misbehaviour()) && tried.at.elapsed() >= RETRY,
            None => !tried.is_opening && tried.at.elapsed() >= RETRY,
        });
        let is_within_limits = open + self.opening.len() < MAX_LINKS
            && self.opening.len() < MAX_OPENING
            && (known.is_some() || self.tried.len() < MAX_TRIED);
        if peer == self.own || !is_wanted || !is_within_limits {
            return;
        }
        self.tried.insert(peer, Tried { at: Instant::now(), is_opening: true, link: None });
        let opener = self.opener.clone();
        self.opening.spawn(async move {
            match opener.open(peer, addresses).await {
                Ok(link) => (peer, Some(link)),
                Err(error) => {
                    tracing::debug!(%peer, %error, "cannot open a link to the peer");
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

    /// Handles results until the time `wait` has passed. Checks at the interval [`RETRY`] whether any link is open. If
    /// no link is open, returns early, so that the peers are tried again.
    async fn wait_for_round(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut next_check = Instant::now() + RETRY;
        loop {
            tokio::select! {
                () = self.handle_next_result() => {}
                () = tokio::time::sleep_until(until) => return,
                () = tokio::time::sleep_until(next_check) => match self.open_links() {
                    0 => return,
                    _ => next_check += RETRY,
                },
            }
        }
    }

    /// Waits for the next opened link or answer from a peer, and handles it. Never returns if no attempt and no request
    /// is running.
    async fn handle_next_result(&mut self) {
        tokio::select! {
            Some(opened) = self.opening.join_next() => self.handle_opened(opened),
            Some(answer) = self.asking.join_next() => self.handle_answer(answer),
            else => std::future::pending().await,
        }
    }

    fn handle_answer(&mut self, answer: Result<(PeerId, Vec<NamedPeer>), tokio::task::JoinError>) {
        let Ok((asked, found)) = answer else { return };
        self.asked.remove(&asked);
        for (peer, addresses) in found {
            self.attempt(peer, addresses);
        }
    }
}
