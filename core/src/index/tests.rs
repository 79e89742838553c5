//! Tests of encoding and decoding indexes. The tests use small blocks, so that an index with few chunks already has
//! leaf blocks.

use proptest::prelude::*;
use serde::Serialize;

use super::encode::{self, encode};
use super::*;
use crate::chunker::ChunkerParams;
use crate::cid::{Cid, Codec, Digest, HashAlgorithm};
use crate::codec::to_dag_cbor;

/// A block length, in bytes, at which a root block lists up to 6 chunks and a leaf block up to 12.
const SMALL_BLOCK: usize = 512;
const KIB: u32 = 1024;

fn params() -> ChunkerParams {
    ChunkerParams::new(64, 256, KIB).unwrap()
}

fn digest(seed: u64) -> Digest {
    HashAlgorithm::Blake3.digest(&seed.to_le_bytes())
}

fn index_of(hash: HashAlgorithm, lens: &[u32]) -> ArtifactIndex {
    let chunks = lens.iter().zip(0..).map(|(&len, seed)| ChunkEntry { digest: digest(seed), len }).collect();
    ArtifactIndex::new(params(), hash, digest(u64::MAX), chunks).unwrap()
}

fn of_count(count: u32) -> ArtifactIndex {
    index_of(HashAlgorithm::Blake3, &vec![100; count as usize])
}

/// Decodes an index from `blocks`. Stops early if `blocks` does not contain a wanted block.
fn decode(root: Cid, blocks: &[(Cid, Vec<u8>)], max_size: u64) -> Result<ArtifactIndex, IndexError> {
    let mut decoder = IndexDecoder::with_block_len(root, max_size, SMALL_BLOCK);
    while let wanted @ [_, ..] = &decoder.wanted()[..] {
        let Some((cid, bytes)) = blocks.iter().rev().find(|(cid, _)| wanted.contains(cid)) else { break };
        decoder.handle_block(cid, bytes)?;
    }
    decoder.finish()
}

/// Decodes an index from the root block `root` alone.
fn decode_root<T: Serialize>(root: &T) -> Result<ArtifactIndex, IndexError> {
    let bytes = to_dag_cbor(root);
    let cid = Cid::of_block(&bytes);
    decode(cid, &[(cid, bytes)], u64::MAX)
}

fn root_of(index: &ArtifactIndex) -> encode::Root {
    crate::codec::from_dag_cbor_exact(&encode(index, SMALL_BLOCK).blocks[0].1).unwrap()
}

proptest! {
    #[test]
    fn an_index_decoded_from_its_blocks_is_unchanged(
        lens in proptest::collection::vec(64..=KIB, 0..100),
        last in 1..=KIB,
        sha in any::<bool>(),
    ) {
        let hash = if sha { HashAlgorithm::Sha2_256 } else { HashAlgorithm::Blake3 };
        let index = index_of(hash, &[lens, vec![last]].concat());
        let encoded = encode(&index, SMALL_BLOCK);
        prop_assert!(encoded.blocks[1..].iter().all(|(_, bytes)| bytes.len() <= SMALL_BLOCK));
        prop_assert!(encoded.blocks.iter().all(|(cid, bytes)| cid.verify(bytes).is_ok() && cid.hash() == hash));
        prop_assert_eq!(decode(encoded.root, &encoded.blocks, index.size()), Ok(index.clone()));
        let short = decode(encoded.root, &encoded.blocks, index.size() - 1);
        prop_assert_eq!(short, Err(IndexError::TooLarge { size: index.size(), max: index.size() - 1 }));
        prop_assert_eq!(
            decode(encoded.root, &encoded.blocks[..encoded.blocks.len() - 1], u64::MAX),
            Err(IndexError::Incomplete(1))
        );
    }

    #[test]
    fn byte_positions_and_chunk_indexes_agree(lens in proptest::collection::vec(64..=KIB, 1..50), offset in 0u64..60_000) {
        let index = index_of(HashAlgorithm::Blake3, &lens);
        let found = index.chunks().position(|c| (c.offset..c.offset + u64::from(c.len)).contains(&offset));
        prop_assert_eq!(index.chunk_at(offset).map(|i| i.0 as usize), found);
        for (chunk, position) in index.chunks().zip(0..) {
            prop_assert_eq!(index.chunk_at(chunk.offset), Some(ChunkIndex(position)));
        }
        let whole = ChunkRange::new(0, index.len()).unwrap();
        prop_assert_eq!(index.byte_range(whole), Some(ByteRange { start: 0, end: index.size() }));
        if let Some(first) = index.chunk_at(offset) {
            let covering = index.covering(ByteRange { start: offset, end: index.size() }).unwrap();
            prop_assert_eq!((covering.start, covering.end), (first.0, index.len()));
        }
    }

    #[test]
    fn random_bytes_are_not_an_index(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let cid = Cid::of_block(&bytes);
        prop_assert!(decode(cid, &[(cid, bytes)], u64::MAX).is_err());
    }

    #[test]
    fn a_changed_byte_gives_a_canonical_index_or_an_error(at in 0usize..250, value in any::<u8>()) {
        let mut bytes = encode(&of_count(3), SMALL_BLOCK).blocks.remove(0).1;
        let at = at % bytes.len();
        bytes[at] = value;
        let cid = Cid::of_block(&bytes);
        if let Ok(index) = decode(cid, &[(cid, bytes)], u64::MAX) {
            prop_assert_eq!(encode(&index, SMALL_BLOCK).root, cid);
        }
    }
}

