//! Tests that chunks of zeros and equal chunks need not be fetched: zeros are stored from the beginning, and equal chunks
//! are written together.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use phase_core::{ArtifactIndex, ChunkIndex, Cid, FileStore, MemStore, Partial, Store, StoreError};
use proptest::prelude::*;

use crate::data::{bytes, chunk, content, index_of};
use crate::fault_backend::{Fault, FaultBackend};

/// Artifacts with repeats, each with a name.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let block = bytes(1, 6_000);
    vec![
        ("no bytes", Vec::new()),
        ("one chunk", bytes(1, 200)),
        ("one chunk of zeros", vec![0; 200]),
        ("only zeros", vec![0; 100_000]),
        ("zeros in the middle", [bytes(1, 6_000), vec![0; 50_000], bytes(2, 6_000)].concat()),
        ("one block a hundred times", block.repeat(100)),
        // The length of this block is no multiple of a chunk length, so the repeats begin inside chunks.
        ("a short block a hundred times", bytes(2, 777).repeat(100)),
        ("zeros and repeats", [vec![0; 9_000], block.clone(), vec![0; 9_000], block].concat()),
    ]
}

/// Writes only the chunks that have to be fetched. Returns how many bytes these are.
fn write_distinct(partial: &dyn Partial, bytes: &[u8]) -> u64 {
    let index = partial.index().clone();
    let mut written = 0;
    while let Some(missing) = { partial.have().iter_missing().next() } {
        let chunk = chunk(bytes, &index, missing.0);
        partial.write_chunk(missing, chunk).unwrap();
        written += chunk.len() as u64;
    }
    written
}

fn to_fetch(index: &ArtifactIndex) -> u64 {
    index.size() - index.repeats().zero_bytes() - index.repeats().copied_bytes()
}

fn file_store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn part(store: &FileStore, cid: &Cid) -> PathBuf {
    store.path().join("artifacts").join(format!("{cid}.part"))
}

#[test]
fn an_artifact_is_complete_when_each_distinct_chunk_was_written_once() {
    let (_folder, file) = file_store();
    for store in [&file as &dyn Store, &MemStore::new()] {
        for (name, bytes) in samples() {
            let (cid, index) = index_of(&bytes);
            let partial = store.partial(&cid, index.clone()).unwrap();
            assert!(partial.copies_equal_chunks());
            assert_eq!(write_distinct(&*partial, &bytes), to_fetch(&index), "{name}");
            let artifact = partial.finish().unwrap();
            assert!(content(&*artifact) == bytes, "{name}");
            assert!(content(&*store.artifact(&cid).unwrap().unwrap()) == bytes, "{name}");
        }
    }
    let (_, index) = index_of(&samples()[5].1);
    assert!(to_fetch(&index) < index.size() / 20, "the block is repeated: {} bytes to fetch", to_fetch(&index));
}

#[test]
fn zeros_take_no_disk_space_even_if_they_are_written() {
    let (_folder, store) = file_store();
    let bytes = [bytes(1, 64 << 10), vec![0; 4 << 20], bytes(2, 64 << 10)].concat();
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    for position in 0..index.len() {
        partial.write_chunk(ChunkIndex(position), chunk(&bytes, &index, position)).unwrap();
    }
    let artifact = partial.finish().unwrap();
    let used = fs::metadata(artifact.path().unwrap()).unwrap().blocks() * 512;
    assert!(used <= 160 << 10, "{used} bytes are used for 128 KiB of data");
    assert!(content(&*artifact) == bytes);
}

#[test]
fn a_partial_artifact_has_all_of_a_group_of_equal_chunks_or_none() {
    let (_folder, file) = file_store();
    let bytes = bytes(1, 6_000).repeat(20);
    let (cid, index) = index_of(&bytes);
    for store in [&file as &dyn Store, &MemStore::new()] {
        let partial = store.partial(&cid, index.clone()).unwrap();
        // The last chunk of a group is written, not the first.
        let (later, first) = index.repeats().later_and_first().last().unwrap();
        partial.write_chunk(later, chunk(&bytes, &index, later.0)).unwrap();
        let expected: Vec<_> = index.repeats().equal(first).collect();
        assert_eq!(partial.have().iter().collect::<Vec<_>>(), expected);
        // A reader, for instance another client, gets the copies at once.
        for copy in expected {
            let mut read = vec![0; index.chunk(copy).unwrap().len as usize];
            partial.read_at(index.chunk(copy).unwrap().offset, &mut read).unwrap();
            assert!(read == chunk(&bytes, &index, copy.0));
        }
    }
}

