//! Tests which content stays and which goes.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use phase_core::store::{FileKind, Goal, Prune, Removal};
use phase_core::{Cid, FileStore, ImportMode, Store, StoreError};

use super::releases::{envelope, keep, publish, set_ref, store_release, versions};
use crate::data::{bytes, content, fetch, file_with, import_options, index_of, name, write};

const NAME: &str = "stable/x86_64";

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

/// The current time, from the file system's clock.
fn now(store: &FileStore) -> u64 {
    let probe = store.path().join("probe");
    fs::write(&probe, "").unwrap();
    let time = fs::metadata(&probe).unwrap().modified().unwrap();
    fs::remove_file(probe).unwrap();
    time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A removal two hours later, when everything in the store is old, except partial artifacts.
fn later(store: &FileStore, goal: Goal) -> Removal {
    Removal::new(goal, now(store) + 2 * 60 * 60)
}

fn path(store: &FileStore, folder: &str, cid: &Cid) -> PathBuf {
    store.path().join(folder).join(cid.to_string())
}

fn file(seed: u64) -> Vec<u8> {
    bytes(seed, 20_000)
}

#[test]
fn a_prune_keeps_current_pinned_and_the_newest_complete_releases() {
    let (_folder, store) = store();
    let releases: Vec<_> = (1..=5).map(|version| publish(&store, NAME, version, &[file(version)])).collect();
    publish(&store, "other/x86_64", 1, &[file(9)]);
    // Version 4 is incomplete, so it does not count.
    fs::remove_file(path(&store, "artifacts", &releases[3].cid(0))).unwrap();
    store.pin(&releases[0].manifest).unwrap();
    let removed = store.remove(&later(&store, keep(2))).unwrap();
    assert_eq!(removed.releases.iter().map(|release| release.version).collect::<Vec<_>>(), [2]);
    let left = ["other/x86_64@1", "stable/x86_64@5", "stable/x86_64@4", "stable/x86_64@3", "stable/x86_64@1"];
    assert_eq!(versions(&store), left);
    store.remove(&later(&store, keep(1))).unwrap();
    assert!(store.remove(&later(&store, Goal::Release(releases[0].manifest))).unwrap().releases.is_empty());
    assert_eq!(versions(&store), ["other/x86_64@1", "stable/x86_64@5", "stable/x86_64@1"]);
    for (position, kept) in [true, false, false, false, true].into_iter().enumerate() {
        assert_eq!(store.artifact(&releases[position].cid(0)).unwrap().is_some(), kept, "version {}", position + 1);
        assert_eq!(store.block(&releases[position].cid(0)).unwrap().is_some(), kept, "index of {}", position + 1);
    }
}

#[test]
fn a_release_that_is_newer_than_the_current_one_stays_because_it_is_being_fetched() {
    let (_folder, store) = store();
    publish(&store, NAME, 1, &[file(1)]);
    store_release(&store, NAME, 2, &[file(2)]);
    for goal in [keep(1), Goal::Prune(Prune { keep: None, max_bytes: Some(0) }), Goal::Orphans] {
        store.remove(&later(&store, goal)).unwrap();
        assert_eq!(versions(&store), ["stable/x86_64@2", "stable/x86_64@1"]);
    }
}

#[test]
fn a_release_that_a_crashed_publisher_left_goes_and_counts_for_nothing() {
    for order in [[1, 2], [2, 1]] {
        let (_folder, store) = store();
        let old = publish(&store, NAME, 1, &[file(3)]);
        // The publisher crashed before it set the ref. When it ran again, it signed another manifest of this version.
        let left = store_release(&store, NAME, 2, &[file(order[0])]);
        let again = publish(&store, NAME, 2, &[file(order[1])]);
        assert_eq!(versions(&store).len(), 3);
        let removed = store.remove(&later(&store, keep(2))).unwrap();
        assert_eq!(removed.releases.iter().map(|release| release.manifest).collect::<Vec<_>>(), [left.manifest]);
        assert!(store.artifact(&left.cid(0)).unwrap().is_none());
        old.assert_whole(&store, "the previous release");
        again.assert_whole(&store, "the current release");
    }
}

#[test]
fn shared_artifacts_stay_as_long_as_one_release_needs_them() {
    let (_folder, store) = store();
    let first = publish(&store, NAME, 1, &[file(1), file(2)]);
    publish(&store, NAME, 2, &[file(2), file(3)]);
    let removed = store.remove(&later(&store, Goal::Release(first.manifest))).unwrap();
    assert_eq!(removed.releases.len(), 1);
    assert!(store.artifact(&first.cid(0)).unwrap().is_none());
    assert_eq!(content(&*store.artifact(&first.cid(1)).unwrap().unwrap()), file(2));
    assert!(store.verify(&mut |_| {}).unwrap().is_empty());
}

#[test]
fn a_size_limit_removes_the_oldest_releases_and_reports_what_is_left() {
    let (_folder, store) = store();
    for version in 1..=4 {
        publish(&store, NAME, version, &[file(version)]);
    }
    let limit = |max| Goal::Prune(Prune { keep: None, max_bytes: Some(max) });
    let all = store.inventory().unwrap().bytes;
    assert!(store.remove(&later(&store, limit(all))).unwrap().releases.is_empty());
    let removed = store.remove(&later(&store, limit(all - 1))).unwrap();
    assert_eq!(removed.releases.iter().map(|release| release.version).collect::<Vec<_>>(), [1]);
    assert_eq!(removed.left, store.inventory().unwrap().bytes);
    assert_eq!(removed.bytes, all - removed.left);
    // The current release stays, although the limit cannot be reached.
    let removed = store.remove(&later(&store, limit(1))).unwrap();
    assert!(removed.left > 1);
    assert_eq!(versions(&store), ["stable/x86_64@4"]);
}

#[test]
fn a_preview_changes_nothing_and_lists_exactly_what_goes() {
    let (_folder, store) = store();
    for version in 1..=3 {
        publish(&store, NAME, version, &[file(version), file(10)]);
    }
    fetch(&store, &file(20));
    let removal = later(&store, keep(1));
    let preview = store.preview_removal(&removal).unwrap();
    assert_eq!(versions(&store).len(), 3);
    assert!(preview.files.iter().all(|file| file.path.exists()));
    let before = store.inventory().unwrap().bytes;
    let removed = store.remove(&removal).unwrap();
    assert_eq!((preview.files, preview.bytes, preview.left), (removed.files.clone(), removed.bytes, removed.left));
    assert!(removed.files.iter().all(|file| !file.path.exists()));
    assert_eq!(store.inventory().unwrap().bytes, before - removed.bytes);
    // Two manifests, two artifacts, their seals and indexes, and the same for the orphan.
    assert_eq!(removed.files.iter().filter(|file| file.kind == FileKind::Artifact).count(), 3);
    assert_eq!(removed.files.len(), 2 + 3 * 3);
}

#[test]
fn a_file_that_was_exported_as_a_link_frees_no_space() {
    let (folder, store) = store();
    let cid = fetch(&store, &file(1)).cid();
    fs::hard_link(path(&store, "artifacts", &cid), folder.path().join("exported")).unwrap();
    let removed = store.remove(&later(&store, Goal::Orphans)).unwrap();
    let artifact = removed.files.iter().find(|file| file.kind == FileKind::Artifact).unwrap();
    assert_eq!(artifact.bytes, 0);
    assert_eq!(fs::read(folder.path().join("exported")).unwrap(), file(1));
}

#[test]
fn what_a_publisher_has_just_stored_stays_until_it_is_referenced() {
    let (_folder, store) = store();
    let (_source, source) = file_with(&file(1));
    let cid = store.import(&source, &import_options(), &mut |_| {}).unwrap().cid();
    let soon = Removal::new(Goal::Orphans, now(&store) + 59 * 60);
    assert!(store.remove(&soon).unwrap().files.is_empty());
    assert!(store.artifact(&cid).unwrap().is_some() && store.block(&cid).unwrap().is_some());
    // A clock that was set back does not make files old.
    assert!(store.remove(&Removal::new(Goal::Orphans, 0)).unwrap().files.is_empty());
    store.remove(&later(&store, Goal::Orphans)).unwrap();
    assert!(store.artifact(&cid).unwrap().is_none() && store.block(&cid).unwrap().is_none());
}

#[test]
fn an_old_artifact_that_is_imported_again_stays_until_it_is_referenced() {
    let (_folder, store) = store();
    let (_source, source) = file_with(&file(1));
    let old = publish(&store, NAME, 1, &[file(1)]);
    publish(&store, NAME, 2, &[file(2)]);
    std::thread::sleep(Duration::from_millis(1100));
    store.import(&source, &import_options(), &mut |_| {}).unwrap();
    store.remove(&Removal::new(keep(1), now(&store))).unwrap();
    assert_eq!(versions(&store), ["stable/x86_64@2"]);
    assert!(store.artifact(&old.cid(0)).unwrap().is_some(), "the artifact that was imported again is gone");
    let third = store_release(&store, NAME, 3, &[file(1)]);
    set_ref(&store, NAME, &third, 3);
    assert_eq!(third.cid(0), old.cid(0));
    third.assert_whole(&store, "imported again");
}

#[test]
fn a_ref_is_not_set_to_a_release_whose_artifact_was_removed() {
    let (_folder, store) = store();
    let release = store_release(&store, NAME, 1, &[file(1), file(2)]);
    fs::remove_file(path(&store, "artifacts", &release.cid(1))).unwrap();
    let manifest = store.manifest(&release.manifest).unwrap().unwrap();
    let pointer = phase_core::Pointer::to(&manifest, release.manifest, 1);
    let pointer = phase_core::Envelope::signed(&pointer, [&phase_core::SigningKey::from_secret_bytes(&[1; 32])]);
    let error = store.set_ref(&name(NAME), &pointer.unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::NoArtifact { .. }), "{error}");
    assert!(error.to_string().contains("file-1"), "{error}");
    assert!(store.pointer(&name(NAME)).unwrap().is_none());
}

