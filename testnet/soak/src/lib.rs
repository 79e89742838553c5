//! Real nodes in one process and in real time: [`dht`] is a DHT of many nodes, [`soak`] is load and trouble for as long as one
//! likes.

pub mod dht;
mod memory;
pub mod soak;
