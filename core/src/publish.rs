//! Publishing: imports files into a store, signs a manifest that lists them, and points the name to the manifest.
//!
//! ```text
//! files ─► Draft ──import──► Manifest ──sign──► Release ──make_visible──► the name's ref in the store
//! ```
//!
//! [`Publisher::publish`] does all steps. It first does the checks of a client with the same trust root, so a release
//! that clients would refuse is refused before its files are read. The ref is set last, in one atomic step. After a
//! crash, the name therefore points either to the previous release or to the new release.
//!
//! This module reads no clock, so callers pass the current time as `now`, a Unix time in seconds. All calls block.

mod draft;
mod error;
mod file;
mod folder;
mod import;
mod publisher;
mod refused;
mod remark;

pub use draft::Draft;
pub use error::PublishError;
pub use file::{FilesError, ReleaseFile};
pub use folder::FolderFiles;
pub use import::Progress;
pub use publisher::{Publisher, Release};
pub use refused::{Refusal, Refused};
pub use remark::{Remark, RemarkKind, case_twins};
