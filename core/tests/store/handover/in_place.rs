use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phase_core::handover::{InPlaceStore, Output, Target};
use phase_core::manifest::ArtifactEntry;
use phase_core::{ArtifactIndex, ChunkIndex, Cid, Partial, Store, StoreError};

use super::files;
use crate::data::{bytes, chunk, index_of, write};
use crate::fault_backend::FaultBackend;

/// Artifacts that are fetched into their final place, without a store on disk.
struct Fetch {
    store: InPlaceStore,
    output: Arc<Output>,
}

type Content = (Vec<u8>, Cid, Arc<ArtifactIndex>);

fn content(bytes: Vec<u8>) -> Content {
    let (cid, index) = index_of(&bytes);
    (bytes, cid, index)
}

fn entry(name: &str, (_, cid, index): &Content) -> ArtifactEntry {
    ArtifactEntry::new("file".parse().unwrap(), name.parse().unwrap(), *cid, index)
}

impl Fetch {
    fn begin(target: Target, entries: &[ArtifactEntry]) -> Self {
        let (store, output) = (InPlaceStore::new(), Arc::new(Output::prepare(&target, entries, true).unwrap()));
        store.set_output(output.clone());
        Self { store, output }
    }

    fn partial(&self, (_, cid, index): &Content) -> Arc<dyn Partial> {
        self.store.partial(cid, index.clone()).unwrap()
    }

    /// Writes all missing chunks, the last one first.
    fn fetch(&self, of: &Content) {
        let partial = self.partial(of);
        let missing: Vec<_> = partial.have().iter_missing().map(|chunk| chunk.0).collect();
        write(&*partial, &of.0, missing.into_iter().rev());
        partial.finish().unwrap();
    }
}

#[test]
fn a_folder_is_written_once_and_appears_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (kernel, initrd) = (content(bytes(1, 90_000)), content(bytes(2, 50_000)));
    let entries = [entry("kernel", &kernel), entry("sub/initrd", &initrd), entry("copy", &kernel)];
    let fetch = Fetch::begin(Target::Folder(out.clone()), &entries);
    fetch.fetch(&kernel);
    let partial = fetch.partial(&initrd);
    write(&*partial, &initrd.0, [0, 1]);
    // What is there can be served, and nothing is visible yet.
    let mut buf = vec![0; chunk(&initrd.0, &initrd.2, 0).len()];
    partial.read_at(0, &mut buf).unwrap();
    assert_eq!(buf, chunk(&initrd.0, &initrd.2, 0));
    assert!(!out.exists());
    let bad = partial.write_chunk(ChunkIndex(2), &vec![7; chunk(&initrd.0, &initrd.2, 2).len()]);
    assert!(bad.is_err());
    write(&*partial, &initrd.0, 2..initrd.2.len());
    partial.finish().unwrap();
    fetch.output.commit().unwrap();
    let found = files(&out);
    assert_eq!(found.len(), 3);
    assert!(found["kernel"] == kernel.0 && found["copy"] == kernel.0 && found["sub/initrd"] == initrd.0);
    drop(fetch);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_crashed_fetch_continues_with_the_chunks_that_it_left() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Folder(folder.path().join("out"));
    let of = content(bytes(1, 90_000));
    let first = Fetch::begin(target.clone(), &[entry("kernel", &of)]);
    write(&*first.partial(&of), &of.0, [3, 5, 7]);
    // Dropping the values without removing their files is what a crash does.
    first.output.keep();
    drop(first);
    let again = Fetch::begin(target, &[entry("kernel", &of)]);
    assert_eq!(again.partial(&of).have().iter().map(|chunk| chunk.0).collect::<Vec<_>>(), [3, 5, 7]);
    again.fetch(&of);
    again.output.commit().unwrap();
    drop(again);
    assert!(files(folder.path()).into_iter().eq([("out/kernel".to_owned(), of.0)]));
}

/// Returns the folder with the staged files of a hand-over into a folder in `parent`.
fn staged(parent: &Path) -> PathBuf {
    let mut entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".phase-")).unwrap().join("new")
}

