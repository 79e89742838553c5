//! Tests that a verification finds everything that is damaged or missing, and names the releases that need it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use phase_core::store::{Problem, ProblemKind};
use phase_core::{Cid, FileStore, ImportMode, Store};

use super::releases::{publish, store_release};
use crate::data::{bytes, fetch, file_with, import_options, index_of, write};

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn path(store: &FileStore, folder: &str, cid: &Cid) -> PathBuf {
    store.path().join(folder).join(cid.to_string())
}

/// Changes one byte in the middle of a file.
fn damage(path: &Path) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
}

fn verify(store: &FileStore) -> Vec<Problem> {
    store.verify(&mut |_| {}).unwrap()
}

/// Verifies a store that must have one problem, with this file, kind and releases.
#[track_caller]
fn assert_one(store: &FileStore, path: &Path, kind: ProblemKind, releases: &[&str]) {
    let problems = verify(store);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let named: Vec<_> = problems[0].releases.iter().map(ToString::to_string).collect();
    assert_eq!((problems[0].path.as_path(), problems[0].kind), (path, kind), "{problems:?}");
    assert_eq!(named, releases, "{problems:?}");
    assert!(problems[0].error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{problems:?}");
}

#[test]
fn an_undamaged_store_has_no_problem_and_the_progress_reaches_the_total() {
    let (_folder, store) = store();
    publish(&store, "stable/x86_64", 1, &[bytes(1, 50_000), bytes(2, 0)]);
    let (cid, index) = index_of(&bytes(3, 50_000));
    let partial = store.partial(&cid, index).unwrap();
    write(&*partial, &bytes(3, 50_000), [0, 1, 5]);
    partial.checkpoint().unwrap();
    let mut last = Default::default();
    assert_eq!(store.verify(&mut |now| last = now).unwrap().len(), 0);
    assert!(last.total >= 50_000 && last.done == last.total, "{last:?}");
}

#[test]
fn a_damaged_artifact_is_found_and_every_release_that_needs_it_is_named() {
    let (_folder, store) = store();
    let shared = bytes(1, 50_000);
    let old = publish(&store, "stable/x86_64", 1, std::slice::from_ref(&shared));
    publish(&store, "stable/x86_64", 2, &[shared.clone(), bytes(2, 5_000)]);
    publish(&store, "other/x86_64", 1, &[bytes(3, 5_000)]);
    let file = path(&store, "artifacts", &old.cid(0));
    damage(&file);
    let both = ["stable/x86_64@2", "stable/x86_64@1"];
    assert_one(&store, &file, ProblemKind::Damaged, &both);
    // A file of the wrong length, and a link.
    fs::write(&file, b"short").unwrap();
    assert_one(&store, &file, ProblemKind::Damaged, &both);
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/null", &file).unwrap();
    assert_one(&store, &file, ProblemKind::Damaged, &both);
    fs::remove_file(&file).unwrap();
    assert_one(&store, &file, ProblemKind::Missing, &both);
}

#[test]
fn damaged_and_missing_index_blocks_manifests_and_refs_are_found() {
    let (_folder, store) = store();
    let release = publish(&store, "stable/x86_64", 1, &[bytes(1, 50_000)]);
    let block = path(&store, "blocks", &release.cid(0));
    let content = fs::read(&block).unwrap();
    damage(&block);
    assert_one(&store, &block, ProblemKind::Damaged, &["stable/x86_64@1"]);
    fs::remove_file(&block).unwrap();
    assert_one(&store, &block, ProblemKind::Missing, &["stable/x86_64@1"]);
    fs::write(&block, content).unwrap();

    let manifest = path(&store, "blocks", &release.manifest);
    let content = fs::read(&manifest).unwrap();
    damage(&manifest);
    assert_one(&store, &manifest, ProblemKind::Damaged, &[]);
    fs::remove_file(&manifest).unwrap();
    let file = store.path().join("refs/stable/x86_64");
    assert_one(&store, &file, ProblemKind::Missing, &[]);
    fs::write(&manifest, content).unwrap();
    damage(&file);
    assert_one(&store, &file, ProblemKind::Damaged, &[]);
}

#[test]
fn damaged_seals_bitmaps_references_and_pins_are_found() {
    let (_folder, store) = store();
    let cid = fetch(&store, &bytes(1, 5_000)).cid();
    let seal = path(&store, "artifacts", &cid).with_extension("seal");
    fs::write(&seal, "garbage").unwrap();
    assert_one(&store, &seal, ProblemKind::Damaged, &[]);
    assert!(store.artifact(&cid).unwrap().is_some());

    let (cid, index) = index_of(&bytes(2, 50_000));
    let partial = store.partial(&cid, index).unwrap();
    write(&*partial, &bytes(2, 50_000), [0, 1]);
    partial.checkpoint().unwrap();
    drop(partial);
    let part = path(&store, "artifacts", &cid).with_extension("part");
    let content = fs::read(&part).unwrap();
    fs::write(&part, vec![0; content.len()]).unwrap();
    assert_one(&store, &part.with_extension("have"), ProblemKind::Damaged, &[]);
    fs::write(&part, content).unwrap();

    let (_source, source) = file_with(&bytes(3, 5_000));
    store.import(&source, &import_options().with_mode(ImportMode::Reference), &mut |_| {}).unwrap();
    damage(&source);
    assert_one(&store, &source, ProblemKind::Damaged, &[]);
    fs::remove_file(&source).unwrap();
    assert_one(&store, &source, ProblemKind::Missing, &[]);
    fs::write(&source, bytes(3, 5_000)).unwrap();

    store.pin(&Cid::of_block(b"gone")).unwrap();
    assert_one(&store, &path(&store, "pins", &Cid::of_block(b"gone")), ProblemKind::Missing, &[]);
}

#[test]
fn an_incomplete_old_release_is_no_problem() {
    let (_folder, store) = store();
    let old = store_release(&store, "stable/x86_64", 1, &[bytes(1, 5_000)]);
    publish(&store, "stable/x86_64", 2, &[bytes(2, 5_000)]);
    fs::remove_file(path(&store, "artifacts", &old.cid(0))).unwrap();
    assert_eq!(verify(&store).len(), 0);
    store.pin(&old.manifest).unwrap();
    assert_eq!(verify(&store).len(), 1);
}

#[test]
fn damaged_blocks_and_refs_are_set_aside() {
    let (_folder, store) = store();
    let release = publish(&store, "stable/x86_64", 1, &[bytes(1, 5_000)]);
    let name = crate::data::name("stable/x86_64");
    assert!(store.set_aside_block(&release.manifest).unwrap().is_none());
    assert!(store.set_aside_ref(&name).unwrap().is_none());
    damage(&path(&store, "blocks", &release.manifest));
    damage(&store.path().join("refs/stable/x86_64"));
    assert!(store.set_aside_block(&release.manifest).unwrap().unwrap().exists());
    assert!(store.set_aside_ref(&name).unwrap().unwrap().exists());
    assert!(store.block(&release.manifest).unwrap().is_none() && store.pointer(&name).unwrap().is_none());
}
