//! The connected peers of a download: their links, and what is under way on each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use phase_core::Cid;
use phase_node::Backoff;
use phase_protocol::scheduler::ArtifactSlot;
use phase_protocol::{PeerKey, RequestId};
use tokio::time::Instant;

use crate::link::{LinkError, PeerLink};

/// How long to wait before a peer that has nothing of an artifact, or has stopped fetching it, is asked again: it may be
/// about to.
/// Doubles each time, up to the maximum.
const ASK_AGAIN_MIN: Duration = Duration::from_secs(1);
/// The longest such wait.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// A peer tells no more of an artifact.
struct Quiet {
    /// When to ask again; `None` while an answer is awaited.
    again_at: Option<Instant>,
    backoff: Backoff,
}

/// A peer with a link.
struct Connected {
    link: Arc<PeerLink>,
    since: Instant,
    /// Subscriptions to what it has.
    subscriptions: BTreeMap<ArtifactSlot, RequestId>,
    /// Artifacts that it has not all of, and of which it tells no more.
    quiet: BTreeMap<ArtifactSlot, Quiet>,
}

/// Peers by the key under which the scheduler knows them. A peer that comes back has the same key.
#[derive(Default)]
pub(super) struct PeerLinks {
    connected: BTreeMap<PeerKey, Connected>,
    keys: BTreeMap<PeerId, PeerKey>,
    /// Peer ids by the number of their key.
    ids: Vec<PeerId>,
}

impl PeerLinks {
    pub(super) fn len(&self) -> usize {
        self.connected.len()
    }

    /// The key of a connected peer.
    pub(super) fn key_of(&self, id: &PeerId) -> Option<PeerKey> {
        self.keys.get(id).copied().filter(|key| self.connected.contains_key(key))
    }

    /// Who is behind a key that this type has given out.
    pub(super) fn id(&self, key: PeerKey) -> PeerId {
        self.ids[key.0 as usize]
    }

    /// Since when a peer has been connected.
    pub(super) fn since(&self, key: PeerKey) -> Option<Instant> {
        self.connected.get(&key).map(|connected| connected.since)
    }

    /// Adds a link; `None` if its peer has one already.
    pub(super) fn insert(&mut self, link: Arc<PeerLink>, now: Instant) -> Option<PeerKey> {
        let id = link.peer();
        if self.key_of(&id).is_some() {
            return None;
        }
        let key = *self.keys.entry(id).or_insert_with(|| {
            self.ids.push(id);
            PeerKey(self.ids.len() as u64 - 1)
        });
        let connected = Connected { link, since: now, subscriptions: BTreeMap::new(), quiet: BTreeMap::new() };
        self.connected.insert(key, connected);
        Some(key)
    }

    /// How many bytes of its replies have come from each connected peer.
    pub(super) fn received(&self) -> impl Iterator<Item = (PeerKey, u64)> + '_ {
        self.connected.iter().map(|(key, connected)| (*key, connected.link.received()))
    }

    /// Why the link of a connected peer is dead, if it is.
    pub(super) fn closed(&self, key: PeerKey) -> Option<LinkError> {
        self.connected.get(&key)?.link.closed()
    }

    /// Forgets a peer and all that is under way with it; gives back its link, if it had one.
    pub(super) fn remove(&mut self, key: PeerKey) -> Option<Arc<PeerLink>> {
        self.connected.remove(&key).map(|connected| connected.link)
    }

    /// The link of a connected peer.
    pub(super) fn link(&self, key: PeerKey) -> Option<&PeerLink> {
        self.connected.get(&key).map(|connected| connected.link.as_ref())
    }

    /// Asks a peer what it has of an artifact.
    pub(super) fn subscribe(
        &mut self,
        key: PeerKey,
        slot: ArtifactSlot,
        artifact: Cid,
        chunks: u32,
    ) -> Result<(), LinkError> {
        let Some(connected) = self.connected.get_mut(&key) else { return Err(LinkError::Ended) };
        let id = connected.link.subscribe(artifact, chunks)?;
        connected.subscriptions.insert(slot, id);
        Ok(())
    }

    /// All connected peers.
    pub(super) fn keys(&self) -> Vec<PeerKey> {
        self.connected.keys().copied().collect()
    }

    /// The peer tells no more of an artifact: it will be asked again.
    pub(super) fn note_quiet(&mut self, key: PeerKey, slot: ArtifactSlot, now: Instant) {
        let Some(connected) = self.connected.get_mut(&key) else { return };
        let new = || Quiet { again_at: None, backoff: Backoff::new(ASK_AGAIN_MIN, ASK_AGAIN_MAX) };
        let quiet = connected.quiet.entry(slot).or_insert_with(new);
        quiet.again_at = Some(now + quiet.backoff.next_wait());
    }

    /// The peer tells what it has of an artifact: should it fall quiet again, that is a new beginning.
    pub(super) fn note_told(&mut self, key: PeerKey, slot: ArtifactSlot) {
        if let Some(connected) = self.connected.get_mut(&key) {
            connected.quiet.remove(&slot);
        }
    }

    /// The peers to be asked again now, and about what. Each is named once until it is quiet again.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(PeerKey, ArtifactSlot)> {
        let mut due = Vec::new();
        for (key, connected) in &mut self.connected {
            for (slot, quiet) in &mut connected.quiet {
                if quiet.again_at.take_if(|at| *at <= now).is_some() {
                    due.push((*key, *slot));
                }
            }
        }
        due
    }

    /// Nobody need say any more what it has of an artifact.
    pub(super) fn unsubscribe_all(&mut self, slot: ArtifactSlot) {
        for connected in self.connected.values_mut() {
            connected.quiet.remove(&slot);
            if let Some(id) = connected.subscriptions.remove(&slot) {
                let _ = connected.link.cancel(id);
            }
        }
    }
}
