//! Tests of the program `phase` that need no network: keys, trust roots, manifests, publishing, inspecting, and errors
//! for wrong input.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, also in its helpers")]

mod dht;
mod imports;
mod inspect;
mod keys;
mod manifests;
mod process;
mod publish;
mod roots;
mod sandbox;
mod store_lifecycle;
mod stores;
