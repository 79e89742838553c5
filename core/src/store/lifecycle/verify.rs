//! Verifies a whole store: hashes every file against what its name says, whatever its seal says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::release::StoredRelease;
use super::scan::{self, Scan};
use super::set_aside::open_reference;
use crate::chunkset::ChunkSet;
use crate::cid::Cid;
use crate::name::Name;
use crate::store::backend::{Backend, OpenMode};
use crate::store::damage::Damage;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::seal::Seal;
use crate::store::{artifact, blocks, partial, refs};

/// The number of threads that hash. Two keep a disk busy, and leave the other processor cores to a running provider.
const THREADS: usize = 2;

/// A file of a store that is damaged, missing or unreadable.
#[derive(Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The path of the file.
    pub path: PathBuf,
    /// What is wrong.
    pub kind: ProblemKind,
    /// The error. It names the file.
    pub error: StoreError,
    /// The artifact to which the file belongs, if it belongs to one.
    pub artifact: Option<Cid>,
    /// The name whose ref the file is, if it is a ref.
    pub name: Option<Name>,
    /// The releases that need the file.
    pub releases: Vec<StoredRelease>,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Its content is not what its name says.
    Damaged,
    /// It does not exist, although a current or pinned release needs it.
    Missing,
    /// It cannot be read, for instance because of an I/O error or too many open files. It may be undamaged.
    Unreadable,
}

/// The progress of [`FileStore::verify`](crate::store::FileStore::verify).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The number of bytes hashed so far.
    pub done: u64,
    /// The number of bytes to hash.
    pub total: u64,
}

/// One file to verify.
enum Item {
    Block(Cid),
    Artifact(Cid),
    Part(Cid),
    Seal(Cid),
    Ref(Name),
}

/// Verifies a store.
pub(crate) fn verify(
    backend: &dyn Backend,
    layout: &Layout,
    progress: &mut (dyn FnMut(VerifyProgress) + Send),
) -> Result<Vec<Problem>, StoreError> {
    let scan = Scan::read(backend, layout)?;
    let (items, total) = items(backend, layout, &scan)?;
    let work = Work {
        backend,
        layout,
        items,
        next: AtomicUsize::new(0),
        progress: Mutex::new((VerifyProgress { done: 0, total }, progress)),
        found: Mutex::default(),
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| work.run());
        }
    });
    let mut found = work.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.extend(missing(layout, &scan));
    Ok(report(&scan, found))
}

/// Returns everything to verify, and the number of bytes to hash.
fn items(backend: &dyn Backend, layout: &Layout, scan: &Scan) -> Result<(Vec<Item>, u64), StoreError> {
    let mut items: Vec<_> = refs::names(backend, layout)?.into_iter().map(Item::Ref).collect();
    let mut total = 0_u64;
    for (cid, stat) in &scan.blocks {
        items.push(Item::Block(*cid));
        total = total.saturating_add(stat.len);
    }
    // An artifact without any content may have a damaged index.
    let needed: BTreeSet<&Cid> = scan.artifacts.iter().filter(|cid| scan.blocks.contains_key(cid)).collect();
    for cid in needed.into_iter().chain(scan.files.keys()).collect::<BTreeSet<_>>() {
        let files = scan.files.get(cid).cloned().unwrap_or_default();
        if files.seal.is_some() {
            items.push(Item::Seal(*cid));
        }
        items.push(Item::Artifact(*cid));
        total = total.saturating_add(files.file.map_or(0, |stat| stat.len));
        if let Some(part) = files.part {
            items.push(Item::Part(*cid));
            total = total.saturating_add(part.allocated);
        }
    }
    Ok((items, total))
}

/// An error, with the artifact to which the file belongs.
struct Found {
    path: PathBuf,
    error: StoreError,
    artifact: Option<Cid>,
    name: Option<Name>,
}

type Progress<'a> = (VerifyProgress, &'a mut (dyn FnMut(VerifyProgress) + Send));

struct Work<'a> {
    backend: &'a dyn Backend,
    layout: &'a Layout,
    items: Vec<Item>,
    next: AtomicUsize,
    progress: Mutex<Progress<'a>>,
    found: Mutex<Vec<Found>>,
}

