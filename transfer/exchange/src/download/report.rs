//! What a download tells while it runs and when it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;

use crate::link::LinkError;

/// How far a download is. All figures only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes wanted.
    pub total: u64,
    /// Bytes verified and written, those of earlier runs included.
    pub verified: u64,
    /// Bytes that were on disk when it began.
    pub resumed: u64,
    /// Artifacts wanted.
    pub artifacts: u64,
    /// Artifacts complete.
    pub complete: u64,
    /// Peers connected now.
    pub peers: u64,
    /// Verified bytes by peer.
    pub by_peer: BTreeMap<PeerId, u64>,
}

/// Why a peer is no longer used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Used to the end.
    Good,
    /// Went away.
    Lost(String),
    /// Sent something that did not verify, or broke the protocol: not used again in this run.
    Banned(String),
}

impl Verdict {
    /// That about a peer whose link has ended.
    pub(super) fn of(error: &LinkError) -> Self {
        let verdict = if error.is_misbehaviour() { Self::Banned } else { Self::Lost };
        verdict(error.to_string())
    }
}

/// What one peer contributed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// Verified bytes.
    pub bytes: u64,
    /// Verified chunks.
    pub chunks: u64,
    /// From its first request to its last chunk.
    pub active: Duration,
    /// How it ended.
    pub verdict: Verdict,
}

impl PeerReport {
    /// Bytes per second while it was active; 0 if it delivered nothing.
    pub fn rate(&self) -> f64 {
        let seconds = self.active.as_secs_f64();
        if seconds > 0.0 { self.bytes as f64 / seconds } else { 0.0 }
    }
}

/// What a download did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes wanted.
    pub total: u64,
    /// Bytes that were on disk already.
    pub resumed: u64,
    /// From the start to the last artifact in place.
    pub elapsed: Duration,
    /// Chunks that were asked of one peer and then of another, because the first was lost or too slow.
    pub reassigned: u64,
    /// Bytes that arrived twice.
    pub duplicate_bytes: u64,
    /// Every peer that was used.
    pub peers: BTreeMap<PeerId, PeerReport>,
}
