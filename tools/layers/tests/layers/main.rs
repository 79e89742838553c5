//! The rules of the layers: each is seen to fail on a workspace made to break it, and this workspace keeps them.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod dependencies;
mod files;
mod fixture;
mod layers;
mod packages;
mod workspace;