#[test]
fn a_partial_artifact_stays_while_it_is_open_and_goes_when_it_is_old() {
    let (_folder, store) = store();
    let (cid, index) = index_of(&file(1));
    // Its release is in the store: the fetch of it was abandoned.
    let manifest = envelope(NAME, 1, &[file(1)]);
    store.put_block(&manifest.cid(), &manifest.encode()).unwrap();
    let partial = store.partial(&cid, index.clone()).unwrap();
    write(&*partial, &file(1), [0, 1, 2]);
    partial.checkpoint().unwrap();
    let part = path(&store, "artifacts", &cid).with_extension("part");
    let week = 7 * 24 * 60 * 60;
    let old = Removal::new(Goal::Orphans, now(&store) + week + 60);
    assert!(store.remove(&old).unwrap().files.is_empty());
    assert!(store.remove(&Removal::new(Goal::Release(manifest.cid()), now(&store))).unwrap().files.len() == 1);
    drop(partial);
    assert!(store.remove(&later(&store, Goal::Orphans)).unwrap().files.is_empty());
    assert!(part.exists());
    let removed = store.remove(&old).unwrap();
    let kinds: Vec<_> = removed.files.iter().map(|file| file.kind).collect();
    assert_eq!(kinds, [FileKind::Partial, FileKind::Bitmap, FileKind::Block]);
    assert!(!part.exists());
    assert!(store.partial(&cid, index).unwrap().have().is_empty());
}

