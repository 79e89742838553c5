//! Tests of the server over real loopback sockets. All nodes run in this process, each on its own port.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod raw;
mod served;
mod server_keeps_within_bounds;
mod server_refuses_nonsense;
mod uploads_are_rate_limited_and_fair;
