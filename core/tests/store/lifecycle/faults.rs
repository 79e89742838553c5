//! Tests faults and power cuts at every operation of a removal, of setting a file aside and of pinning.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use phase_core::store::{Goal, ProblemKind};
use phase_core::{FileStore, Store, StoreError};

use super::releases::{Stored, keep, publish, removal, store_release, versions};
use crate::data::{bytes, fetch, index_of, name, write};
use crate::fault_backend::{Fault, FaultBackend};

const STORE: &str = "/store";
/// RNG seeds that decide which unsynced writes a power cut loses. See [`FaultBackend::after_power_cut`].
const SEEDS: std::ops::Range<u64> = 0..6;
/// The error numbers of an I/O error and of too many open files.
const READ_ERRORS: [i32; 2] = [5, 24];

/// A store with current, pinned and old releases that share artifacts, orphans, and a damaged artifact of an old release.
struct Stage {
    backend: FaultBackend,
    current: Vec<(&'static str, Stored)>,
    pinned: Stored,
    old: Stored,
    damaged: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let backend = FaultBackend::new();
        let store = open(&backend);
        let file = |seed| bytes(seed, 3_000);
        let old = publish(&store, "a/x", 1, &[file(1), file(2)]);
        let pinned = store_release(&store, "a/x", 2, &[file(2), file(3)]);
        let current = publish(&store, "a/x", 3, &[file(2), file(4)]);
        let other = publish(&store, "b/y", 1, &[file(5), file(3)]);
        store.pin(&pinned.manifest).unwrap();
        // Orphans: a whole artifact and a partial one, with its bitmap.
        fetch(&store, &file(6));
        let (cid, index) = index_of(&file(7));
        let partial = store.partial(&cid, index).unwrap();
        write(&*partial, &file(7), [0]);
        partial.checkpoint().unwrap();
        drop(partial);
        let damaged = file(8);
        let cid = fetch(&store, &damaged).cid();
        backend.flip(&PathBuf::from(STORE).join("artifacts").join(cid.to_string()), 1_000);
        let current = vec![("a/x", current), ("b/y", other)];
        Self { backend: backend.copy(), current, pinned, old, damaged }
    }

    /// Asserts that the store can be opened, that current and pinned releases are whole, and that every release that it
    /// lists is whole. `removed` is the name whose ref may be gone.
    fn check(&self, backend: &FaultBackend, removed: Option<&str>, context: &str) {
        let store = open(backend);
        for (of, stored) in &self.current {
            if store.pointer(&name(of)).unwrap().is_some() {
                stored.assert_whole(&store, context);
            } else {
                assert_eq!(removed, Some(*of), "{context}: a ref is lost");
            }
        }
        self.pinned.assert_whole(&store, context);
        assert!(store.pins().unwrap().contains(&self.pinned.manifest), "{context}: a pin is lost");
        for release in store.releases().unwrap() {
            let manifest = store.manifest(&release.manifest).unwrap().unwrap();
            for entry in &manifest.artifacts {
                let artifact = store.artifact(&entry.cid).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(artifact.is_some(), "{context}: {release} is listed and lacks {}", entry.filename);
            }
        }
    }
}

fn open(backend: &FaultBackend) -> FileStore {
    FileStore::with_backend(STORE, Arc::new(backend.clone())).unwrap()
}

type Action = fn(&Stage, &FileStore) -> Result<(), StoreError>;

/// Runs an action with a fault at each of its operations, and then again without a fault. Asserts that the result is the
/// same as without any fault. Returns the number of runs.
fn at_every_operation(action: Action, removed: Option<&str>) -> u64 {
    let stage = Stage::new();
    let undisturbed = stage.backend.copy();
    let store = open(&undisturbed);
    let before = undisturbed.operations();
    action(&stage, &store).unwrap();
    let operations = undisturbed.operations() - before;
    assert!(operations > 0);
    let expected = without_damage(undisturbed.files());
    stage.check(&undisturbed, removed, "undisturbed");
    let kinds = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::ReadOnlyFilesystem];
    let faults = kinds.map(Fault::Fail).into_iter().chain([Fault::PowerCut]);
    let mut runs = 0;
    for (fault, operation) in faults.flat_map(|fault| (1..=operations).map(move |operation| (fault, operation))) {
        let backend = stage.backend.copy();
        let store = open(&backend);
        backend.inject(backend.operations() + operation, fault);
        let outcome = action(&stage, &store);
        let ends = match fault {
            Fault::PowerCut => SEEDS.map(|seed| (seed, backend.after_power_cut(seed))).collect(),
            _ => vec![(0, backend)],
        };
        for (seed, end) in ends {
            let context = format!("{fault:?} at operation {operation} of {operations}, seed {seed}, {outcome:?}");
            stage.check(&end, removed, &context);
            action(&stage, &open(&end)).unwrap_or_else(|error| panic!("{context}: {error}"));
            stage.check(&end, removed, &context);
            assert_eq!(without_damage(end.files()), expected, "{context}");
            runs += 1;
        }
    }
    runs
}