#[test]
fn a_fetch_that_crashes_while_its_files_become_visible_loses_no_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Folder(folder.path().join("out"));
    let of = content(bytes(1, 90_000));
    fs::create_dir_all(folder.path().join("out/sub")).unwrap();
    fs::write(folder.path().join("out/sub/notes"), "notes").unwrap();
    let first = Fetch::begin(target.clone(), &[entry("kernel", &of)]);
    first.fetch(&of);
    // The other files of the target have a second name among the staged files already.
    let new = staged(folder.path());
    fs::create_dir(new.join("sub")).unwrap();
    fs::hard_link(folder.path().join("out/sub/notes"), new.join("sub/notes")).unwrap();
    first.output.keep();
    drop(first);
    let again = Fetch::begin(target, &[entry("kernel", &of)]);
    assert!(again.partial(&of).have().is_full());
    again.fetch(&of);
    again.output.commit().unwrap();
    drop(again);
    let expected = [("out/kernel".to_owned(), of.0), ("out/sub/notes".to_owned(), b"notes".to_vec())];
    assert!(files(folder.path()).into_iter().eq(expected));
}

#[test]
fn a_fetch_that_crashes_while_a_link_is_switched_resumes() {
    let of = content(bytes(1, 90_000));
    for is_switched in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("out");
        let target = Target::Folder(link.clone());
        fs::create_dir(folder.path().join("first")).unwrap();
        std::os::unix::fs::symlink("first", &link).unwrap();
        let first = Fetch::begin(target.clone(), &[entry("kernel", &of)]);
        first.fetch(&of);
        // The staged folder has its name beside the link already, and the link may lead to it.
        let new = staged(folder.path());
        let name = format!("out{}", new.parent().unwrap().file_name().unwrap().to_str().unwrap());
        fs::rename(&new, folder.path().join(&name)).unwrap();
        std::os::unix::fs::symlink(&name, new.with_file_name("link")).unwrap();
        if is_switched {
            fs::rename(new.with_file_name("link"), &link).unwrap();
        }
        // A crash removes nothing.
        let copy = folder.path().join(".phase-01234567");
        fs::rename(new.parent().unwrap(), &copy).unwrap();
        drop(first);
        fs::rename(&copy, new.parent().unwrap()).unwrap();
        let again = Fetch::begin(target, &[entry("kernel", &of)]);
        let have = again.partial(&of).have();
        assert!(have.is_full() || is_switched);
        again.fetch(&of);
        again.output.commit().unwrap();
        drop(again);
        assert!(files(&link)["kernel"] == of.0);
        // The folders before the first switch, before the second and after it.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3 + usize::from(is_switched));
    }
}

#[test]
fn a_crash_never_makes_a_later_fetch_write_to_files_that_are_in_use() {
    let (old, new) = (content(bytes(1, 90_000)), content(bytes(2, 90_000)));
    // What a crash leaves among the staged files: the old release, a second name of a visible file, or a symbolic link.
    let leave: [fn(&Path, &Path); 3] = [
        |visible, staged| {
            fs::rename(staged, visible.with_file_name("aside")).unwrap();
            fs::rename(visible, staged).unwrap();
        },
        |visible, staged| {
            fs::remove_file(staged).unwrap();
            fs::hard_link(visible, staged).unwrap();
        },
        |visible, staged| {
            fs::remove_file(staged).unwrap();
            std::os::unix::fs::symlink(visible, staged).unwrap();
        },
    ];
    for leave in leave {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Folder(folder.path().join("out"));
        let visible = folder.path().join("out/kernel");
        fs::create_dir(folder.path().join("out")).unwrap();
        fs::write(&visible, &old.0).unwrap();
        let in_use = fs::File::open(&visible).unwrap();
        let first = Fetch::begin(target.clone(), &[entry("kernel", &new)]);
        first.fetch(&new);
        leave(&visible, &staged(folder.path()).join("kernel"));
        first.output.keep();
        drop(first);
        let again = Fetch::begin(target, &[entry("kernel", &new)]);
        write(&*again.partial(&new), &new.0, [1, 2]);
        let mut bytes = vec![0; old.0.len()];
        in_use.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == old.0);
    }
}

