//! This node's part of the DHT. Wraps libp2p's Kademlia and adds limits and checks.
//!
//! ```text
//! commands ──► Behaviour ──► kad::Behaviour ◄──► peers
//!                 │ inbound: limits the requests of each peer, and stores the valid records from peers
//!                 │ outbound: starts queries, and sends their results to the callers
//! ```
//!
//! libp2p's Kademlia answers requests without reporting which peer sent them. So this module counts each request before
//! Kademlia receives it. A request above the limit of its peer does not reach Kademlia.

mod behaviour;
mod connections;
mod inbound;
mod limits;
mod messages;
mod outbound;
mod providers;
mod queries;
mod settings;
mod shares;
mod store;
mod validate;

pub(crate) use behaviour::Behaviour;
