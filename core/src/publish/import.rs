//! Imports many files into a store in parallel. The import of a small file mostly waits for fsync, and disks sync many
//! files in about the same time as one file.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::file::ReleaseFile;
use crate::import::ImportOptions;
use crate::manifest::{ArtifactEntry, FileName};
use crate::store::{Store, StoreError, descriptor_limit};

/// The maximum number of files that are imported in parallel.
const WORKERS: u64 = 16;
/// The number of open files that one import needs at most: the original, the copy, a lock, a block and a folder that is
/// synced, and a few that the system libraries may open.
const DESCRIPTORS_PER_WORKER: u64 = 8;
/// The number of open files that the rest of the program needs at most.
const DESCRIPTORS_OF_THE_REST: u64 = 24;
/// The minimum size of a large file, in bytes. Large files are imported one at a time, because each such import keeps
/// two processor cores busy.
const LARGE: u64 = 4 << 20;

/// The progress of importing the files of a release.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The number of bytes read so far from all files together. It never decreases.
    pub done: u64,
    /// The sum of the sizes of all files in bytes, as [`ReleaseFile::len`] returns them, or `None` if the size of a file
    /// is known only at its end.
    pub total: Option<u64>,
    /// The name of the file from which bytes were read last.
    pub file: &'a FileName,
}

/// Imports all `files` and returns the entries of their artifacts in the same order. The artifacts do not stay open.
/// `progress` is called by one thread at a time.
///
/// # Errors
/// [`StoreError::DoesNotFit`] if there is no space for all files, before any of them is read. An error from importing
/// one of the files. Artifacts that were complete before the error stay in the store.
pub(super) fn import(
    store: &dyn Store,
    files: &[ReleaseFile],
    options: &ImportOptions,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Vec<ArtifactEntry>, StoreError> {
    let sources: Vec<_> = files.iter().map(ReleaseFile::source).collect();
    store.check_import(&sources, options)?;
    let work = Work {
        store,
        files,
        options,
        next: AtomicUsize::new(0),
        large: Mutex::new(()),
        total: files.iter().try_fold(0u64, |total, file| Some(total.saturating_add(file.len()?))),
        done: AtomicU64::new(0),
        progress: Mutex::new(progress),
    };
    let results = thread::scope(|scope| {
        let count = workers(descriptor_limit()).min(files.len());
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(|| work.run())).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    });
    let mut imported: Vec<_> = results?.into_iter().flatten().collect();
    imported.sort_by_key(|(position, _)| *position);
    Ok(imported.into_iter().map(|(_, entry)| entry).collect())
}

/// Returns the number of imports that can run at the same time if the process may have `descriptors` files open.
fn workers(descriptors: u64) -> usize {
    let workers = descriptors.saturating_sub(DESCRIPTORS_OF_THE_REST) / DESCRIPTORS_PER_WORKER;
    workers.clamp(1, WORKERS) as usize
}

/// The position of a file in the list of files to import, and the entry of the artifact that was imported from it.
type Imported = (usize, ArtifactEntry);

struct Work<'a> {
    store: &'a dyn Store,
    files: &'a [ReleaseFile],
    options: &'a ImportOptions,
    /// The position of the next file to import. It is past the end if no file is left or an import has failed.
    next: AtomicUsize,
    /// The mutex that is locked while a large file is imported.
    large: Mutex<()>,
    total: Option<u64>,
    done: AtomicU64,
    progress: Mutex<&'a mut (dyn FnMut(Progress<'_>) + Send)>,
}

impl Work<'_> {
    /// Imports one file after the other until none is left.
    fn run(&self) -> Result<Vec<Imported>, StoreError> {
        let mut imported = Vec::new();
        loop {
            let position = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = self.files.get(position) else { return Ok(imported) };
            // Pipes are read at the same time, because the program that writes to them may wait for all of its readers.
            let _alone = file.len().is_some_and(|len| len >= LARGE).then(|| lock(&self.large));
            let entry = self.import(file).inspect_err(|_| self.next.store(self.files.len(), Ordering::Relaxed))?;
            imported.push((position, entry));
        }
    }

    fn import(&self, file: &ReleaseFile) -> Result<ArtifactEntry, StoreError> {
        let mut counted = 0;
        let artifact = self.store.import(file.path(), self.options, &mut |read| {
            // `done` is increased and reported under one lock, so that the reported number of bytes never decreases.
            let mut progress = lock(&self.progress);
            let done = self.done.fetch_add(read - counted, Ordering::Relaxed) + read - counted;
            counted = read;
            progress(Progress { done, total: self.total, file: file.filename() });
        })?;
        Ok(ArtifactEntry::new(file.role().clone(), file.filename().clone(), artifact.cid(), artifact.index()))
    }
}

/// Locks the mutex. A poisoned mutex is accepted, because the whole import ends with the panic that poisoned it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cid::HashAlgorithm;
    use crate::store::MemStore;

    fn file(path: PathBuf) -> ReleaseFile {
        let filename = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        ReleaseFile::new("file".parse().unwrap(), filename, path).unwrap()
    }

    fn run(
        files: &[ReleaseFile],
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Vec<ArtifactEntry>, StoreError> {
        import(&MemStore::new(), files, &ImportOptions::default(), progress)
    }

    #[test]
    fn artifacts_are_in_the_order_of_files_and_progress_reaches_the_total() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..100_usize)
            .map(|position| {
                let path = folder.path().join(position.to_string());
                std::fs::write(&path, position.to_string().repeat(position)).unwrap();
                file(path)
            })
            .collect();
        let total: u64 = files.iter().map(|file| file.len().unwrap()).sum();
        let mut last = 0;
        let entries = run(&files, &mut |now| {
            assert!(now.done > last && now.total == Some(total), "{now:?} after {last}");
            last = now.done;
        });
        for (file, entry) in files.iter().zip(&entries.unwrap()) {
            let content = std::fs::read(file.path()).unwrap();
            assert_eq!(entry.sha256, HashAlgorithm::Sha2_256.digest(&content), "{}", file.filename());
        }
        assert_eq!(last, total);
    }

    #[test]
    fn the_number_of_workers_is_bounded_by_the_limit_of_open_files() {
        for (descriptors, expected) in [(0, 1), (20, 1), (64, 5), (256, 16), (1024, 16), (u64::MAX, 16)] {
            assert_eq!(workers(descriptors), expected, "{descriptors}");
        }
    }

    #[test]
    fn one_unreadable_file_fails_the_whole_import() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
        std::fs::write(&good, "good").unwrap();
        std::fs::write(&bad, "bad").unwrap();
        let mut files: Vec<_> = (0..50).map(|_| file(good.clone())).collect();
        files[20] = file(bad.clone());
        std::fs::remove_file(bad).unwrap();
        assert!(matches!(run(&files, &mut |_| {}), Err(StoreError::Source { .. })));
    }
}
