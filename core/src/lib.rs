//! Phase's data model: what is published, how it is named, signed and stored.
//!
//! Nothing here knows a runtime, a socket or a clock: times are passed in, and all I/O is blocking file I/O
//! behind [`store`].

pub mod authority;
pub mod chunker;
pub mod chunkset;
pub mod cid;
pub mod codec;
pub mod contact;
pub mod dht_key;
pub mod envelope;
pub mod failure;
pub mod import;
pub mod index;
pub mod keys;
pub mod manifest;
pub mod name;
pub mod pointer;
pub mod record;
pub mod signed_record;
pub mod store;
pub mod trust;

pub use authority::Authority;
pub use chunker::{Chunker, ChunkerParams, MAX_CHUNK_LEN, Segment};
pub use chunkset::ChunkSet;
pub use cid::{Cid, CidError, Codec, Digest, HashAlgorithm};
pub use codec::V1;
pub use contact::{Contact, PeerText, PeerTextError};
pub use dht_key::{DhtKey, DhtKeyError, MAX_DHT_KEY_LEN};
pub use envelope::{Envelope, EnvelopeError, MAX_ENVELOPE_LEN, Payload};
pub use failure::Failure;
pub use import::{ImportMode, ImportOptions};
pub use index::{
    ArtifactIndex, ByteRange, ChunkEntry, ChunkIndex, ChunkRange, EncodedIndex, IndexDecoder, IndexError, MAX_BLOCK_LEN,
};
pub use keys::{KeyError, KeyFileError, KeyId, PublicKey, SigningKey};
pub use manifest::{ArtifactEntry, FileName, Manifest, Role};
pub use name::{Label, Name, NameError};
pub use pointer::{MAX_POINTER_LEN, Pointer};
pub use record::{DhtRecord, InvalidRecord, MAX_RECORD_LEN, RecordError};
pub use signed_record::SignedRecord;
pub use store::{Artifact, FileStore, MemStore, Partial, Store, StoreError};
pub use trust::{ChannelRole, RootRole, TrustError, TrustRoot, TrustedTime};
