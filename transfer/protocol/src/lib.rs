//! Phase's transfer protocol as state machines: no I/O, no clock, no threads.
//!
//! ```text
//! wire        frames and messages as bytes
//! scheduler   which chunk is requested from which peer
//! upload      which peer is served next, and how fast
//! ```
//!
//! Time and seeds are passed in, so a run with the same inputs gives the same outputs: `phase-transfer` drives these state
//! machines over libp2p streams, the simulator drives them in virtual time.

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
