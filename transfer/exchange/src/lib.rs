//! Moves chunks over libp2p streams: the drivers around the state machines of [`phase_protocol`].
//!
//! ```text
//! Server    accepts streams, answers from a Catalog, asks the upload queue which peer is served next
//! PeerLink  one stream to one peer: requests out, replies in
//! Download  tells the scheduler what the links report, carries out its actions
//! ```
//!
//! Invariant: a chunk is verified before any byte of it is written.

pub mod catalog;
pub mod download;
pub mod server;

mod buffers;
mod counted;
mod framing;
mod link;

pub use link::{HeadAnswer, LinkError, PeerLink};