#[test]
fn the_bytes_of_index_blocks_do_not_change() {
    let one = encode(&of_count(1), MAX_BLOCK_LEN);
    assert_eq!(
        hex::encode(&one.blocks[0].1),
        concat!(
            "a7617601646861736866626c616b65336473697a65186465636f756e7401666368756e6b738182582071e0a99173564931c0",
            "b8acc52d2685a8e39c64dc52e3d02390fdac2a12b155cb186466736861323536582073919af90e1fee9f2c6585e4534a6fa9",
            "e04931c0090b9c7ab9e631b16d8c8da0676368756e6b6572a363617667190100636d6178190400636d696e1840",
        )
    );
    let none = encode(&of_count(0), MAX_BLOCK_LEN);
    assert_eq!(
        hex::encode(&none.blocks[0].1),
        concat!(
            "a7617601646861736866626c616b65336473697a650065636f756e7400666368756e6b73806673686132353658",
            "2073919af90e1fee9f2c6585e4534a6fa9e04931c0090b9c7ab9e631b16d8c8da0676368756e6b6572a3636176",
            "67190100636d6178190400636d696e1840"
        )
    );
    let tree = encode(&of_count(7), SMALL_BLOCK);
    assert_eq!(tree.blocks.len(), 2);
    assert_eq!(
        hex::encode(&tree.blocks[0].1),
        concat!(
            "a7617601646861736866626c616b65336473697a651902bc65636f756e7407666c656176657381d82a58250001711e2005d7",
            "46b7cfdca8876835d645c047aca955627c5289943fb6ce11fbf009e39df466736861323536582073919af90e1fee9f2c6585",
            "e4534a6fa9e04931c0090b9c7ab9e631b16d8c8da0676368756e6b6572a363617667190100636d6178190400636d696e1840"
        )
    );
    assert_eq!(hex::encode(&tree.blocks[1].1[..20]), "a2617601666368756e6b738782582071e0a99173");
}

