//! What a node dials and listens with.
//!
//! TCP with TLS or Noise, and QUIC; with feature `dns` names in addresses of both, with feature `memory` addresses within
//! this process.

mod batched;
mod config;
mod late_dial;
#[cfg(feature = "dns")]
mod names;
mod outflow;
mod security;
mod set_up;
mod stack;
mod swarm;
mod tls;
mod unsent;

pub use config::{Connections, TransportConfig};
pub use stack::connections;
pub(crate) use swarm::build_swarm;

#[cfg(test)]
mod tests;