#[test]
fn a_removed_partial_release_takes_its_partial_artifacts_along() {
    let (_folder, store) = store();
    let (cid, index) = index_of(&file(1));
    let manifest = envelope(NAME, 1, &[file(1)]);
    store.put_block(&manifest.cid(), &manifest.encode()).unwrap();
    let partial = store.partial(&cid, index).unwrap();
    write(&*partial, &file(1), [0]);
    drop(partial);
    store.remove(&Removal::new(Goal::Release(manifest.cid()), now(&store))).unwrap();
    assert!(!path(&store, "artifacts", &cid).with_extension("part").exists());
    assert!(store.block(&cid).unwrap().is_none());
}

#[test]
fn pinned_artifacts_references_and_trust_roots_stay_and_an_unneeded_reference_is_forgotten() {
    let (_folder, store) = store();
    let pinned = fetch(&store, &file(1)).cid();
    store.pin(&pinned).unwrap();
    let (_source, source) = file_with(&file(2));
    let reference =
        store.import(&source, &import_options().with_mode(ImportMode::Reference), &mut |_| {}).unwrap().cid();
    let key = phase_core::SigningKey::from_secret_bytes(&[1; 32]);
    let root = phase_core::TrustRoot::of_one_key(key.public(), [name(NAME).channel], 1, 2);
    let root = phase_core::Envelope::signed(&root, [&key]).unwrap();
    store.put_block(&root.cid(), &root.encode()).unwrap();
    store.remove(&later(&store, Goal::Orphans)).unwrap();
    assert!(store.artifact(&pinned).unwrap().is_some());
    assert!(store.artifact(&reference).unwrap().is_none() && source.exists());
    assert!(store.block(&root.cid()).unwrap().is_some());
    assert!(store.unpin(&pinned).unwrap() && !store.unpin(&pinned).unwrap());
    store.remove(&later(&store, Goal::Orphans)).unwrap();
    assert!(store.artifact(&pinned).unwrap().is_none());
}