impl Work<'_> {
    /// Verifies one item after the other until none is left.
    fn run(&self) {
        while let Some(item) = self.items.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let (path, artifact, name) = match item {
                Item::Block(cid) => (self.layout.block(cid), None, None),
                Item::Artifact(cid) => (self.layout.artifact(cid), Some(*cid), None),
                Item::Part(cid) => (self.layout.part(cid), Some(*cid), None),
                Item::Seal(cid) => (self.layout.seal(cid), Some(*cid), None),
                Item::Ref(name) => (self.layout.ref_file(name), None, Some(name.clone())),
            };
            if let Err(error) = self.verify(item) {
                let error = self.explain(&path, error);
                // The error may be about another file than the item, for instance about an index block.
                let path = path_of(&error).map_or(path, Path::to_owned);
                lock(&self.found).push(Found { path, error, artifact, name });
            }
        }
    }

    fn verify(&self, item: &Item) -> Result<(), StoreError> {
        let Self { backend, layout, .. } = self;
        match item {
            Item::Block(cid) => {
                let block = blocks::read(*backend, layout, cid)?;
                self.advance(block.map_or(0, |bytes| bytes.len() as u64));
                Ok(())
            }
            Item::Artifact(cid) => self.verify_artifact(cid),
            Item::Part(cid) => self.verify_part(cid),
            Item::Seal(cid) => {
                let is_there = scan::stat(*backend, &layout.seal(cid))?.is_some();
                let is_seal = Seal::read(*backend, layout, cid)?.is_some();
                if is_there && !is_seal {
                    return Err(StoreError::damaged(&layout.seal(cid), Damage::Seal));
                }
                Ok(())
            }
            Item::Ref(name) => refs::read(*backend, layout, name).map(drop),
        }
    }

    fn verify_artifact(&self, cid: &Cid) -> Result<(), StoreError> {
        let Self { backend, layout, .. } = self;
        let path = layout.artifact(cid);
        let is_reference =
            || -> Result<_, StoreError> { Ok(Seal::read(*backend, layout, cid)?.and_then(|seal| seal.path())) };
        if scan::stat(*backend, &path)?.is_some_and(|stat| !stat.is_file()) {
            return Err(StoreError::damaged(&path, Damage::NotAFile));
        }
        let index = artifact::load_index(*backend, layout, cid)?;
        let mut progress = |len| self.advance(len);
        match backend.open(&path, OpenMode::Read) {
            Ok(file) => artifact::verify_with(&*file, &index, &path, &mut progress),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match is_reference()? {
                Some(path) => artifact::verify_with(&open_reference(&path)?, &index, &path, &mut |_| {}),
                None => Ok(()),
            },
            Err(error) => Err(StoreError::read("open", &path, error)),
        }
    }

    /// Verifies the chunks that the bitmap of a partial artifact lists.
    fn verify_part(&self, cid: &Cid) -> Result<(), StoreError> {
        let Self { backend, layout, .. } = self;
        let path = layout.part(cid);
        let file = match backend.open(&path, OpenMode::Read) {
            Ok(file) => file,
            // The fetch has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(scan::not_a_file(*backend, &path, error)),
        };
        let index = artifact::load_index(*backend, layout, cid)?;
        let empty = || ChunkSet::new(index.len());
        let claimed = partial::claimed(*backend, layout, cid, index.len())?.unwrap_or_else(empty);
        let verified = match partial::verified(&*file, &index, &claimed) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => empty(),
            other => other.map_err(|e| StoreError::read("read", &path, e))?,
        };
        self.advance(file.stat().map_err(|e| StoreError::read("read", &path, e))?.allocated);
        if verified == claimed { Ok(()) } else { Err(StoreError::damaged(&layout.have(cid), Damage::Bitmap)) }
    }

    /// Recognises a file that cannot be opened because it is not a regular file.
    fn explain(&self, path: &Path, error: StoreError) -> StoreError {
        match error {
            StoreError::Io { source, path: named, .. } if named == path => scan::not_a_file(self.backend, path, source),
            other => other,
        }
    }

    fn advance(&self, bytes: u64) {
        let mut progress = lock(&self.progress);
        let (now, report) = &mut *progress;
        now.done = now.done.saturating_add(bytes);
        report(*now);
    }
}

