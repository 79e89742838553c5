//! Publishing: files become artifacts in a store, a manifest of them is signed, and the name points to it.
//!
//! ```text
//! files ─► Draft ──import──► Manifest ──sign──► Release ──make_visible──► the name's ref in the store
//! ```
//!
//! [`Publisher::publish`] does all of it. Every step checks what a client with the same trust root would check, so a
//! release that nobody accepts is refused before its files are read. The ref is set last and at once: after a crash the
//! name points to the release before, or to the new one.
//!
//! Nothing here reads a clock: `now` is in seconds of Unix time. All calls block.

mod draft;
mod error;
mod file;
mod import;
mod publisher;

pub use draft::Draft;
pub use error::PublishError;
pub use file::{FilesError, ReleaseFile};
pub use import::Progress;
pub use publisher::{Publisher, Release};
