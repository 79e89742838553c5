//! What the network promises, over real loopback sockets: every node runs in this process, on a port of its own.

#![cfg(feature = "net")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod connections_fail_with_reasons;
mod dht;
mod gate;
mod nodes;
mod raw;
mod server_keeps_within_bounds;
mod server_refuses_nonsense;
mod silence;
mod stranger;
mod uploads_are_shared_out;
