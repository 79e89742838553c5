//! Tests of the stores: the guarantees of every store, further guarantees of the store on disk, and the effects of
//! faults and power cuts on it.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod conformance;
mod data;
mod disk;
mod fault_backend;
mod faults;
mod fetch_space;
mod handover;
mod imports;
mod inputs;
mod lifecycle;
mod owners;
mod place;
mod power_cut;
mod quirks;
mod repeats;
mod scenario;
mod whole_life;
