//! The connected peers of a download, with their links and subscriptions.

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

/// The initial backoff before subscribing again to a peer that has no chunk of an artifact or has stopped fetching it.
/// The peer may start to fetch the artifact later. The backoff doubles each time, up to [`RESUBSCRIBE_MAX`].
const RESUBSCRIBE_MIN: Duration = Duration::from_secs(1);
/// The longest backoff before subscribing again.
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(30);

/// A subscription that the peer has ended although the peer may gain more chunks.
struct EndedSubscription {
    /// When to subscribe again, or `None` while a reply to the new subscription is awaited.
    again_at: Option<Instant>,
    backoff: Backoff,
}

/// A connected peer, with its link and the subscriptions to its have updates.
struct Connected {
    link: Arc<PeerLink>,
    since: Instant,
    /// The request id of the latest subscription to each artifact.
    subscriptions: BTreeMap<ArtifactSlot, RequestId>,
    /// Subscriptions that the peer has ended although the peer may gain more chunks.
    ended: BTreeMap<ArtifactSlot, EndedSubscription>,
}

/// The connected peers, by scheduler key. A peer that reconnects keeps its key.
#[derive(Default)]
pub(super) struct PeerLinks {
    connected: BTreeMap<PeerKey, Connected>,
    keys: BTreeMap<PeerId, PeerKey>,
    /// The peer id of each [`PeerKey`]. The number of a key is the position of its peer id in this list.
    ids: Vec<PeerId>,
}

impl PeerLinks {
    pub(super) fn len(&self) -> usize {
        self.connected.len()
    }

    /// Returns the key of a connected peer.
    pub(super) fn key_of(&self, id: &PeerId) -> Option<PeerKey> {
        self.keys.get(id).copied().filter(|key| self.connected.contains_key(key))
    }

    /// Returns the peer id that belongs to a scheduler key.
    ///
    /// # Panics
    /// If [`insert`](Self::insert) has never returned this key.
    pub(super) fn id(&self, key: PeerKey) -> PeerId {
        self.ids[key.0 as usize]
    }

    /// Returns the time at which the link of a connected peer was added.
    pub(super) fn since(&self, key: PeerKey) -> Option<Instant> {
        self.connected.get(&key).map(|connected| connected.since)
    }

    /// Adds a link and returns the key of its peer, or `None` if the peer has a link already.
    pub(super) fn insert(&mut self, link: Arc<PeerLink>, now: Instant) -> Option<PeerKey> {
        let id = link.peer();
        if self.key_of(&id).is_some() {
            return None;
        }
        let key = *self.keys.entry(id).or_insert_with(|| {
            self.ids.push(id);
            PeerKey(self.ids.len() as u64 - 1)
        });
        let connected = Connected { link, since: now, subscriptions: BTreeMap::new(), ended: BTreeMap::new() };
        self.connected.insert(key, connected);
        Some(key)
    }

    /// Returns how many bytes of replies each connected peer has sent.
    pub(super) fn received(&self) -> impl Iterator<Item = (PeerKey, u64)> + '_ {
        self.connected.iter().map(|(key, connected)| (*key, connected.link.received()))
    }

    /// Returns the error with which the link of a connected peer was closed, or `None` if the link is open.
    pub(super) fn closed(&self, key: PeerKey) -> Option<LinkError> {
        self.connected.get(&key)?.link.closed()
    }

    /// Removes a peer with its subscriptions. Returns the link of the peer, if it had one.
    pub(super) fn remove(&mut self, key: PeerKey) -> Option<Arc<PeerLink>> {
        self.connected.remove(&key).map(|connected| connected.link)
    }

    /// Returns the link of a connected peer.
    pub(super) fn link(&self, key: PeerKey) -> Option<&PeerLink> {
        self.connected.get(&key).map(|connected| connected.link.as_ref())
    }

    /// Subscribes to the have updates of a peer for an artifact.
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

    /// Returns the keys of all connected peers.
    pub(super) fn keys(&self) -> Vec<PeerKey> {
        self.connected.keys().copied().collect()
    }

    /// Schedules a new subscription to an artifact after a backoff, because the peer ended its have updates for the
    /// artifact.
    pub(super) fn note_have_ended(&mut self, key: PeerKey, slot: ArtifactSlot, now: Instant) {
        let Some(connected) = self.connected.get_mut(&key) else { return };
        let new = || EndedSubscription { again_at: None, backoff: Backoff::new(RESUBSCRIBE_MIN, RESUBSCRIBE_MAX) };
        let ended = connected.ended.entry(slot).or_insert_with(new);
        ended.again_at = Some(now + ended.backoff.next_wait());
    }

    /// Resets the backoff of new subscriptions to an artifact, because the peer announced new chunks of it.
    pub(super) fn note_have_update(&mut self, key: PeerKey, slot: ArtifactSlot) {
        if let Some(connected) = self.connected.get_mut(&key) {
            connected.ended.remove(&slot);
        }
    }

    /// Returns the peers and artifacts for which a new subscription is due. An ended subscription is returned only
    /// once.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(PeerKey, ArtifactSlot)> {
        let mut due = Vec::new();
        for (key, connected) in &mut self.connected {
            for (slot, ended) in &mut connected.ended {
                if ended.again_at.take_if(|at| *at <= now).is_some() {
                    due.push((*key, *slot));
                }
            }
        }
        due
    }

    /// Cancels all subscriptions to an artifact.
    pub(super) fn unsubscribe_all(&mut self, slot: ArtifactSlot) {
        for connected in self.connected.values_mut() {
            connected.ended.remove(&slot);
            if let Some(id) = connected.subscriptions.remove(&slot) {
                let _ = connected.link.cancel(id);
            }
        }
    }
}
