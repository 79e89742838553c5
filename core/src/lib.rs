//! Phase's data model: what is published, how it is named, signed and stored.
//!
//! | module | holds |
//! |---|---|
//! | [`cid`], [`codec`], [`keys`], [`name`], [`time`] | identifiers, encoding, keys, names, times |
//! | [`chunker`], [`index`], [`chunkset`] | an artifact as chunks |
//! | [`envelope`], [`manifest`], [`dht`], [`trust`] | signed data, and the rules for which keys may sign it |
//! | [`import`], [`store`] | artifacts, blocks and refs, on disk or in RAM |
//! | [`publish`] | making a signed release from files |
//! | [`failure`] | the kinds of failure that callers handle differently |
//! | [`token_bucket`] | a rate limit for bytes or requests |
//!
//! This crate uses no async runtime, no socket and no clock. Callers pass in the current time, and file I/O blocks.
//!
//! # Publishing a file
//!
//! ```
//! use phase_core::publish::{Draft, Publisher, ReleaseFile};
//! use phase_core::{Envelope, FileStore, Name, SigningKey, Store, TrustRoot, TrustedTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("vmlinuz");
//! std::fs::write(&path, "the bytes of a kernel")?;
//! let (now, later) = (1_700_000_000, 1_800_000_000);
//!
//! // One key signs everything. Clients carry the signed trust root.
//! let name: Name = "stable/x86_64".parse()?;
//! let key = SigningKey::generate()?;
//! let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], now, later);
//! let root = Envelope::signed(&root, [&key])?.encode();
//!
//! // Import the file, sign a manifest that lists it, and point the name to the manifest.
//! let store = FileStore::open(folder.path().join("store"))?;
//! let kernel = ReleaseFile::new("kernel".parse()?, "vmlinuz".parse()?, path)?;
//! let draft = Draft::new(&name, vec![kernel], now, later).with_label("2025.1");
//! Publisher::new(&root, vec![key])?.publish(&store, &draft, now, &mut |_| {})?;
//!
//! // A client that has the trust root verifies the pointer.
//! let pointer = store.pointer(&name)?.ok_or("nothing is published")?;
//! let pointer = TrustRoot::decode_trusted(&root)?.verify_pointer(&pointer, &name, TrustedTime(now))?;
//! assert_eq!(pointer.version, 1);
//! # Ok(())
//! # }
//! ```

pub mod chunker;
pub mod chunkset;
pub mod cid;
pub mod codec;
pub mod dht;
pub mod envelope;
pub mod failure;
pub mod handover;
pub mod import;
pub mod index;
pub mod keys;
pub mod manifest;
pub mod name;
pub mod publish;
pub mod store;
pub mod time;
pub mod token_bucket;
pub mod trust;

pub use chunker::{Chunker, ChunkerParams, MAX_CHUNK_LEN, Segment};
pub use chunkset::ChunkSet;
pub use cid::{Cid, CidError, Codec, Digest, HashAlgorithm};
pub use codec::V1;
pub use dht::{
    Authority, Contact, DhtKey, DhtKeyError, DhtRecord, MAX_DHT_KEY_LEN, MAX_POINTER_LEN, MAX_RECORD_LEN, PeerText,
    PeerTextError, Pointer, RecordError, SignedRecord,
};
pub use envelope::{Envelope, EnvelopeError, MAX_ENVELOPE_LEN, Payload};
pub use failure::{Attempt, Cause, Fails, Failure};
pub use import::{ImportMode, ImportOptions};
pub use index::{
    ArtifactIndex, ByteRange, ChunkEntry, ChunkIndex, ChunkRange, EncodedIndex, IndexDecoder, IndexError, MAX_BLOCK_LEN,
};
pub use keys::{KeyError, KeyFileError, KeyId, PublicKey, SigningKey};
pub use manifest::{ArtifactEntry, FileName, Manifest, Role};
pub use name::{Label, Name, NameError};
pub use publish::{Draft, PublishError, Publisher, ReleaseFile};
pub use store::{Artifact, FileStore, MemStore, Need, Partial, Store, StoreError};
pub use time::TrustedTime;
pub use token_bucket::TokenBucket;
pub use trust::{ChannelRole, RootRole, TrustError, TrustRoot};
