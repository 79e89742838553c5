//! What the network promises, over real loopback sockets: every node runs in this process, on a port of its own.

#![cfg(feature = "dht")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod connections_fail_with_reasons;
mod dht;
mod nodes;
mod silence;
mod stranger;
