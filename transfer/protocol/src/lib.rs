//! Phase's transfer protocol as state machines: no I/O, no clock, no threads.
//!
//! ```text
//! wire        encodes and decodes the frames of the protocol
//! scheduler   client: decides which chunk is requested from which peer
//! upload      provider: decides which peer is served next, and how fast
//! ```
//!
//! Time and RNG seeds are passed in, so a run with the same inputs gives the same outputs. `phase-transfer` drives
//! these state machines over libp2p streams; the simulator drives them in virtual time.
//!
//! # Example
//!
//! This example fetches an artifact without a network. The only peer has all chunks and delivers every chunk that is
//! requested from it.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use phase_core::{ArtifactIndex, ChunkEntry, ChunkRange, ChunkSet, ChunkerParams, Digest, HashAlgorithm};
//! use phase_protocol::scheduler::{Action, Arrival, ArtifactSlot, ChunkResult, Config, End, Event, Scheduler};
//! use phase_protocol::{HaveUpdate, PeerKey};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let chunks = vec![ChunkEntry { digest: Digest::new([0; 32]), len: 128 << 10 }; 40];
//! let index = ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, Digest::new([0; 32]), chunks)?;
//! let (peer, slot, now) = (PeerKey(1), ArtifactSlot(0), Instant::now());
//!
//! let mut scheduler = Scheduler::new(Config::default(), 1);
//! scheduler.handle_artifact(slot, Arc::new(index), &ChunkSet::new(40), 0);
//! scheduler.handle_peer(now, peer);
//! scheduler.handle_have(peer, slot, HaveUpdate::Full);
//! while let Some(Action::Request { id, peer, slot, ranges }) = scheduler.poll_action(now) {
//!     for chunk in ranges.iter().flat_map(ChunkRange::iter) {
//!         assert_eq!(scheduler.handle_arrival(peer, id, chunk), Arrival::Owed(slot));
//!         // A driver compares the chunk with its digest here, and writes it to the store.
//!         scheduler.handle_chunk(now, peer, id, slot, chunk, ChunkResult::Verified);
//!     }
//!     scheduler.handle_end(now, peer, id, End::Done);
//! }
//! assert!(std::iter::from_fn(|| scheduler.poll_event()).any(|event| event == Event::Complete));
//! # Ok(())
//! # }
//! ```

mod have_interval;
mod have_update;
mod peer;
mod request_id;
pub mod scheduler;
pub mod upload;
pub mod wire;

pub use have_interval::{MAX_HAVE_INTERVAL, MIN_HAVE_INTERVAL, have_interval};
pub use have_update::HaveUpdate;
pub use peer::PeerKey;
pub use request_id::RequestId;