#[test]
fn blocks_of_long_indexes_stay_below_the_maximum_length() {
    let longest = ChunkerParams::new(1 << 20, 1 << 20, 1 << 20).unwrap();
    for (count, blocks) in [(26_208, 1), (26_209, 2), (26_214, 3), (200_000, 9), (0, 1)] {
        let chunks = vec![ChunkEntry { digest: digest(0), len: 1 << 20 }; count];
        let index = ArtifactIndex::new(longest, HashAlgorithm::Sha2_256, digest(1), chunks).unwrap();
        let encoded = index.encode();
        assert_eq!(encoded.blocks.len(), blocks, "{count}");
        assert!(encoded.blocks.iter().all(|(_, bytes)| bytes.len() <= MAX_BLOCK_LEN), "{count}");
        // Equal leaf blocks have the same CID, so the decoder wants one block and uses it at several positions.
        let mut decoder = IndexDecoder::new(encoded.root, index.size());
        while let Some(cid) = decoder.wanted().first().copied() {
            let (_, bytes) = encoded.blocks.iter().find(|(other, _)| *other == cid).unwrap();
            decoder.handle_block(&cid, bytes).unwrap();
        }
        assert_eq!(decoder.finish(), Ok(index), "{count}");
    }
}

#[test]
fn wrong_blocks_are_refused_and_the_right_ones_stay_wanted() {
    let index = of_count(30);
    let EncodedIndex { root, blocks } = encode(&index, SMALL_BLOCK);
    let mut decoder = IndexDecoder::with_block_len(root, u64::MAX, SMALL_BLOCK);
    for (cid, bytes) in &blocks {
        let mut corrupt = bytes.clone();
        corrupt[20] ^= 1;
        assert!(matches!(decoder.handle_block(cid, &corrupt), Err(IndexError::Corrupt(_))));
        assert!(matches!(decoder.handle_block(cid, &[0; 513]), Err(IndexError::BlockTooLarge { len: 513, .. })));
        assert!(matches!(decoder.handle_block(&Cid::of_block(b""), b""), Err(IndexError::Unwanted(_))));
        decoder.handle_block(cid, bytes).unwrap();
        assert_eq!(decoder.handle_block(cid, bytes), Err(IndexError::Unwanted(*cid)));
    }
    assert_eq!(decoder.finish(), Ok(index));
}

#[test]
fn chunk_lengths_that_the_chunker_cannot_produce_are_refused() {
    let new = |lens: &[u32]| {
        let chunks = lens.iter().map(|&len| ChunkEntry { digest: digest(0), len }).collect();
        ArtifactIndex::new(params(), HashAlgorithm::Blake3, digest(0), chunks).map(|index| index.size())
    };
    let refused = |index, len| Err(IndexError::ChunkLen { index: ChunkIndex(index), len });
    assert_eq!(new(&[]), Ok(0));
    assert_eq!(new(&[1]), Ok(1));
    assert_eq!(new(&[64, 1024, 1]), Ok(1089));
    assert_eq!(new(&[100, 0]), refused(1, 0));
    assert_eq!(new(&[63, 100]), refused(0, 63));
    assert_eq!(new(&[100, 1025]), refused(1, 1025));
    assert_eq!(new(&vec![64; MAX_CHUNKS as usize + 1]), Err(IndexError::TooManyChunks(4_194_305)));
}

#[test]
fn an_index_that_contradicts_itself_is_refused() {
    let small = root_of(&of_count(3));
    let tree = root_of(&of_count(30));
    type Change = fn(&mut encode::Root);
    let cases: [(&encode::Root, Change); 14] = [
        (&small, |root| root.size += 1),
        (&small, |root| root.size = 3 * 1024 + 1),
        (&small, |root| root.size = 128),
        (&small, |root| root.size = 0),
        (&small, |root| root.count = 2),
        (&small, |root| root.hash = HashAlgorithm::Sha2_256),
        (&small, |root| root.chunks = None),
        (&small, |root| root.leaves = Some(Vec::new())),
        (&tree, |root| root.chunks = Some(Vec::new())),
        (&tree, |root| root.leaves = None),
        (&tree, |root| root.size = 30 * 1024 + 1),
        (&tree, |root| root.size = 29 * 64),
        (&tree, |root| root.leaves.as_mut().unwrap().truncate(2)),
        (&tree, |root| {
            let hash = HashAlgorithm::Blake3;
            root.leaves.as_mut().unwrap()[0] = Cid::new(Codec::Raw, hash, hash.digest(b""));
        }),
    ];
    for (position, (root, change)) in cases.into_iter().enumerate() {
        let mut root = root.clone();
        change(&mut root);
        let error = decode_root(&root).unwrap_err();
        assert!(matches!(error, IndexError::Inconsistent { .. }), "case {position}: {error}");
    }
    let mut endless = tree.clone();
    (endless.count, endless.size) = (MAX_CHUNKS + 1, u64::MAX);
    assert_eq!(decode_root(&endless), Err(IndexError::TooManyChunks(4_194_305)));
}

