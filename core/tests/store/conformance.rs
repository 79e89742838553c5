//! The tests that every [`Store`] must pass.

use std::sync::Arc;

use phase_core::store::ImportSource;
use phase_core::{ChunkIndex, Cid, Digest, FileStore, HashAlgorithm, MAX_BLOCK_LEN, MemStore, Store, StoreError};

use crate::data::{self, bytes, chunk, content, fetch, index_of, name, pointer, pointer_to_urls};

/// Makes two tests of each function, one for the store in memory and one for the store on disk.
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $test() {
                super::$test(&super::MemStore::new());
            })*
        }
        mod file {
            $(#[test]
            fn $test() {
                let folder = tempfile::tempdir().unwrap();
                super::$test(&super::FileStore::open(folder.path().join("store")).unwrap());
            })*
        }
    };
}

suite!(
    blocks_are_verified,
    a_partial_artifact_with_all_chunks_becomes_an_artifact,
    bad_chunks_are_refused,
    only_verified_ranges_can_be_read,
    a_partial_artifact_is_exclusive_and_can_be_resumed,
    a_partial_artifact_with_missing_chunks_cannot_be_finished,
    a_finished_artifact_accepts_no_further_chunks,
    the_index_of_another_artifact_is_refused,
    an_empty_artifact_can_be_stored,
    an_import_gives_the_same_artifact_as_a_fetch,
    an_import_of_a_folder_or_a_missing_file_is_refused,
    refs_are_replaced_and_listed,
    a_ref_needs_its_own_name_and_a_stored_manifest,
    a_ref_never_goes_back_and_never_changes_its_manifest,
    the_lock_of_a_name_is_held_by_one_publisher_at_a_time,
    a_file_that_needs_more_than_the_free_space_is_refused,
    chunks_are_found_in_complete_artifacts,
    several_threads_can_write_at_the_same_time,
    each_chunk_of_a_batch_is_verified,
);

fn blocks_are_verified(store: &dyn Store) {
    let cid = Cid::of_block(b"block");
    assert_eq!(store.block(&cid).unwrap(), None);
    assert!(matches!(store.put_block(&cid, b"other"), Err(StoreError::BadBlock { .. })));
    assert_eq!(store.block(&cid).unwrap(), None);
    store.put_block(&cid, b"block").unwrap();
    store.put_block(&cid, b"block").unwrap();
    assert_eq!(store.block(&cid).unwrap().unwrap(), b"block");

    let large = vec![0; MAX_BLOCK_LEN];
    store.put_block(&Cid::of_block(&large), &large).unwrap();
    let larger = vec![0; MAX_BLOCK_LEN + 1];
    let refused = store.put_block(&Cid::of_block(&larger), &larger);
    assert!(matches!(refused, Err(StoreError::BlockTooLarge { .. })));
}

fn a_partial_artifact_with_all_chunks_becomes_an_artifact(store: &dyn Store) {
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    assert!(store.artifact(&cid).unwrap().is_none());
    let partial = store.partial(&cid, index.clone()).unwrap();
    assert!(partial.have().is_empty());
    assert_eq!((partial.cid(), partial.index()), (cid, &index));
    data::write(&*partial, &bytes, (0..index.len()).rev());
    assert!(partial.have().is_full() && store.artifact(&cid).unwrap().is_none());
    partial.checkpoint().unwrap();

    let artifact = partial.clone().finish().unwrap();
    assert_eq!((artifact.cid(), artifact.index()), (cid, &index));
    assert_eq!(content(&*artifact), bytes);
    assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
    let mut tail = [0; 10];
    artifact.read_at(49_990, &mut tail).unwrap();
    assert_eq!(tail, bytes[49_990..]);
    for (offset, len) in [(49_991, 10), (50_001, 0), (u64::MAX, 1)] {
        assert!(matches!(artifact.read_at(offset, &mut vec![0; len]), Err(StoreError::NotThere { .. })));
    }
    // The partial artifact can still be read, because sessions may be serving it.
    partial.read_at(49_990, &mut tail).unwrap();
    assert!(matches!(store.partial(&cid, index), Err(StoreError::Complete(_))));
}