#[test]
fn nothing_is_removed_while_a_manifest_or_a_ref_is_damaged() {
    let (_folder, store) = store();
    let old = publish(&store, NAME, 1, &[file(1)]);
    let current = publish(&store, NAME, 2, &[file(2)]);
    let orphan = fetch(&store, &file(3)).cid();
    for broken in [path(&store, "blocks", &current.manifest), store.path().join("refs").join(NAME)] {
        let content = fs::read(&broken).unwrap();
        let mut bad = content.clone();
        bad[60] ^= 1;
        fs::write(&broken, &bad).unwrap();
        for goal in [keep(1), Goal::Orphans, Goal::Release(old.manifest)] {
            let error = store.remove(&later(&store, goal)).unwrap_err();
            assert!(error.to_string().contains(broken.to_str().unwrap()), "{error}");
        }
        fs::write(&broken, content).unwrap();
    }
    assert!(store.artifact(&orphan).unwrap().is_some());
    store.remove(&later(&store, keep(1))).unwrap();
    assert!(store.artifact(&orphan).unwrap().is_none());
}

#[test]
fn the_current_release_goes_only_after_its_ref() {
    let (_folder, store) = store();
    let release = publish(&store, NAME, 1, &[file(1)]);
    let removal = later(&store, Goal::Release(release.manifest));
    assert!(store.remove(&removal).unwrap().releases.is_empty());
    assert_eq!(store.preview_removal(&removal).unwrap().releases.len(), 1);
    assert!(!store.remove_ref(&name(NAME), &Cid::of_block(b"other")).unwrap());
    assert!(store.remove_ref(&name(NAME), &release.manifest).unwrap());
    assert!(!store.remove_ref(&name(NAME), &release.manifest).unwrap());
    assert_eq!(store.remove(&removal).unwrap().releases.len(), 1);
    assert!(store.artifact(&release.cid(0)).unwrap().is_none());
}

