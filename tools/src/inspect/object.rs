//! Finds out from the bytes of a block what kind of block it is, and decodes it.

use phase_core::codec::from_dag_cbor_exact;
use phase_core::dht::Pointer;
use phase_core::envelope::Envelope;
use phase_core::index::{ChunkEntry, IndexDecoder};
use phase_core::manifest::Manifest;
use phase_core::trust::TrustRoot;
use phase_core::{ArtifactIndex, Cid, Codec, HashAlgorithm};
use serde::{Deserialize, Serialize};

/// A decoded block, or the whole index of an artifact.
pub(super) enum Object {
    Manifest(Envelope, Manifest),
    Root(Envelope, TrustRoot),
    Pointer(Envelope, Pointer),
    /// The whole index of an artifact.
    Index(ArtifactIndex),
    /// The root block of an index. Some leaf blocks of the index were not found.
    PartOfIndex {
        hash: HashAlgorithm,
        /// The number of missing leaf blocks.
        missing: usize,
    },
    /// A leaf block of an index.
    Leaf(Vec<ChunkEntry>),
}

/// A leaf block of an index, as it is encoded.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    v: u64,
    chunks: Vec<ChunkEntry>,
}

impl Object {
    /// Decodes a block. Returns `None` if `bytes` are not a block of a known kind. If they are the root block of an
    /// index, `block` looks up the leaf blocks. If `cid`, the CID of the block, is not known, tries each hash
    /// algorithm.
    pub(super) fn recognise(
        bytes: &[u8],
        cid: Option<Cid>,
        block: &mut dyn FnMut(&Cid) -> Option<Vec<u8>>,
    ) -> Option<Self> {
        if let Ok(envelope) = Envelope::decode(bytes) {
            return Self::of_envelope(envelope);
        }
        let guesses = [HashAlgorithm::Blake3, HashAlgorithm::Sha2_256].map(|hash| block_cid(bytes, hash));
        let guesses = cid.map_or(guesses.to_vec(), |cid| vec![cid]);
        if let Some(index) = guesses.into_iter().find_map(|cid| Self::of_index(bytes, cid, block)) {
            return Some(index);
        }
        from_dag_cbor_exact::<Leaf>(bytes).ok().filter(|leaf| leaf.v == 1).map(|leaf| Self::Leaf(leaf.chunks))
    }

    fn of_envelope(envelope: Envelope) -> Option<Self> {
        if let Ok(manifest) = envelope.payload_unverified() {
            return Some(Self::Manifest(envelope, manifest));
        }
        if let Ok(root) = envelope.payload_unverified() {
            return Some(Self::Root(envelope, root));
        }
        envelope.payload_unverified().ok().map(|pointer| Self::Pointer(envelope, pointer))
    }

    fn of_index(bytes: &[u8], cid: Cid, block: &mut dyn FnMut(&Cid) -> Option<Vec<u8>>) -> Option<Self> {
        let mut decoder = IndexDecoder::new(cid, u64::MAX);
        decoder.handle_block(&cid, bytes).ok()?;
        for leaf in decoder.wanted() {
            if let Some(bytes) = block(&leaf) {
                decoder.handle_block(&leaf, &bytes).ok()?;
            }
        }
        match decoder.wanted().len() {
            0 => decoder.finish().ok().map(Self::Index),
            missing => Some(Self::PartOfIndex { hash: cid.hash(), missing }),
        }
    }

    /// Returns the CID of the block that this object was recognised from. `bytes` must be the bytes of that block.
    pub(super) fn cid_of(&self, bytes: &[u8]) -> Cid {
        let hash = match self {
            Self::Index(index) => index.hash(),
            Self::PartOfIndex { hash, .. } => *hash,
            _ => HashAlgorithm::Blake3,
        };
        block_cid(bytes, hash)
    }
}

fn block_cid(bytes: &[u8], hash: HashAlgorithm) -> Cid {
    Cid::new(Codec::DagCbor, hash, hash.digest(bytes))
}
