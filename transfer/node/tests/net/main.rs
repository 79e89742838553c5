//! Tests of the network over real loopback sockets. Every node runs in this process and listens on its own port.

#![cfg(feature = "dht")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod dht;
mod failures_name_their_cause;
mod nodes;
mod raw_peer;
mod silent_protocol;
