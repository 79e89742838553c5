//! Tests of the wire format, the scheduler and the upload queue through their public interfaces.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod documented_examples;
mod order_window;
mod scheduler_invariants;
mod scheduler_promises;
mod upload_fairness;
mod wire_format;
mod wire_limits;
