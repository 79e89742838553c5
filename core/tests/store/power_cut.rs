//! Tests that keys, refs, artifacts and the chunks of a checkpoint survive a power cut, or a kill of the process, at
//! any operation.

use std::sync::Arc;

use phase_core::{Digest, FileStore, Store};

use crate::data::{bytes, fetch, index_of, write};
use crate::fault_backend::{Fault, FaultBackend};
use crate::scenario::{Confirmed, Scenario};

/// RNG seeds that decide which unsynced writes a power cut loses. RNG seed 0 loses all of them, 1 loses none, and the
/// others lose a random part.
const SEEDS: std::ops::Range<u64> = 0..6;

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_confirmed() {
    let scenario = Scenario::new();
    let undisturbed = FaultBackend::new();
    scenario.run(&undisturbed, &mut Confirmed::default()).unwrap();
    for operation in 1..=undisturbed.operations() {
        let backend = FaultBackend::new();
        backend.inject(operation, Fault::PowerCut);
        let mut confirmed = Confirmed::default();
        let _ = scenario.run(&backend, &mut confirmed);
        for seed in SEEDS {
            let context = format!("power cut at operation {operation}, seed {seed}");
            let after = backend.after_power_cut(seed);
            scenario.check(&after, &confirmed, &context);
            // The scenario that was interrupted can be run again.
            let mut again = Confirmed::default();
            scenario.run(&after, &mut again).unwrap_or_else(|error| panic!("{context}: {error}"));
            scenario.check(&after, &again, &context);
        }
    }
}

#[test]
fn a_kill_at_any_operation_leaves_no_bitmap_of_a_complete_artifact() {
    let content = bytes(1, 20_000);
    let (cid, index) = index_of(&content);
    let prepare = || {
        let backend = FaultBackend::new();
        let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
        let partial = store.partial(&cid, index.clone()).unwrap();
        write(&*partial, &content, 0..index.len());
        partial.checkpoint().unwrap();
        (backend, partial)
    };
    let (backend, partial) = prepare();
    let before = backend.operations();
    partial.finish().unwrap();
    for operation in before + 1..=backend.operations() {
        let (backend, partial) = prepare();
        backend.inject(operation, Fault::PowerCut);
        let _ = partial.finish();
        // RNG seed 1 loses nothing, as if only the process had been killed.
        let after = backend.after_power_cut(1);
        let has = |suffix: &str| after.files().iter().any(|path| path.ends_with(format!("artifacts/{cid}{suffix}")));
        assert!(!(has("") && has(".have")), "{operation}: {:?}", after.files());
        let store = FileStore::with_backend("/store", Arc::new(after.clone())).unwrap();
        if store.artifact(&cid).unwrap().is_none() {
            assert!(store.partial(&cid, index.clone()).unwrap().have().is_full(), "{operation}");
        }
    }
}

#[test]
fn a_power_cut_after_the_last_operation_loses_nothing() {
    let scenario = Scenario::new();
    let backend = FaultBackend::new();
    let mut confirmed = Confirmed::default();
    scenario.run(&backend, &mut confirmed).unwrap();
    for seed in SEEDS {
        scenario.check(&backend.after_power_cut(seed), &confirmed, &format!("seed {seed}"));
    }
}

#[test]
fn the_chunk_map_is_correct_after_a_power_cut_at_any_operation() {
    let (first, second) = (bytes(1, 5_000), bytes(2, 5_000));
    let digests: Vec<Digest> = [&first, &second]
        .iter()
        .flat_map(|bytes| index_of(bytes).1.chunks().map(|c| c.digest).collect::<Vec<_>>())
        .collect();
    let open = |backend: &FaultBackend| FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let prepare = || {
        let backend = FaultBackend::new();
        let store = open(&backend);
        fetch(&store, &first);
        store.find_chunks(&digests).unwrap();
        fetch(&store, &second);
        (backend, store)
    };
    let (backend, store) = prepare();
    let before = backend.operations();
    let expected = store.find_chunks(&digests).unwrap();
    assert!(expected.iter().all(Option::is_some));
    for operation in before + 1..=backend.operations() {
        let (backend, store) = prepare();
        backend.inject(operation, Fault::PowerCut);
        let _ = store.find_chunks(&digests);
        for seed in SEEDS {
            let found = open(&backend.after_power_cut(seed)).find_chunks(&digests).unwrap();
            assert_eq!(found, expected, "power cut at operation {operation}, seed {seed}");
        }
    }
}
