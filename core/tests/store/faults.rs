//! Tests that an operation that fails is reported, loses no stored data, and can be repeated.

use std::io::ErrorKind;
use std::sync::Arc;

use phase_core::{ChunkIndex, Cid, FileStore, Store, StoreError};

use crate::data::{self, bytes, chunk, content, fetch, file_with, import_options, index_of};
use crate::fault_backend::{Fault, FaultBackend};
use crate::scenario::{Confirmed, Scenario};

/// Tests a fault at every operation of the scenario. For each operation, runs the scenario with the fault at this
/// operation, and then once more without a fault. `expected` returns whether the fault may cause this error.
fn at_every_operation(fault: Fault, expected: impl Fn(&StoreError) -> bool) {
    let scenario = Scenario::new();
    let undisturbed = FaultBackend::new();
    scenario.run(&undisturbed, &mut Confirmed::default()).unwrap();
    let mut failed = 0;
    for operation in 1..=undisturbed.operations() {
        let context = format!("{fault:?} at operation {operation}");
        let backend = FaultBackend::new();
        backend.inject(operation, fault);
        let mut confirmed = Confirmed::default();
        if let Err(error) = scenario.run(&backend, &mut confirmed) {
            assert!(expected(&error), "{context}: {error}");
            failed += 1;
        }
        scenario.check(&backend, &confirmed, &context);
        scenario.run(&backend, &mut confirmed).unwrap_or_else(|error| panic!("{context}: {error}"));
        scenario.check(&backend, &confirmed, &context);
    }
    let is_failure = matches!(fault, Fault::Fail(_));
    assert_eq!(
        failed > undisturbed.operations() / 2,
        is_failure,
        "{failed} of {} operations failed",
        undisturbed.operations()
    );
}

#[test]
fn a_full_disk_is_reported_as_no_space_and_loses_nothing() {
    at_every_operation(Fault::Fail(ErrorKind::StorageFull), |error| matches!(error, StoreError::NoSpace { .. }));
}

#[test]
fn an_io_error_is_reported_as_an_io_error_and_loses_nothing() {
    at_every_operation(Fault::Fail(ErrorKind::Other), |error| matches!(error, StoreError::Io { .. }));
}

#[test]
fn short_writes_are_completed() {
    at_every_operation(Fault::Short, |_| false);
}

#[test]
fn only_written_chunks_of_a_batch_count_as_stored() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let bytes = bytes(1, 20_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    let chunks: Vec<_> = [0, 1, 3, 4].map(|n| (ChunkIndex(n), chunk(&bytes, &index, n))).into();
    // The chunks 0 and 1 are adjacent, so the store writes both with one call. This backend makes two writes of the
    // call, and the second write fails. So neither chunk counts as stored. The chunks 3 and 4 are written after that.
    backend.inject(backend.operations() + 2, Fault::Fail(ErrorKind::StorageFull));
    let results = partial.write_chunks(&chunks);
    assert!(results[..2].iter().all(|result| matches!(result, Err(StoreError::NoSpace { .. }))), "{results:?}");
    assert!(results[2..].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(partial.have().iter().map(|chunk| chunk.0).collect::<Vec<_>>(), [3, 4]);
    assert!(partial.write_chunks(&chunks).iter().all(Result::is_ok));
    assert_eq!(partial.have().iter().map(|chunk| chunk.0).collect::<Vec<_>>(), [0, 1, 3, 4]);
}

#[test]
fn a_read_only_store_can_be_read_and_its_errors_say_read_only() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let bytes = bytes(1, 5_000);
    let artifact = fetch(&store, &bytes);
    backend.inject(0, Fault::FailFrom(ErrorKind::ReadOnlyFilesystem));

    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    assert_eq!(content(&*store.artifact(&artifact.cid()).unwrap().unwrap()), bytes);
    let (_folder, source) = file_with(&bytes);
    let (cid, index) = index_of(&data::bytes(2, 5_000));
    let errors = [
        store.put_block(&Cid::of_block(b"block"), b"block").unwrap_err(),
        store.partial(&cid, index).map(drop).unwrap_err(),
        store.import(&source, &import_options(), &mut |_| {}).map(drop).unwrap_err(),
        store.identity().map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        assert!(error.to_string().contains("/store/"), "{error}");
    }
    let error = store.lock_provider().map(drop).unwrap_err();
    assert!(matches!(error, StoreError::NeedsState { .. }), "{error}");
    assert!(error.to_string().contains("/store/provider.lock") && error.to_string().contains("--state"), "{error}");
}

#[test]
fn a_disk_that_is_too_small_is_reported_before_anything_is_read() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    let (_folder, source) = file_with(&bytes);
    backend.set_available(40_000);
    let errors = [
        store.partial(&cid, index.clone()).map(drop).unwrap_err(),
        store.import(&source, &import_options(), &mut |_| panic!("the source is read")).map(drop).unwrap_err(),
    ];
    let figures = ["needs 48.8 KiB", "needs 60.0 KiB, and 39.1 KiB can be used"];
    for (error, figures) in errors.into_iter().zip(figures) {
        let is_full = matches!(error, StoreError::NoSpace { .. } | StoreError::DoesNotFit { .. });
        assert!(is_full && error.to_string().contains(figures), "{error}");
    }
    // A partial artifact whose second half is stored needs space only for the first half.
    backend.set_available(50_000);
    let partial = store.partial(&cid, index.clone()).unwrap();
    data::write(&*partial, &bytes, index.len() / 2..index.len());
    drop(partial);
    backend.set_available(40_000);
    assert!(!store.partial(&cid, index).unwrap().have().is_empty());
}

#[test]
fn a_chunk_whose_write_failed_does_not_count_as_stored() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let bytes = bytes(1, 5_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    backend.inject(backend.operations() + 1, Fault::Fail(ErrorKind::StorageFull));
    let error = partial.write_chunk(ChunkIndex(0), data::chunk(&bytes, &index, 0)).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert!(partial.have().is_empty());
    data::write(&*partial, &bytes, 0..index.len());
    assert_eq!(content(&*partial.finish().unwrap()), bytes);
}
