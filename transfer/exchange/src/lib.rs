//! Moves chunks over libp2p streams. The state machines of [`phase_protocol`] decide, and this crate does their input
//! and output.
//!
//! ```text
//! Server    accepts streams, answers requests from a Catalog; the upload queue decides which peer is served next
//! PeerLink  one stream to one peer: sends requests, receives replies
//! Download  passes the events of the links to the scheduler and carries out the scheduler's actions
//! ```
//!
//! Invariant: a chunk is verified before any byte of it is written.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use phase_core::{Cid, MemStore, Store as _};
//! use phase_node::{Node, NodeConfig};
//! use phase_transfer::PeerLink;
//! use phase_transfer::catalog::Catalog;
//! use phase_transfer::server::{self, Server};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One node serves a store with one block.
//! let (store, block) = (MemStore::default(), b"\xa0");
//! store.put_block(&Cid::of_block(block), block)?;
//! let serving = Node::start(NodeConfig { listen: vec!["/ip4/127.0.0.1/tcp/0".parse()?], ..NodeConfig::default() }).await?;
//! let _server = Server::start(serving.handle(), Arc::new(Catalog::new(Arc::new(store))), server::Config::default());
//!
//! // A second node opens a link to it and requests the block, which the link verifies.
//! let asking = Node::start(NodeConfig::default()).await?;
//! let addresses = serving.handle().listen_addresses().await;
//! let link = PeerLink::open(asking.handle(), serving.handle().peer_id(), addresses).await?;
//! assert_eq!(link.block(&Cid::of_block(block)).await?, block);
//! # Ok(())
//! # }
//! ```

pub mod catalog;
pub mod download;
pub mod server;

mod buffers;
mod counted;
mod framing;
mod link;

pub use link::{HeadAnswer, LinkError, PeerLink};
