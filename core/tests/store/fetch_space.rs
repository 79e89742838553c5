//! Tests that the space for a fetch is computed for all artifacts together.

use std::sync::Arc;

use phase_core::{FileStore, MemStore, Need, Store, StoreError};

use crate::data::{self, bytes, chunk, fetch, index_of};
use crate::fault_backend::FaultBackend;

fn needed(store: &dyn Store, contents: &[Vec<u8>]) -> Need {
    let mut need = Need::default();
    for bytes in contents {
        let (cid, index) = index_of(bytes);
        need.add(&store.needed_to_fetch(&cid, &index));
    }
    need
}

#[test]
fn five_artifacts_that_fit_one_by_one_and_not_together_are_refused_with_the_sum() {
    const SIZE: usize = 3 << 20;
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let contents: Vec<_> = (0..5).map(|seed| bytes(seed, SIZE)).collect();
    backend.set_available(10 << 20);
    let before = backend.operations();
    for one in &contents {
        store.check_space(&needed(&store, std::slice::from_ref(one))).unwrap();
    }
    let error = store.check_space(&needed(&store, &contents)).unwrap_err();
    assert!(matches!(error, StoreError::DoesNotFit { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("needs 15.") && message.contains("10.0 MiB can be used"), "{message}");
    assert!(message.contains("/store"), "{message}");
    assert_eq!(backend.operations(), before, "the check writes nothing");
}

#[test]
fn what_is_stored_already_and_zeros_need_no_space() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend)).unwrap();
    let (whole, half, sparse) = (bytes(1, 1 << 20), bytes(2, 1 << 20), vec![0; 64 << 20]);
    fetch(&store, &whole);
    let (cid, index) = index_of(&half);
    let partial = store.partial(&cid, index.clone()).unwrap();
    data::write(&*partial, &half, 0..index.len() / 2);
    drop(partial);
    assert_eq!(needed(&store, std::slice::from_ref(&whole)), Need::default());
    let left = needed(&store, &[half]).bytes;
    assert!((400 << 10..700 << 10).contains(&left), "{left}");
    let need = needed(&store, &[sparse]);
    assert!(need.bytes < 1 << 20 && need.longest == 64 << 20, "{need:?}");
}

#[test]
fn in_memory_equal_chunks_count_once() {
    let store = MemStore::new();
    let block = bytes(1, 20_000);
    let repeated = [block.repeat(50), vec![0; 1 << 20]].concat();
    let (cid, index) = index_of(&repeated);
    let need = needed(&store, std::slice::from_ref(&repeated));
    assert!(need.bytes < 100_000 && need.longest == index.size(), "{need:?}");
    store.check_space(&need).unwrap();
    let partial = store.partial(&cid, index.clone()).unwrap();
    let first = partial.have().iter_missing().next().unwrap();
    partial.write_chunk(first, chunk(&repeated, &index, first.0)).unwrap();
    drop(partial);
    assert!(needed(&store, std::slice::from_ref(&repeated)).bytes <= need.bytes);
    fetch(&store, &repeated);
    assert_eq!(needed(&store, &[repeated]), Need::default());
    let error = store.check_space(&Need { bytes: u64::MAX / 2, files: 1, longest: 1 }).unwrap_err();
    assert!(error.to_string().contains("RAM"), "{error}");
}