/// Returns an error for each ref without a manifest, for each artifact that a current or pinned release lacks, and for
/// each pin of content that is not there.
fn missing(layout: &Layout, scan: &Scan) -> Vec<Found> {
    let dangling = |path: PathBuf, cid: &Cid| {
        let error = StoreError::damaged(&path, Damage::Dangling(*cid));
        Found { path, error, artifact: None, name: None }
    };
    let refs = scan.refs.iter().filter(|(_, manifest)| !scan.blocks.contains_key(manifest));
    let mut found: Vec<_> = refs
        .map(|(name, manifest)| Found { name: Some(name.clone()), ..dangling(layout.ref_file(name), manifest) })
        .collect();
    let has_content = |cid: &Cid| scan.files.get(cid).is_some_and(|files| files.has_content());
    let is_there = |cid: &Cid| has_content(cid) || scan.blocks.contains_key(cid);
    found.extend(scan.pins.iter().filter(|cid| !is_there(cid)).map(|cid| dangling(layout.pin(cid), cid)));
    let has_all = |cid: &Cid| scan.files.get(cid).is_some_and(|files| files.file.is_some() || files.is_reference);
    let kept = scan.releases.iter().filter(|scanned| scanned.release.is_current || scanned.release.is_pinned);
    let lacking: BTreeSet<&Cid> = kept.flat_map(|scanned| scan.artifacts_of(scanned)).filter(|c| !has_all(c)).collect();
    found.extend(lacking.into_iter().map(|cid| {
        let path = layout.artifact(cid);
        let error = StoreError::damaged(&path, Damage::NotStored);
        Found { path, error, artifact: Some(*cid), name: None }
    }));
    found
}

/// Makes the list of problems: one for each file, with the releases that need it.
fn report(scan: &Scan, found: Vec<Found>) -> Vec<Problem> {
    let mut problems = BTreeMap::<PathBuf, Problem>::new();
    for Found { path, error, artifact, name } in found {
        // A block is found twice, by itself and with the artifact whose index needs it.
        if problems.get(&path).is_some_and(|known| known.artifact.is_some() || artifact.is_none()) {
            continue;
        }
        let by_file_name = path.file_name().and_then(|name| name.to_str()?.parse::<Cid>().ok());
        let artifact = artifact.or_else(|| by_file_name.filter(|cid| scan.artifacts.contains(cid)));
        let releases = releases(scan, artifact.or(by_file_name));
        let releases = if name.is_some() { Vec::new() } else { releases };
        let kind = kind_of(&error);
        problems.insert(path.clone(), Problem { path, kind, error, artifact, name, releases });
    }
    problems.into_values().collect()
}

/// Returns the releases that need an artifact, or whose manifest this is.
fn releases(scan: &Scan, cid: Option<Cid>) -> Vec<StoredRelease> {
    let Some(cid) = cid else { return Vec::new() };
    let position = scan.artifacts.iter().position(|other| *other == cid).and_then(|at| u32::try_from(at).ok());
    let needs = |scanned: &&scan::ScannedRelease| {
        scanned.release.manifest == cid
            || position.is_some_and(|position| scanned.artifacts.binary_search(&position).is_ok())
    };
    scan.releases.iter().filter(needs).map(|scanned| scanned.release.clone()).collect()
}

fn kind_of(error: &StoreError) -> ProblemKind {
    match error {
        StoreError::Damaged { damage, .. } => match **damage {
            Damage::NoIndexBlock | Damage::NotStored | Damage::Dangling(_) | Damage::ReferenceGone(_) => {
                ProblemKind::Missing
            }
            _ => ProblemKind::Damaged,
        },
        StoreError::BadIndex { .. } => ProblemKind::Damaged,
        _ => ProblemKind::Unreadable,
    }
}

fn path_of(error: &StoreError) -> Option<&Path> {
    match error {
        StoreError::Damaged { path, .. } | StoreError::Io { path, .. } => Some(path),
        _ => None,
    }
}

/// Locks the mutex. A poisoned mutex is accepted, because a panic cannot leave the list inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
