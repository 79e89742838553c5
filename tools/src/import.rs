//! Many files into a store at once: for a small file nearly all the time is spent waiting until the disk has it, and
//! disks wait for many as fast as for one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use phase_cli::printable;
use phase_core::store::{Artifact, Store, StoreError};
use phase_core::{FileName, ImportOptions, Role};

use crate::output::Output;
use crate::progress::Progress;

/// Files imported at a time.
const WORKERS: usize = 16;
/// From this size on, in bytes, a file is imported alone: it keeps two processor cores busy.
const LARGE: u64 = 4 << 20;

/// A file that will be an artifact.
pub(crate) struct Source {
    pub(crate) role: Role,
    pub(crate) filename: FileName,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
}

/// Imports all `sources`; the artifacts are in the same order.
pub(crate) fn import(
    store: &dyn Store,
    sources: &[Source],
    options: &ImportOptions,
    output: &Output,
) -> Result<Vec<Arc<dyn Artifact>>, StoreError> {
    let work = Work {
        store,
        sources,
        options,
        next: AtomicUsize::new(0),
        large: Mutex::new(()),
        total: sources.iter().map(|source| source.len).sum(),
        done: AtomicU64::new(0),
        progress: Mutex::new(Progress::new(output.shows_progress())),
    };
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(sources.len())).map(|_| scope.spawn(|| work.run())).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    });
    lock(&work.progress).end();
    let mut imported: Vec<_> = results?.into_iter().flatten().collect();
    imported.sort_by_key(|(position, _)| *position);
    Ok(imported.into_iter().map(|(_, artifact)| artifact).collect())
}

/// An artifact, and the position of its file.
type Imported = (usize, Arc<dyn Artifact>);

struct Work<'a> {
    store: &'a dyn Store,
    sources: &'a [Source],
    options: &'a ImportOptions,
    /// The position of the next file; past the end when there is none or something failed.
    next: AtomicUsize,
    /// Held while a large file is imported.
    large: Mutex<()>,
    total: u64,
    done: AtomicU64,
    progress: Mutex<Progress>,
}

impl Work<'_> {
    /// Imports one file after the other until none is left.
    fn run(&self) -> Result<Vec<Imported>, StoreError> {
        let mut imported = Vec::new();
        loop {
            let position = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(source) = self.sources.get(position) else { return Ok(imported) };
            let _alone = (source.len >= LARGE).then(|| lock(&self.large));
            let artifact =
                self.import(source).inspect_err(|_| self.next.store(self.sources.len(), Ordering::Relaxed))?;
            imported.push((position, artifact));
        }
    }

    fn import(&self, source: &Source) -> Result<Arc<dyn Artifact>, StoreError> {
        let note = printable(source.filename.as_str());
        let mut counted = 0;
        self.store.import(&source.path, self.options, &mut |read| {
            let done = self.done.fetch_add(read - counted, Ordering::Relaxed) + read - counted;
            counted = read;
            lock(&self.progress).update(done, self.total, &note);
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds a lock of an import")
}

#[cfg(test)]
mod tests {
    use phase_core::{HashAlgorithm, MemStore};

    use super::*;

    fn source(path: PathBuf, len: u64) -> Source {
        let filename = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        Source { role: "file".parse().unwrap(), filename, path, len }
    }

    fn quiet() -> Output {
        Output::new(&crate::options::Global { json: false, quiet: true, verbose: 0 })
    }

    #[test]
    fn artifacts_come_in_the_order_of_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let sources: Vec<_> = (0..100_usize)
            .map(|position| {
                let path = folder.path().join(position.to_string());
                std::fs::write(&path, position.to_string().repeat(position)).unwrap();
                source(path, (position.to_string().len() * position) as u64)
            })
            .collect();
        let store = MemStore::new();
        let artifacts = import(&store, &sources, &ImportOptions::default(), &quiet()).unwrap();
        for (source, artifact) in sources.iter().zip(&artifacts) {
            let content = std::fs::read(&source.path).unwrap();
            assert_eq!(artifact.index().sha256(), HashAlgorithm::Sha2_256.digest(&content), "{}", source.filename);
        }
        assert_eq!(artifacts.len(), sources.len());
    }

    #[test]
    fn one_bad_file_fails_all() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good");
        std::fs::write(&good, "good").unwrap();
        let mut sources: Vec<_> = (0..50).map(|_| source(good.clone(), 4)).collect();
        sources[20].path = folder.path().join("missing");
        let failed = import(&MemStore::new(), &sources, &ImportOptions::default(), &quiet());
        assert!(matches!(failed, Err(StoreError::Source { .. })));
    }
}