#[test]
fn what_a_running_provider_announces_stays_until_it_is_withdrawn() {
    let (_folder, store) = store();
    let old = publish(&store, NAME, 1, &[file(1), file(2)]);
    publish(&store, NAME, 2, &[file(2)]);
    let provider = FileStore::open(store.path()).unwrap();
    let lock = provider.lock_provider().unwrap();
    provider.set_announced(&[old.cid(0), old.cid(1)]).unwrap();
    let removal = later(&store, keep(1));
    let removed = store.remove(&removal).unwrap();
    assert_eq!((removed.announced.as_slice(), removed.files.len()), (&[old.cid(0)][..], 0));
    old.assert_whole(&store, "announced");
    provider.set_announced(&[old.cid(1)]).unwrap();
    let removed = store.remove(&removal).unwrap();
    assert_eq!((removed.announced.len(), removed.releases.len()), (0, 1));
    // The list of a provider that has ended does not count.
    let orphan = fetch(&store, &file(3)).cid();
    provider.set_announced(&[orphan]).unwrap();
    assert_eq!(store.remove(&later(&store, Goal::Orphans)).unwrap().announced, [orphan]);
    drop(lock);
    store.remove(&later(&store, Goal::Orphans)).unwrap();
    assert!(store.artifact(&orphan).unwrap().is_none());
}

#[test]
fn a_removed_artifact_that_is_open_can_be_read_to_its_end() {
    let (_folder, store) = store();
    let release = store_release(&store, NAME, 1, &[file(1)]);
    let open = store.artifact(&release.cid(0)).unwrap().unwrap();
    assert!(!open.is_removed());
    store.remove(&later(&store, Goal::Release(release.manifest))).unwrap();
    assert!(open.is_removed());
    assert_eq!(content(&*open), file(1));
}

#[test]
fn damaged_files_that_were_set_aside_and_temporary_files_age_out() {
    let (_folder, store) = store();
    let cid = fetch(&store, &file(1)).cid();
    let artifact = path(&store, "artifacts", &cid);
    fs::remove_file(&artifact).unwrap();
    fs::write(&artifact, "wrong").unwrap();
    let moved = store.set_aside(&cid).unwrap().unwrap();
    let left = store.path().join("tmp/left");
    fs::write(&left, "").unwrap();
    store.remove(&later(&store, Goal::Orphans)).unwrap();
    assert!(moved.exists() && !left.exists());
    store.remove(&Removal::new(Goal::Orphans, now(&store) + 8 * 24 * 60 * 60)).unwrap();
    assert!(!moved.exists());
}

#[test]
fn the_leaf_blocks_of_a_large_index_go_and_stay_with_their_artifact() {
    let (_folder, store) = store();
    let large = bytes(1, 40 << 20);
    let (cid, index) = index_of(&large);
    let blocks = index.encode().blocks;
    assert!(blocks.len() > 2, "{} blocks", blocks.len());
    let release = publish(&store, NAME, 1, &[large]);
    store.remove(&later(&store, Goal::Orphans)).unwrap();
    assert!(store.artifact(&cid).unwrap().is_some());
    store.remove_ref(&name(NAME), &release.manifest).unwrap();
    store.remove(&later(&store, Goal::Release(release.manifest))).unwrap();
    assert_eq!(fs::read_dir(store.path().join("blocks")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.path().join("artifacts")).unwrap().count(), 0);
}

#[test]
fn the_inventory_lists_releases_states_and_orphans() {
    let (_folder, store) = store();
    let release = publish(&store, NAME, 1, &[file(1), file(2)]);
    store.pin(&release.manifest).unwrap();
    fetch(&store, &file(3));
    fs::remove_file(path(&store, "artifacts", &release.cid(1))).unwrap();
    let inventory = store.inventory().unwrap();
    let [usage] = inventory.releases.as_slice() else { panic!("{inventory:?}") };
    assert_eq!((usage.artifacts, usage.complete, usage.is_complete()), (2, 1, false));
    assert_eq!(usage.size, 40_000);
    assert!(usage.release.is_current && usage.release.is_pinned);
    let mut orphans: Vec<_> = inventory.orphans.iter().map(|file| file.kind).collect();
    orphans.sort_unstable();
    // The file of the second artifact is gone, so its seal says nothing.
    assert_eq!(orphans, [FileKind::Artifact, FileKind::Seal, FileKind::Seal, FileKind::Block]);
}
