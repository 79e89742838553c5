//! The progress of a running download, and the report of an ended one.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;

use crate::link::LinkError;

/// The progress of a download. All figures except `peers` only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The size of all wanted artifacts, in bytes.
    pub total: u64,
    /// Verified bytes in the store, including `resumed` and `repeated`. Equal to `total` at the end.
    pub verified: u64,
    /// Bytes that the store already had, from an earlier run or in other artifacts.
    pub resumed: u64,
    /// Bytes that are not fetched because they are zeros, or chunks that are equal to another chunk of their artifact.
    pub repeated: u64,
    /// The number of wanted artifacts.
    pub artifacts: u64,
    /// The number of wanted artifacts that are complete.
    pub complete: u64,
    /// The number of connected peers.
    pub peers: u64,
    /// Verified bytes received from each peer.
    pub by_peer: BTreeMap<PeerId, u64>,
}

impl Progress {
    /// Returns the number of verified bytes that peers have sent. A rate is measured from it.
    pub fn fetched(&self) -> u64 {
        self.by_peer.values().sum()
    }

    /// Returns the number of bytes that are fetched or were already in the store. Grows up to [`Progress::needed`].
    pub fn done(&self) -> u64 {
        self.resumed.saturating_add(self.fetched()).min(self.needed())
    }

    /// Returns the size of all wanted artifacts without the repeated bytes, in bytes.
    pub fn needed(&self) -> u64 {
        self.total.saturating_sub(self.repeated)
    }
}

/// The verdict on a peer at the end of a download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The peer was used until the end of the download.
    #[default]
    Good,
    /// The peer disconnected or was dropped. Contains the reason.
    Lost(String),
    /// The peer sent bytes that did not verify, or broke the protocol. Contains the reason. The peer is not used again
    /// in this run.
    Banned(String),
}

impl Verdict {
    /// Returns the verdict on a peer whose link was closed with `error`.
    pub(super) fn of(error: &LinkError) -> Self {
        let verdict = if error.is_misbehaviour() { Self::Banned } else { Self::Lost };
        verdict(error.to_string())
    }
}

/// The contribution of one peer to a download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerReport {
    /// Verified bytes received from the peer.
    pub bytes: u64,
    /// Verified chunks received from the peer.
    pub chunks: u64,
    /// The time from the start of a link to the peer until the last verified chunk on it. With several links, the
    /// longest of these times.
    pub active: Duration,
    /// The verdict on the peer.
    pub verdict: Verdict,
}

impl PeerReport {
    /// Counts a verified chunk of `len` bytes, which arrived after a link to the peer had been open for `active`.
    pub(super) fn credit(&mut self, len: u64, active: Duration) {
        self.bytes += len;
        self.chunks += 1;
        self.active = self.active.max(active);
    }

    /// Returns the mean rate over `active` in bytes per second, or 0 if the peer sent no verified chunk.
    pub fn rate(&self) -> f64 {
        let seconds = self.active.as_secs_f64();
        if seconds > 0.0 { self.bytes as f64 / seconds } else { 0.0 }
    }
}

/// The report of a download: its bytes, its time, and the contribution of each peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The size of all wanted artifacts, in bytes.
    pub total: u64,
    /// Bytes that the store already had, from an earlier run or in other artifacts.
    pub resumed: u64,
    /// Bytes that were not fetched because they are zeros, or chunks that are equal to another chunk of their artifact.
    /// They are not included in `resumed`.
    pub repeated: u64,
    /// The time from the start to the end of the download.
    pub elapsed: Duration,
    /// The number of chunks that had to be requested again, because their peer did not deliver them. For instance, the
    /// peer was lost or banned, stalled, refused the request or was too slow.
    pub reassigned: u64,
    /// Bytes of chunks that arrived and were not needed. Either the chunk was already verified, or the request had been
    /// given up.
    pub duplicate_bytes: u64,
    /// The contribution of each peer that had a link.
    pub peers: BTreeMap<PeerId, PeerReport>,
}

impl Report {
    /// Returns the number of bytes that the download had to fetch: the size of all wanted artifacts without the bytes
    /// that the store already had and the repeated bytes.
    pub fn to_fetch(&self) -> u64 {
        self.total.saturating_sub(self.resumed).saturating_sub(self.repeated)
    }
}