#[test]
fn leaf_blocks_with_wrong_numbers_of_chunks_are_refused() {
    let index = of_count(30);
    let mut root = root_of(&index);
    // The leaf blocks list the same chunks, but 11, 12 and 7 of them instead of 12, 12 and 6.
    let leaf = |chunks: &[ChunkEntry]| {
        let bytes = to_dag_cbor(&encode::Leaf { v: crate::codec::V1, chunks: chunks.to_vec() });
        (Cid::of_block(&bytes), bytes)
    };
    let chunks = index.entries();
    let mut blocks = vec![leaf(&chunks[..11]), leaf(&chunks[11..23]), leaf(&chunks[23..])];
    root.leaves = Some(blocks.iter().map(|(cid, _)| *cid).collect());
    let bytes = to_dag_cbor(&root);
    let cid = Cid::of_block(&bytes);
    blocks.push((cid, bytes));
    assert!(matches!(decode(cid, &blocks, u64::MAX), Err(IndexError::Inconsistent { .. })));
}

#[test]
fn a_later_format_and_unknown_fields_are_refused() {
    use ipld_core::ipld::Ipld;
    let bytes = &encode(&of_count(1), SMALL_BLOCK).blocks[0].1;
    let with = |key: &str, value| {
        let mut root: Ipld = serde_ipld_dagcbor::from_slice(bytes).unwrap();
        let Ipld::Map(fields) = &mut root else { panic!("an index block is a map") };
        fields.insert(key.to_owned(), value);
        decode_root(&root).unwrap_err()
    };
    let later = with("v", Ipld::Integer(2));
    assert!(std::error::Error::source(&later).unwrap().to_string().contains("format version 2"), "{later:?}");
    assert!(matches!(with("w", Ipld::Integer(2)), IndexError::Decode { .. }));
    assert!(matches!(with("chunker", Ipld::Null), IndexError::Decode { .. }));
}

#[test]
fn chunks_are_verified_against_the_index() {
    let bytes = [7; 200];
    for hash in [HashAlgorithm::Blake3, HashAlgorithm::Sha2_256] {
        let chunks = vec![ChunkEntry { digest: hash.digest(&bytes), len: 200 }];
        let index = ArtifactIndex::new(params(), hash, digest(0), chunks).unwrap();
        assert_eq!(index.verify_chunk(ChunkIndex(0), &bytes), Ok(()));
        assert_eq!(index.verify_chunk(ChunkIndex(0), &bytes[1..]), Err(IndexError::CorruptChunk(ChunkIndex(0))));
        assert_eq!(index.verify_chunk(ChunkIndex(0), &[6; 200]), Err(IndexError::CorruptChunk(ChunkIndex(0))));
        let lying = vec![ChunkEntry { digest: hash.digest(&bytes), len: 199 }];
        let lying = ArtifactIndex::new(params(), hash, digest(0), lying).unwrap();
        assert_eq!(lying.verify_chunk(ChunkIndex(0), &bytes), Err(IndexError::CorruptChunk(ChunkIndex(0))));
        let missing = IndexError::NoSuchChunk { index: ChunkIndex(1), len: 1 };
        assert_eq!(index.verify_chunk(ChunkIndex(1), &bytes), Err(missing));
    }
}

#[test]
fn an_empty_chunk_range_is_not_decoded() {
    let decode = |hex: &str| crate::codec::from_dag_cbor_exact::<ChunkRange>(&hex::decode(hex).unwrap());
    assert_eq!(decode("820307"), Ok(ChunkRange { start: 3, end: 7 }));
    assert!(decode("820303").is_err() && decode("820703").is_err());
}
