//! The transports with which a node dials and listens.
//!
//! A node uses TCP with TLS or Noise, and QUIC. Feature `dns` adds host names in the addresses of both. Feature
//! `memory` adds connections within the process.

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