fn bad_chunks_are_refused(store: &dyn Store) {
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    let good = chunk(&bytes, &index, 0);
    let mut flipped = good.to_vec();
    flipped[3] ^= 1;
    for bad in [&flipped[..], &good[1..], &[], chunk(&bytes, &index, 1)] {
        assert!(matches!(partial.write_chunk(ChunkIndex(0), bad), Err(StoreError::BadChunk { .. })));
    }
    assert!(matches!(partial.write_chunk(ChunkIndex(index.len()), good), Err(StoreError::BadChunk { .. })));
    assert!(partial.have().is_empty());
}

fn only_verified_ranges_can_be_read(store: &dyn Store) {
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    data::write(&*partial, &bytes, [0, 1, 3]);
    let end = index.chunk(ChunkIndex(2)).unwrap().offset as usize;
    let mut buf = vec![0; end];
    partial.read_at(0, &mut buf).unwrap();
    assert_eq!(buf, bytes[..end]);
    partial.read_at(5, &mut []).unwrap();
    let mut buf = vec![0; end + 1];
    assert!(matches!(partial.read_at(0, &mut buf), Err(StoreError::NotThere { .. })));
    assert!(matches!(partial.read_at(end as u64, &mut [0]), Err(StoreError::NotThere { .. })));
    assert!(matches!(partial.read_at(50_000, &mut [0]), Err(StoreError::NotThere { .. })));
}

fn a_partial_artifact_is_exclusive_and_can_be_resumed(store: &dyn Store) {
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    let first = store.partial(&cid, index.clone()).unwrap();
    data::write(&*first, &bytes, [1, 4]);
    let busy = store.partial(&cid, index.clone()).map(drop).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    drop(first);

    let second = store.partial(&cid, index.clone()).unwrap();
    assert_eq!(second.have().iter().collect::<Vec<_>>(), [ChunkIndex(1), ChunkIndex(4)]);
    data::write(&*second, &bytes, 0..index.len());
    assert_eq!(content(&*second.finish().unwrap()), bytes);
}

fn a_partial_artifact_with_missing_chunks_cannot_be_finished(store: &dyn Store) {
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    data::write(&*partial, &bytes, 1..index.len());
    let error = partial.clone().finish().map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { missing: 1, .. }), "{error}");
    assert!(store.artifact(&cid).unwrap().is_none());
    data::write(&*partial, &bytes, [0]);
    partial.finish().unwrap();
}

fn a_finished_artifact_accepts_no_further_chunks(store: &dyn Store) {
    let bytes = bytes(1, 5_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    data::write(&*partial, &bytes, 0..index.len());
    let artifact = partial.clone().finish().unwrap();
    let late = partial.write_chunk(ChunkIndex(0), chunk(&bytes, &index, 0));
    assert!(matches!(late, Err(StoreError::Finished(_))));
    assert!(matches!(partial.clone().finish().map(drop), Err(StoreError::Finished(_))));
    partial.checkpoint().unwrap();
    drop(partial);
    assert_eq!(content(&*artifact), bytes);
    assert!(matches!(store.partial(&cid, index), Err(StoreError::Complete(_))));
}

fn the_index_of_another_artifact_is_refused(store: &dyn Store) {
    let (cid, _) = index_of(&bytes(1, 5_000));
    let (actual, index) = index_of(&bytes(2, 5_000));
    let error = store.partial(&cid, index).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::OtherIndex { actual: a, .. } if a == actual), "{error}");
}

fn an_empty_artifact_can_be_stored(store: &dyn Store) {
    let artifact = fetch(store, b"");
    artifact.read_at(0, &mut []).unwrap();
    assert_eq!(artifact.index().size(), 0);
    assert!(store.artifact(&artifact.cid()).unwrap().is_some());
}

fn an_import_gives_the_same_artifact_as_a_fetch(store: &dyn Store) {
    for bytes in [vec![], bytes(3, 1), bytes(4, 100_000)] {
        let (_folder, path) = data::file_with(&bytes);
        let mut seen = 0;
        let imported = store.import(&path, &data::import_options(), &mut |read| seen = read).unwrap();
        assert_eq!(seen, bytes.len() as u64);
        let (cid, index) = index_of(&bytes);
        assert_eq!((imported.cid(), imported.index()), (cid, &index));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
        assert!(store.block(&cid).unwrap().is_some());
        assert!(matches!(store.partial(&cid, index), Err(StoreError::Complete(_))));
    }
}

