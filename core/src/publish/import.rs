//! Imports many files into a store in parallel. The import of a small file mostly waits for fsync, and disks sync many
//! files in about the same time as one file.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::file::ReleaseFile;
use crate::import::ImportOptions;
use crate::manifest::FileName;
use crate::store::{Artifact, Store, StoreError};

/// The maximum number of files that are imported in parallel.
const WORKERS: usize = 16;
/// The minimum size of a large file, in bytes. Large files are imported one at a time, because each such import keeps
/// two processor cores busy.
const LARGE: u64 = 4 << 20;

/// The progress of importing the files of a release.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The number of bytes read so far from all files together. It never decreases.
    pub done: u64,
    /// The sum of the sizes of all files in bytes, as [`ReleaseFile::len`] returns them.
    pub total: u64,
    /// The name of the file from which bytes were read last.
    pub file: &'a FileName,
}

/// Imports all `files` and returns their artifacts in the same order. `progress` is called by one thread at a time.
///
/// # Errors
/// An error from importing one of the files. Artifacts that were complete before the error stay in the store.
pub(super) fn import(
    store: &dyn Store,
    files: &[ReleaseFile],
    options: &ImportOptions,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Vec<Arc<dyn Artifact>>, StoreError> {
    let work = Work {
        store,
        files,
        options,
        next: AtomicUsize::new(0),
        large: Mutex::new(()),
        total: files.iter().fold(0, |total, file| total.saturating_add(file.len())),
        done: AtomicU64::new(0),
        progress: Mutex::new(progress),
    };
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(files.len())).map(|_| scope.spawn(|| work.run())).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    });
    let mut imported: Vec<_> = results?.into_iter().flatten().collect();
    imported.sort_by_key(|(position, _)| *position);
    Ok(imported.into_iter().map(|(_, artifact)| artifact).collect())
}

/// The position of a file in the list of files to import, and the artifact that was imported from it.
type Imported = (usize, Arc<dyn Artifact>);

struct Work<'a> {
    store: &'a dyn Store,
    files: &'a [ReleaseFile],
    options: &'a ImportOptions,
    /// The position of the next file to import. It is past the end if no file is left or an import has failed.
    next: AtomicUsize,
    /// The mutex that is locked while a large file is imported.
    large: Mutex<()>,
    total: u64,
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
            let _alone = (file.len() >= LARGE).then(|| lock(&self.large));
            let artifact = self.import(file).inspect_err(|_| self.next.store(self.files.len(), Ordering::Relaxed))?;
            imported.push((position, artifact));
        }
    }

    fn import(&self, file: &ReleaseFile) -> Result<Arc<dyn Artifact>, StoreError> {
        let mut counted = 0;
        self.store.import(file.path(), self.options, &mut |read| {
            // `done` is increased and reported under one lock, so that the reported number of bytes never decreases.
            let mut progress = lock(&self.progress);
            let done = self.done.fetch_add(read - counted, Ordering::Relaxed) + read - counted;
            counted = read;
            progress(Progress { done, total: self.total, file: file.filename() });
        })
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
    ) -> Result<Vec<Arc<dyn Artifact>>, StoreError> {
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
        let total: u64 = files.iter().map(ReleaseFile::len).sum();
        let mut last = 0;
        let artifacts = run(&files, &mut |now| {
            assert!(now.done > last && now.total == total, "{now:?} after {last}");
            last = now.done;
        });
        for (file, artifact) in files.iter().zip(&artifacts.unwrap()) {
            let content = std::fs::read(file.path()).unwrap();
            assert_eq!(artifact.index().sha256(), HashAlgorithm::Sha2_256.digest(&content), "{}", file.filename());
        }
        assert_eq!(last, total);
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
