//! The store of artifacts, blocks and refs: on disk ([`FileStore`]) or in RAM ([`MemStore`]).
//!
//! ```text
//! <store>/
//!   format                  "phase-store 1"
//!   blocks/<cid>            envelopes and index blocks
//!   artifacts/<cid>         a complete artifact, which can be served
//!   artifacts/<cid>.seal    the seal of an artifact
//!   artifacts/<cid>.part    a partial artifact: a sparse file of full length with the verified chunks
//!   artifacts/<cid>.have    the bitmap of the synced chunks in the .part file
//!   pins/<cid>              an empty file: the release or artifact is pinned
//!   served                  the CIDs that the running provider announces
//!   damaged/<cid>.<n>       a few damaged files of artifacts, which were set aside
//!   refs/<channel>/<arch>   the signed pointer record of each name
//!   tmp/                    files being written; the process that writes a file holds its lock
//!   chunks.redb             the chunk map; may be deleted at any time, because it is made from the indexes
//!   identity.key            the node's key, mode 0600
//!   peers.toml              the remembered peers of a provider, for its next start
//!   provider.lock           locked by a running provider
//!   locks/<channel>+<arch>  locked by a publisher of the name, from reading the version to setting the ref
//!   store.lock              locked for short steps that only one process may do at a time
//! ```
//!
//! A provider can keep what it writes in another folder (`--state DIR`): `served`, `tmp/`, `chunks.redb`, `identity.key`,
//! `peers.toml`, `provider.lock`, `store.lock`, and seals of its own. The store is then never written to, so it may lie
//! on read-only media.
//!
//! Invariants, which hold even after a crash at any instruction:
//!
//! - Everything that the store lists (an artifact, a chunk of a partial artifact, a block, a ref) was verified and can
//!   be served. A file that was changed later is detected when it is opened and at every read, and is not served.
//! - A ref, a block or a `.have` file has either its old content or its new content, never a mixture. A damaged seal is
//!   ignored, so the artifact is hashed again.
//! - Several processes may share a store. A change by one process is immediately visible to all. Only one process at a
//!   time writes an artifact.
//! - No symbolic link inside the store is followed. Files of another user are hashed by this process before they are
//!   served, whatever their seals say.
//!
//! All calls block.

mod artifact;
pub mod backend;
mod blocks;
pub(crate) mod chunk_file;
mod chunk_map;
mod confined;
mod copy;
mod damage;
mod denied;
mod errno;
mod error;
mod file_store;
mod import_space;
mod input;
mod interface;
mod layout;
mod lifecycle;
mod lock;
mod mem;
pub(crate) mod os;
mod partial;
mod place;
mod refs;
mod seal;
mod shortage;
mod space;
mod temp;
mod zeros;

pub use damage::{Damage, RefProblem};
pub(crate) use errno::cannot_sync_folders;
pub use error::StoreError;
pub use file_store::FileStore;
pub use import_space::ImportSource;
pub use input::STANDARD_INPUT;
pub(crate) use input::{Probe, can_be_referred_to, probe};
pub use interface::{Artifact, Partial, Store};
pub use lifecycle::inventory::{ArtifactState, Inventory, ReleaseUsage, StoredArtifact};
pub use lifecycle::plan::{FileKind, RemovedFile};
pub use lifecycle::prune::Prune;
pub use lifecycle::release::{Selector, SelectorError, StoredRelease};
pub use lifecycle::sweep::{GRACE, Goal, PART_AGE, Removal, Removed};
pub use lifecycle::verify::{Problem, ProblemKind, VerifyProgress};
pub use lock::{NameLock, ProviderLock};
pub use mem::MemStore;
pub use os::OsBackend;
pub(crate) use os::descriptor_limit;
pub use place::StoreWarning;
pub use shortage::Shortage;
pub(crate) use shortage::Size;
pub use space::Need;
pub(crate) use space::check_in;