fn an_import_of_a_folder_or_a_missing_file_is_refused(store: &dyn Store) {
    let folder = tempfile::tempdir().unwrap();
    let import = |path| store.import(path, &data::import_options(), &mut |_| {}).map(drop).unwrap_err();
    assert!(matches!(import(folder.path()), StoreError::NotImportable { what: "a folder", .. }));
    let missing = import(&folder.path().join("missing"));
    assert!(matches!(&missing, StoreError::Source { .. }) && missing.to_string().contains("missing"), "{missing}");
}

fn refs_are_replaced_and_listed(store: &dyn Store) {
    let manifest = Cid::of_block(b"manifest");
    store.put_block(&manifest, b"manifest").unwrap();
    assert!(store.names().unwrap().is_empty());
    let names = ["edge/x86_64", "stable/aarch64", "stable/x86_64"].map(name);
    for name in names.iter().rev() {
        assert_eq!(store.pointer(name).unwrap(), None);
        store.set_ref(name, &pointer(name, manifest, 1)).unwrap();
    }
    assert_eq!(store.names().unwrap(), names);
    let newer = pointer(&names[1], manifest, 2);
    store.set_ref(&names[1], &newer).unwrap();
    assert_eq!(store.pointer(&names[1]).unwrap(), Some(newer));
    assert_eq!(store.pointer(&names[0]).unwrap(), Some(pointer(&names[0], manifest, 1)));
    assert_eq!(store.names().unwrap(), names);
}

fn a_ref_needs_its_own_name_and_a_stored_manifest(store: &dyn Store) {
    let (ours, theirs) = (name("stable/x86_64"), name("edge/x86_64"));
    let manifest = Cid::of_block(b"manifest");
    let error = store.set_ref(&ours, &pointer(&ours, manifest, 1)).unwrap_err();
    assert!(matches!(error, StoreError::NoManifest { .. }), "{error}");
    store.put_block(&manifest, b"manifest").unwrap();
    let error = store.set_ref(&ours, &pointer(&theirs, manifest, 1)).unwrap_err();
    assert!(matches!(error, StoreError::BadPointer { .. }), "{error}");
    let error = store.set_ref(&ours, &pointer_to_urls(&ours)).unwrap_err();
    assert!(error.to_string().contains("it has no manifest, only URLs"), "{error}");
    assert!(store.names().unwrap().is_empty());
}

fn chunks_are_found_in_complete_artifacts(store: &dyn Store) {
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    let digests: Vec<Digest> = index.chunks().map(|chunk| chunk.digest).collect();
    let partial = store.partial(&cid, index.clone()).unwrap();
    data::write(&*partial, &bytes, 0..index.len());
    assert_eq!(store.find_chunks(&digests).unwrap(), vec![None; digests.len()]);
    partial.finish().unwrap();
    let expected: Vec<_> = (0..index.len()).map(|position| Some((cid, ChunkIndex(position)))).collect();
    assert_eq!(store.find_chunks(&digests).unwrap(), expected);
    let unknown = HashAlgorithm::Blake3.digest(b"unknown");
    assert_eq!(store.find_chunks(&[unknown, digests[2]]).unwrap(), [None, expected[2]]);
    assert_eq!(store.find_chunks(&[]).unwrap(), []);
}

fn several_threads_can_write_at_the_same_time(store: &dyn Store) {
    let bytes = bytes(1, 200_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (partial, bytes, index) = (Arc::clone(&partial), &bytes, &index);
            // Each chunk is written by two of the four threads.
            let positions = (0..index.len()).filter(move |position| position % 2 == thread % 2);
            scope.spawn(move || data::write(&*partial, bytes, positions));
        }
        scope.spawn(|| (0..20).for_each(|_| partial.checkpoint().unwrap()));
    });
    assert_eq!(content(&*partial.finish().unwrap()), bytes);
}

