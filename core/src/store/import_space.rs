//! The space that an import of many files needs in a store on disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::backend::Backend;
use super::error::StoreError;
use super::layout::Layout;
use super::space::{self, Need};
use super::temp::TempFile;
use crate::import::{ImportMode, ImportOptions};

/// A file that is to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportSource<'a> {
    /// The path of the file.
    pub path: &'a Path,
    /// The length of the file in bytes, or 0 if it is not known.
    pub len: u64,
    /// The number of bytes that are not in holes, at most.
    pub data: u64,
}

/// Checks that the store has space for the artifacts of all `sources` together.
///
/// The sum is the upper limit: files whose content the store already has need no space in the end, and reflinks need
/// none either. They are looked for only if the sum does not fit.
pub(crate) fn check(
    backend: &dyn Backend,
    layout: &Layout,
    sources: &[ImportSource<'_>],
    options: &ImportOptions,
) -> Result<(), StoreError> {
    let tmp = layout.tmp();
    let need = sum(sources, options);
    if space::check(backend, layout.root(), &need).is_ok() {
        return Ok(());
    }
    let stored = stored_sizes(backend, layout);
    let reflinks = options.mode == ImportMode::Copy && can_reflink(backend, &tmp, sources);
    let (known, new): (Vec<_>, Vec<_>) = sources.iter().partition(|source| stored.contains(&source.len));
    let mut need = sum(new, options);
    // A file that the store has already is copied before its CID is known.
    let copied = known.iter().map(|source| source.data).max().unwrap_or(0);
    need.add_file(copied, copied);
    if reflinks {
        let index_only = options.with_mode(ImportMode::Reference);
        need = Need { longest: need.longest, ..sum(sources, &index_only) };
    }
    space::check(backend, layout.root(), &need)
}

/// Adds up what the artifacts of `sources` need. A file that is named twice counts once.
pub(crate) fn sum<'a>(sources: impl IntoIterator<Item = &'a ImportSource<'a>>, options: &ImportOptions) -> Need {
    let mut need = Need::default();
    let mut seen = BTreeSet::new();
    for ImportSource { path, len, data } in sources {
        if !seen.insert(path) {
            continue;
        }
        match options.mode {
            ImportMode::Copy => need.add_artifact(*len, *data, &options.chunker),
            ImportMode::Reference => need.add_seal_and_index(*len, *data, &options.chunker),
        }
    }
    need
}

/// Returns the sizes of the complete artifacts in the store. A new file with another size is not among them.
fn stored_sizes(backend: &dyn Backend, layout: &Layout) -> BTreeSet<u64> {
    let folder = layout.artifacts();
    let names = backend.read_dir(&folder).unwrap_or_default();
    let complete = names.iter().filter(|name| !name.contains('.'));
    complete.filter_map(|name| Some(backend.stat(&folder.join(name)).ok()?.len)).collect()
}

/// Returns whether the largest of the sources can be reflinked into the store. The others are likely on the same file
/// system.
fn can_reflink(backend: &dyn Backend, tmp: &Path, sources: &[ImportSource<'_>]) -> bool {
    let Some(largest) = sources.iter().max_by_key(|source| source.data) else { return false };
    if !std::fs::metadata(largest.path).is_ok_and(|meta| meta.is_file()) {
        return false;
    }
    let (Ok(file), Ok(temp)) = (File::open(largest.path), TempFile::create(backend, tmp, false)) else { return false };
    temp.file().clone_from_file(&file).is_ok()
}
