//! Real nodes in one process and in real time. The module [`dht`] runs a DHT of many nodes. The module [`soak`] runs
//! nodes under load and faults for any length of time.

pub mod dht;
mod memory;
pub mod soak;