fn each_chunk_of_a_batch_is_verified(store: &dyn Store) {
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    assert!(index.len() > 9, "the artifact has enough chunks for the batch");
    let partial = store.partial(&cid, index.clone()).unwrap();
    let mut flipped = chunk(&bytes, &index, 2).to_vec();
    flipped[0] ^= 1;
    data::write(&*partial, &bytes, [5]);
    // Five adjacent chunks (0 to 4), of which chunk 2 has wrong bytes. Then chunk 5 twice, which is already stored.
    // Then chunk 8, which is not adjacent to another chunk. Then a chunk index that the artifact does not have.
    let given: Vec<(u32, &[u8])> = [0, 1, 2, 3, 4, 5, 5, 8].map(|n| (n, chunk(&bytes, &index, n))).into();
    let mut given: Vec<_> = given.into_iter().map(|(n, bytes)| (ChunkIndex(n), bytes)).collect();
    given[2].1 = &flipped;
    given.push((ChunkIndex(index.len()), chunk(&bytes, &index, 0)));
    let results = partial.write_chunks(&given);
    let refused: Vec<_> = (0..given.len()).filter(|n| results[*n].is_err()).collect();
    assert_eq!(refused, [2, 8]);
    assert!(refused.iter().all(|n| matches!(results[*n], Err(StoreError::BadChunk { .. }))));
    let have: Vec<_> = partial.have().iter().map(|chunk| chunk.0).collect();
    assert_eq!(have, [0, 1, 3, 4, 5, 8]);
    assert!(partial.write_chunks(&[]).is_empty());
    data::write(&*partial, &bytes, (0..index.len()).filter(|n| ![0, 1, 3, 4, 5, 8].contains(n)));
    assert_eq!(content(&*partial.clone().finish().unwrap()), bytes);
    let late = partial.write_chunks(&given);
    assert!(late.len() == given.len() && late.iter().all(|late| matches!(late, Err(StoreError::Finished(_)))));
}

fn a_ref_never_goes_back_and_never_changes_its_manifest(store: &dyn Store) {
    let name = name("stable/x86_64");
    let (manifest, other) = (Cid::of_block(b"manifest"), Cid::of_block(b"other"));
    store.put_block(&manifest, b"manifest").unwrap();
    store.put_block(&other, b"other").unwrap();
    let newest = pointer(&name, manifest, 6);
    store.set_ref(&name, &newest).unwrap();
    for (older, version) in [(pointer(&name, manifest, 5), 5), (pointer(&name, other, 6), 6)] {
        let error = store.set_ref(&name, &older).unwrap_err();
        assert!(matches!(error, StoreError::RefIsNewer { version: v, held: 6, .. } if v == version), "{error}");
        assert_eq!(store.pointer(&name).unwrap().as_ref(), Some(&newest));
    }
    store.set_ref(&name, &newest).unwrap();
    store.set_ref(&name, &pointer(&name, other, 7)).unwrap();
    // Many writers at once leave the highest version.
    std::thread::scope(|scope| {
        for version in 8..40 {
            let pointer = pointer(&name, manifest, version);
            let name = &name;
            scope.spawn(move || match store.set_ref(name, &pointer) {
                Ok(()) | Err(StoreError::RefIsNewer { .. }) => {}
                Err(error) => panic!("{error}"),
            });
        }
    });
    assert_eq!(data::version(&store.pointer(&name).unwrap().unwrap()), 39);
}

fn the_lock_of_a_name_is_held_by_one_publisher_at_a_time(store: &dyn Store) {
    let (first, second) = (name("stable/x86_64"), name("stable/any"));
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _lock = store.lock_name(&first).unwrap();
                assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                std::thread::yield_now();
                inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    // The locks of two names are independent. This would wait forever otherwise.
    let (_first, _second) = (store.lock_name(&first).unwrap(), store.lock_name(&second).unwrap());
    assert_eq!(store.names().unwrap(), [], "a lock is listed as a ref");
}

fn a_file_that_needs_more_than_the_free_space_is_refused(store: &dyn Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge");
    // The whole file is a hole, so that the test needs no space itself.
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let source = ImportSource { path: &path, len: 1 << 40, data: 1 << 60 };
    let error = store.check_import(&[source], &data::import_options()).unwrap_err();
    assert!(matches!(error, StoreError::DoesNotFit { .. }), "{error}");
    assert!(error.to_string().contains("can be used"), "{error}");
}
