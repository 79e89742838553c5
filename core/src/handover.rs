//! Hand-over: how artifacts leave a store for use, as files in a folder, as one file, on a block device or on standard
//! output.
//!
//! ```text
//! Target ──prepare──► Output ──export (from a store), or InPlaceStore (during the fetch)──► Output ──commit──► visible
//! ```
//!
//! Invariants:
//!
//! - Every byte is hashed on its way out and compared with the signed CID, whatever the seals of the store say.
//! - Everything that can be checked before the first byte is checked in [`Output::prepare`]: the names, the free space,
//!   the size and the state of a device.
//! - Files are written into a private folder with a random name and become visible when all of them are complete: all
//!   or none. A block device and standard output cannot hide what was written; see [`Target`].

pub mod backend;
mod device;
mod error;
mod export;
mod folder;
mod in_place;
mod output;
mod staging;
mod stream;
mod verify;

pub use error::HandoverError;
pub use export::{Mode, export};
pub use in_place::InPlaceStore;
pub use output::{Output, Target};
