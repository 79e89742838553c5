//! Phase's data model: what is published, how it is named, signed and stored.
//!
//! | module | holds |
//! |---|---|
//! | [`cid`], [`codec`], [`keys`], [`name`], [`time`] | the ground: identifiers, encoding, keys, names |
//! | [`chunker`], [`index`], [`chunkset`] | an artifact as chunks |
//! | [`envelope`], [`manifest`], [`dht`], [`trust`] | what is signed, and who may sign it |
//! | [`import`], [`store`] | artifacts, blocks and refs on disk or in memory |
//! | [`failure`] | which kind of failure an error is |
//!
//! Nothing here knows a runtime, a socket or a clock: times are passed in, and all I/O is blocking file I/O
//! behind [`store`].

pub mod chunker;
pub mod chunkset;
pub mod cid;
pub mod codec;
pub mod dht;
pub mod envelope;
pub mod failure;
pub mod import;
pub mod index;
pub mod keys;
pub mod manifest;
pub mod name;
pub mod store;
pub mod time;
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
pub use failure::{Fails, Failure};
pub use import::{ImportMode, ImportOptions};
pub use index::{
    ArtifactIndex, ByteRange, ChunkEntry, ChunkIndex, ChunkRange, EncodedIndex, IndexDecoder, IndexError, MAX_BLOCK_LEN,
};
pub use keys::{KeyError, KeyFileError, KeyId, PublicKey, SigningKey};
pub use manifest::{ArtifactEntry, FileName, Manifest, Role};
pub use name::{Label, Name, NameError};
pub use store::{Artifact, FileStore, MemStore, Partial, Store, StoreError};
pub use time::TrustedTime;
pub use trust::{ChannelRole, RootRole, TrustError, TrustRoot};
