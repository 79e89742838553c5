//! This node's part of the DHT. Wraps libp2p's Kademlia and adds limits and checks.
//!
//! ```text
//! commands ──► Behaviour ──► kad::Behaviour ◄──► peers
//!                 │ inbound: requests pass limits, then Kademlia; records from peers pass validate, then store
//!                 │ outbound: query results, with filtered addresses, go to the searches that wait for them
//! ```
//!
//! libp2p's Kademlia answers requests without reporting which peer sent them. So this module counts requests before
//! Kademlia receives them, and drops requests above a peer's limit.

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
