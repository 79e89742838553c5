//! Networks of Phase nodes on one machine: simulated swarms, networks of containers, a DHT of real nodes in one process, and
//! load and trouble for real nodes for as long as one likes.

#[cfg(feature = "dht")]
pub mod dht;
pub mod docker;
pub mod sim;
#[cfg(feature = "soak")]
pub mod soak;

mod publisher;
