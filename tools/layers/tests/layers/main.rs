//! Tests of the rules. They check that each rule reports a workspace that violates it, and that Phase's own workspace
//! follows every rule.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod dependencies;
mod files;
mod fixture;
mod layers;
mod packages;
mod workspace;