#[test]
fn bytes_that_a_crash_damaged_are_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::File(folder.path().join("image"));
    let of = content([bytes(1, 50_000), vec![0; 100_000], bytes(2, 50_000)].concat());
    let first = Fetch::begin(target.clone(), &[entry("image", &of)]);
    write(&*first.partial(&of), &of.0, [0, 1, 2]);
    first.output.keep();
    drop(first);
    let left = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path().join("new/image");
    let mut damaged = fs::read(&left).unwrap();
    damaged[10] ^= 1;
    // A byte in the place of zeros.
    damaged[100_000] = 7;
    fs::write(&left, damaged).unwrap();
    let again = Fetch::begin(target, &[entry("image", &of)]);
    again.fetch(&of);
    again.output.commit().unwrap();
    assert!(fs::read(folder.path().join("image")).unwrap() == of.0);
}

#[test]
fn zeros_stay_holes() {
    let folder = tempfile::tempdir().unwrap();
    let of = content([bytes(1, 50_000), vec![0; 8 << 20]].concat());
    let fetch = Fetch::begin(Target::File(folder.path().join("image")), &[entry("image", &of)]);
    fetch.fetch(&of);
    fetch.output.commit().unwrap();
    let path = folder.path().join("image");
    assert!(fs::read(&path).unwrap() == of.0);
    assert!(fs::metadata(path).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn an_empty_artifact_is_an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let of = content(Vec::new());
    let fetch = Fetch::begin(Target::Folder(folder.path().join("out")), &[entry("empty", &of)]);
    fetch.fetch(&of);
    fetch.output.commit().unwrap();
    assert_eq!(files(&folder.path().join("out"))["empty"], b"");
}

#[test]
fn what_an_earlier_release_left_in_a_staging_folder_does_not_stay_in_the_files_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Folder(folder.path().join("out"));
    // Both files have other bytes in the first release than in the second, in which they are equal and have zeros.
    let (old, other) = (content(bytes(1, 90_000)), content(bytes(2, 90_000)));
    let first = Fetch::begin(target.clone(), &[entry("a", &old), entry("b", &other)]);
    write(&*first.partial(&old), &old.0, 0..old.2.len());
    write(&*first.partial(&other), &other.0, 0..other.2.len());
    first.output.keep();
    drop(first);
    let new = content([bytes(3, 20_000), vec![0; 50_000], bytes(4, 15_000)].concat());
    let second = Fetch::begin(target, &[entry("a", &new), entry("b", &new)]);
    second.fetch(&new);
    second.output.commit().unwrap();
    let found = files(&folder.path().join("out"));
    assert!(found["a"] == new.0 && found["b"] == new.0);
}

#[test]
fn a_hand_over_does_not_touch_the_progress_of_another_target() {
    let folder = tempfile::tempdir().unwrap();
    let of = content(bytes(1, 90_000));
    let first = Fetch::begin(Target::File(folder.path().join("one")), &[entry("image", &of)]);
    write(&*first.partial(&of), &of.0, [0, 1]);
    first.output.keep();
    drop(first);
    let other = Fetch::begin(Target::File(folder.path().join("two")), &[entry("image", &of)]);
    assert_eq!(other.partial(&of).have().count(), 0);
    other.fetch(&of);
    other.output.commit().unwrap();
    let again = Fetch::begin(Target::File(folder.path().join("one")), &[entry("image", &of)]);
    assert_eq!(again.partial(&of).have().count(), 2);
}

#[test]
fn an_output_that_does_not_fit_is_refused_before_the_first_chunk_with_both_figures() {
    let of = content([bytes(1, 50_000), vec![0; 1 << 20]].concat());
    let backend = FaultBackend::new();
    let output = |name: &str| {
        let target = Target::Folder(PathBuf::from("/out").join(name));
        let entries = [entry("one", &of), entry("two", &of)];
        Arc::new(Output::with_backend(&target, &entries, true, Arc::new(backend.clone())).unwrap())
    };
    let fits = |output: Arc<Output>| {
        let store = InPlaceStore::new();
        store.set_output(output);
        store.check_space(&store.needed_to_fetch(&of.1, &of.2))
    };
    // Two files with the same content need space for both. Zeros need none.
    backend.set_available(90_000);
    let error = fits(output("small")).unwrap_err();
    assert!(
        matches!(&error, StoreError::DoesNotFit { .. }) && error.to_string().contains("needs 104.0 KiB"),
        "{error}"
    );
    backend.set_available(120_000);
    fits(output("large")).unwrap();
}
