//! What every store promises, what the store on disk promises beyond that, and what survives crashes.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod conformance;
mod data;
mod disk;
mod fault_backend;
mod faults;
mod imports;
mod power_cut;
mod scenario;