#[test]
fn a_resumed_fetch_copies_a_chunk_whose_first_position_is_lost() {
    let (_folder, store) = file_store();
    let bytes = [bytes(1, 6_000).repeat(3), vec![0; 20_000], bytes(2, 6_000)].concat();
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    let (later, first) = index.repeats().later_and_first().next().unwrap();
    partial.write_chunk(first, chunk(&bytes, &index, first.0)).unwrap();
    partial.checkpoint().unwrap();
    drop(partial);
    // The bytes of the first position are damaged, and so are zeros between two chunks.
    let file = OpenOptions::new().write(true).open(part(&store, &cid)).unwrap();
    let zeros = index.repeats().zeros()[0];
    for damaged in [first, ChunkIndex(zeros.start)] {
        file.write_all_at(b"damage", index.chunk(damaged).unwrap().offset + 10).unwrap();
    }
    let partial = store.partial(&cid, index.clone()).unwrap();
    let have = partial.have();
    assert!(have.contains(first) && have.contains(later) && have.contains_range(zeros), "{have:?}");
    write_distinct(&*partial, &bytes);
    assert!(content(&*partial.finish().unwrap()) == bytes);
}

#[test]
fn a_chunk_whose_copy_cannot_be_written_does_not_count_as_stored() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let bytes = bytes(1, 6_000).repeat(2);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    let (_, first) = index.repeats().later_and_first().next().unwrap();
    // The first write is that of the chunk, the second one that of its copy.
    backend.inject(backend.operations() + 2, Fault::Fail(ErrorKind::StorageFull));
    let error = partial.write_chunk(first, chunk(&bytes, &index, first.0)).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert!(partial.have().is_empty());
    write_distinct(&*partial, &bytes);
    assert!(content(&*partial.finish().unwrap()) == bytes);
}

#[test]
fn zeros_do_not_count_as_needed_space() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let (cid, index) = index_of(&[bytes(1, 6_000), vec![0; 100_000]].concat());
    backend.set_available(20_000);
    store.partial(&cid, index).unwrap();
    let (cid, index) = index_of(&bytes(1, 60_000));
    assert!(matches!(store.partial(&cid, index), Err(StoreError::NoSpace { .. })));
}

proptest! {
    #[test]
    fn the_stored_bytes_are_right_for_any_repeats_and_any_interruption(
        pieces in proptest::collection::vec((0u64..4, 1usize..6_000), 0..12),
        order in any::<u64>(),
        reopened in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let piece = |(seed, len): &(u64, usize)| if *seed == 0 { vec![0; *len] } else { bytes(*seed, *len) };
        let bytes: Vec<u8> = pieces.iter().flat_map(piece).collect();
        let (cid, index) = index_of(&bytes);
        let (_folder, file) = file_store();
        for store in [&file as &dyn Store, &MemStore::new()] {
            let mut partial = store.partial(&cid, index.clone()).unwrap();
            let (mut written, mut reopened) = (0, reopened.iter());
            loop {
                let missing: Vec<_> = partial.have().iter_missing().collect();
                let Some(next) = missing.get(order as usize % missing.len().max(1)) else { break };
                let data = chunk(&bytes, &index, next.0);
                partial.write_chunk(*next, data).unwrap();
                written += data.len() as u64;
                if reopened.next() == Some(&true) {
                    drop(partial);
                    partial = store.partial(&cid, index.clone()).unwrap();
                }
            }
            prop_assert_eq!(written, to_fetch(&index));
            prop_assert!(content(&*partial.finish().unwrap()) == bytes);
        }
    }
}
