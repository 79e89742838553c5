//! Everything about `phase` that needs no network, through the real binary: keys, roots, manifests, publishing,
//! inspecting, and what bad input gets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, also in its helpers")]

mod dht;
mod inspect;
mod keys;
mod manifests;
mod process;
mod publish;
mod roots;
mod stores;
mod support;
