//! Tests of the stores: what every store guarantees, what the store on disk guarantees in addition, and what survives
//! crashes.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod conformance;
mod data;
mod disk;
mod fault_backend;
mod faults;
mod imports;
mod power_cut;
mod scenario;