/// Leaves out the damaged files that were set aside, because their number depends on the faults.
fn without_damage(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    files.retain(|path| !path.starts_with("/store/damaged") && !path.starts_with("/store/tmp"));
    files
}

#[test]
fn a_prune_with_a_fault_at_any_operation_loses_nothing_and_a_second_prune_finishes_it() {
    let prune: Action = |stage, store| {
        store.remove(&removal(keep(1)))?;
        assert!(!versions(store).contains(&"a/x@1".to_owned()));
        assert!(store.artifact(&stage.old.cid(0))?.is_none());
        Ok(())
    };
    let runs = at_every_operation(prune, None);
    println!("{runs} runs");
    assert!(runs > 100, "{runs}");
}

#[test]
fn a_gc_with_a_fault_at_any_operation_loses_nothing_and_a_second_gc_finishes_it() {
    let runs = at_every_operation(|_, store| store.remove(&removal(Goal::Orphans)).map(drop), None);
    println!("{runs} runs");
    assert!(runs > 80, "{runs}");
}

#[test]
fn removing_a_current_release_with_a_fault_at_any_operation_loses_nothing_else() {
    let rm: Action = |stage, store| {
        let (of, stored) = &stage.current[1];
        store.remove_ref(&name(of), &stored.manifest)?;
        store.remove(&removal(Goal::Release(stored.manifest)))?;
        // After a crash, the rest of the release are orphans.
        store.remove(&removal(Goal::Orphans)).map(drop)
    };
    let runs = at_every_operation(rm, Some("b/y"));
    println!("{runs} runs");
    assert!(runs > 100, "{runs}");
}

#[test]
fn setting_aside_with_a_fault_at_any_operation_loses_nothing_else() {
    let set_aside: Action = |stage, store| {
        let (cid, _) = index_of(&stage.damaged);
        store.set_aside(&cid)?;
        assert!(store.artifact(&cid)?.is_none());
        Ok(())
    };
    let runs = at_every_operation(set_aside, None);
    println!("{runs} runs");
    assert!(runs > 40, "{runs}");
}

#[test]
fn pinning_and_unpinning_with_a_fault_at_any_operation_loses_nothing() {
    let pin: Action = |stage, store| {
        store.pin(&stage.old.manifest)?;
        store.unpin(&stage.old.manifest).map(drop)
    };
    let runs = at_every_operation(pin, None);
    println!("{runs} runs");
    assert!(runs > 50, "{runs}");
}

#[test]
fn a_removal_that_cannot_read_something_removes_nothing_that_is_needed() {
    let stage = Stage::new();
    let goals = [keep(1), Goal::Orphans, Goal::Release(stage.old.manifest)];
    let mut runs = 0;
    for goal in goals {
        let counted = stage.backend.copy();
        let store = open(&counted);
        let before = counted.reads();
        store.remove(&removal(goal.clone())).unwrap();
        let reads = counted.reads() - before;
        for (errno, read) in READ_ERRORS.into_iter().flat_map(|errno| (1..=reads).map(move |read| (errno, read))) {
            let backend = stage.backend.copy();
            let store = open(&backend);
            backend.inject_read(backend.reads() + read, errno);
            let outcome = store.remove(&removal(goal.clone())).map(drop);
            stage.check(&backend, None, &format!("{goal:?}: error {errno} at read {read} of {reads}: {outcome:?}"));
            runs += 1;
        }
    }
    println!("{runs} runs");
}

#[test]
fn a_verification_never_takes_a_read_error_for_damage() {
    let stage = Stage::new();
    let (damaged, _) = index_of(&stage.damaged);
    let counted = stage.backend.copy();
    let store = open(&counted);
    let before = counted.reads();
    let problems = store.verify(&mut |_| {}).unwrap();
    let reads = counted.reads() - before;
    assert_eq!(problems.iter().filter(|problem| problem.kind == ProblemKind::Damaged).count(), 1);
    for (errno, read) in READ_ERRORS.into_iter().flat_map(|errno| (1..=reads).map(move |read| (errno, read))) {
        let backend = stage.backend.copy();
        let store = open(&backend);
        backend.inject_read(backend.reads() + read, errno);
        // Two threads read, so the failing read differs between runs. Whichever it is, it is never damage.
        let Ok(problems) = store.verify(&mut |_| {}) else { continue };
        let files = problems.iter().filter(|problem| problem.kind == ProblemKind::Damaged);
        for problem in files {
            assert_eq!(problem.artifact, Some(damaged), "error {errno} at read {read} of {reads}: {problem:?}");
        }
    }
}
