//! What a server promises, over real loopback sockets: every node runs in this process, on a port of its own.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod raw;
mod served;
mod server_keeps_within_bounds;
mod server_refuses_nonsense;
mod uploads_are_shared_out;
