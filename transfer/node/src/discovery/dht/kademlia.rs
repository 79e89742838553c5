//! Our part of the DHT: libp2p's Kademlia behind a guard.
//!
//! ```text
//! commands ──► Behaviour ──► kad::Behaviour ◄──► peers
//!                 │ inbound: limits, then Kademlia; records of others: validate, then store
//!                 │ outbound: what queries find: addresses filtered, searches told
//! ```
//!
//! libp2p answers questions without saying whose they were, so they are looked at before it gets them: what a peer asks
//! beyond its share never reaches Kademlia.

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
