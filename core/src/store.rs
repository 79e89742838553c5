//! Where artifacts, blocks and refs are kept: on disk ([`FileStore`]) or in memory ([`MemStore`]).
//!
//! ```text
//! <store>/
//!   format                  "phase-store 1"
//!   blocks/<cid>            envelopes, index blocks, roots
//!   artifacts/<cid>         a complete artifact, served from here
//!   artifacts/<cid>.seal    the state (size, time, inode) in which that file was verified
//!   artifacts/<cid>.part    being fetched: of full length, each verified chunk written in place
//!   artifacts/<cid>.have    which of its chunks are on disk: the data is synced first, then this replaced
//!   refs/<channel>/<arch>   the signed pointer record of each name
//!   tmp/                    files being written; whoever writes one holds its lock
//!   chunks.redb             chunk to artifact and position; derived, may be deleted at any time
//!   identity.key            the node's key, mode 0600
//!   peers.toml              good peers of a provider, for its next start
//!   provider.lock           locked by a running provider
//!   store.lock              locked for moments, where processes must take turns
//! ```
//!
//! Invariants, also after a crash at any instruction:
//!
//! - What the store claims (an artifact, a chunk of a partial one, a block, a ref) it can serve, and has verified.
//!   Files that changed since are noticed when opened and at every read, and are not served.
//! - A ref, a block or a `.have` is what it was or what it became, never a mixture. A seal that is damaged says
//!   nothing: the file is hashed again.
//! - Several processes may share a store: all of the above is visible to the others at once. An artifact is written
//!   by one at a time.
//!
//! All calls block.

mod artifact;
pub mod backend;
mod blocks;
mod chunk_map;
mod damage;
mod error;
mod file_store;
mod interface;
mod layout;
mod lock;
mod mem;
mod os;
mod partial;
mod refs;
mod seal;
mod source;
mod temp;

pub use damage::{Damage, RefProblem};
pub use error::StoreError;
pub use file_store::FileStore;
pub use interface::{Artifact, Partial, Store};
pub use lock::ProviderLock;
pub use mem::MemStore;
pub use os::OsBackend;
