//! Tests of a provider over real loopback sockets: announcements, contact record, HTTP and remembered peers. Every node
//! runs in this process, on ports that the system chooses.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod announces_at_a_limited_rate;
mod contact_is_found;
mod http_endpoint;
mod remembers_peers;
mod support;
mod watches_files;
mod withdraws;
