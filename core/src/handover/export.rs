//! Export: hands over artifacts that a store has.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::HandoverError;
use super::output::{Kind, Output, Planned, Target};
use super::verify::{self, Chunk};
use crate::cid::Cid;
use crate::index::{ArtifactIndex, ByteRange, ChunkIndex, ChunkRange};
use crate::manifest::ArtifactEntry;
use crate::store::backend::BackendFile;
use crate::store::{Artifact, Damage, Store, StoreError};

/// The maximum length of one read from the store, in bytes. A chunk may be longer.
const READ_LEN: u64 = 1 << 20;

/// Exports the artifacts of `entries` from a store to a target. Every byte is hashed on its way out, and all files become
/// visible at the end, or none.
///
/// # Errors
/// [`HandoverError`] if the target cannot take the artifacts, or if an artifact of the store is missing or damaged.
pub fn export(store: &dyn Store, entries: &[ArtifactEntry], target: &Target, mode: Mode) -> Result<(), HandoverError> {
    let output = Output::prepare(target, entries, false)?;
    output.export(store, mode)?;
    output.commit()
}

impl Output {
    /// Exports the artifacts from a store into the output. Every byte is hashed on its way out.
    ///
    /// # Errors
    /// [`HandoverError::Damaged`] if an artifact of the store is damaged. It can be
    /// [set aside](Store::set_aside), fetched again, and exported again into the same output. Otherwise another
    /// [`HandoverError`].
    pub fn export(&self, store: &dyn Store, mode: Mode) -> Result<(), HandoverError> {
        self.artifacts.iter().try_for_each(|(cid, planned)| export_one(self, store, cid, planned, mode))
    }
}

/// How files get the content of artifacts that are in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each file is a copy of its own. If the file system supports reflinks, the copy shares its data with the store
    /// until one of them is changed.
    #[default]
    Copy,
    /// Each file is a second name (hard link) of the file in the store. It is read-only, and must stay so: who writes to
    /// it damages the store.
    Link,
}

/// Exports one artifact under all its names.
fn export_one(
    output: &Output,
    store: &dyn Store,
    cid: &Cid,
    planned: &Planned,
    mode: Mode,
) -> Result<(), HandoverError> {
    let filename = || planned.names[0].to_string();
    let of_store = |error| classify(error, cid, filename());
    let artifact = store.artifact(cid).map_err(of_store)?;
    let artifact = artifact.ok_or_else(|| HandoverError::Missing { filename: filename() })?;
    let from = Source { artifact, filename: filename() };
    match &output.kind {
        Kind::Files(files) if mode == Mode::Link => {
            from.check_all()?;
            let no_link = |reason| HandoverError::NoLink { path: files.target().to_owned(), reason };
            let original = from.artifact.path().ok_or_else(|| no_link("the store keeps it in RAM".to_owned()))?;
            if !store.folder().is_some_and(|folder| original.starts_with(folder)) {
                return Err(no_link(format!("it was published with --reference, as {}", original.display())));
            }
            let link = |name| files.link(name, &original).map_err(|error| no_link(error.to_string()));
            planned.names.iter().try_for_each(link)
        }
        Kind::Files(files) => planned.names.iter().try_for_each(|name| {
            let file = files.open(name)?;
            from.copy_to(&*file, &files.path(name))
        }),
        Kind::Device(_) | Kind::Stream(_) if mode == Mode::Link => {
            let reason = "only files can be links".to_owned();
            Err(HandoverError::NoLink { path: output.path().to_owned(), reason })
        }
        Kind::Device(device) => {
            device.set_index(from.artifact.index().clone());
            let write = |chunks: &[Chunk<'_>]| device.write(chunks);
            from.read_all(write)
        }
        Kind::Stream(stream) => from.read_all(|chunks| chunks.iter().try_for_each(|chunk| stream.write(chunk.bytes))),
    }
}

/// An artifact of the store that is being exported.
struct Source {
    artifact: Arc<dyn Artifact>,
    filename: String,
}

impl Source {
    fn index(&self) -> &ArtifactIndex {
        self.artifact.index()
    }

    /// Makes the error for a chunk that does not match the index.
    fn wrong(&self, chunk: ChunkIndex) -> HandoverError {
        let path = self.artifact.path().unwrap_or_else(|| "(memory)".into());
        let source = Box::new(StoreError::damaged(&path, Damage::Chunk(chunk)));
        HandoverError::Damaged { filename: self.filename.clone(), cid: self.artifact.cid(), source }
    }

    fn check_all(&self) -> Result<(), HandoverError> {
        self.read_all(|_| Ok(()))
    }

    /// Writes the artifact into a file, and syncs the file.
    fn copy_to(&self, file: &dyn BackendFile, path: &Path) -> Result<(), HandoverError> {
        if self.clone_to(file) {
            let wrong = verify::first_wrong(file, self.index()).map_err(HandoverError::io("read", path))?;
            if let Some(chunk) = wrong {
                return Err(self.wrong(chunk));
            }
        } else {
            // An earlier attempt may have left other bytes in the file.
            file.reset(self.index().size()).map_err(HandoverError::io("write", path))?;
            self.read_all(|chunks| {
                let write = |chunk: &Chunk<'_>| file.write_sparse_at(chunk.bytes, chunk.offset);
                chunks.iter().try_for_each(write).map_err(HandoverError::io("write", path))
            })?;
        }
        file.sync().map_err(HandoverError::io("sync", path))
    }

    /// Makes a reflink of the store's file. Returns false if that is not possible.
    fn clone_to(&self, file: &dyn BackendFile) -> bool {
        let (Some(path), Some(_)) = (self.artifact.path(), file.os_file()) else { return false };
        let Ok(original) = File::open(path) else { return false };
        // A program may have added bytes to a file that was imported by reference.
        let has_size = || file.stat().is_ok_and(|stat| stat.len == self.index().size());
        file.clone_from_file(&original).is_ok() && has_size()
    }

    /// Reads the artifact from its first to its last chunk, and passes all chunks to `sink` after they were verified.
    fn read_all(&self, mut sink: impl FnMut(&[Chunk<'_>]) -> Result<(), HandoverError>) -> Result<(), HandoverError> {
        let index = self.index();
        let mut buf = Vec::new();
        let mut first = 0;
        while first < index.len() {
            let start = index.byte_range(range(first, first + 1)).expect("the chunk is in the index").start;
            let mut end = first + 1;
            while end < index.len() && bytes_of(index, first, end + 1).len() <= READ_LEN {
                end += 1;
            }
            let bytes = bytes_of(index, first, end);
            buf.resize(usize::try_from(bytes.len()).unwrap_or(usize::MAX), 0);
            let read = self.artifact.read_at(bytes.start, &mut buf);
            read.map_err(|error| classify(error, &self.artifact.cid(), self.filename.clone()))?;
            let mut chunks = Vec::new();
            for position in (first..end).map(ChunkIndex) {
                let chunk = index.chunk(position).expect("the chunk is in the index");
                let from = (chunk.offset - start) as usize;
                let bytes = &buf[from..from + chunk.len as usize];
                index.verify_chunk(position, bytes).map_err(|_| self.wrong(position))?;
                chunks.push(Chunk { offset: chunk.offset, bytes });
            }
            sink(&chunks)?;
            first = end;
        }
        Ok(())
    }
}

/// Converts an error from reading an artifact. A link or a folder in the place of a file is damage, too. An I/O error of
/// the disk is none: the bytes may be right, and the store cannot tell.
fn classify(error: StoreError, cid: &Cid, filename: String) -> HandoverError {
    let is_damage = match &error {
        StoreError::Damaged { .. } | StoreError::Link { .. } => true,
        StoreError::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory)
        }
        _ => false,
    };
    match is_damage {
        true => HandoverError::Damaged { filename, cid: *cid, source: Box::new(error) },
        false => HandoverError::Store(error),
    }
}

fn range(start: u32, end: u32) -> ChunkRange {
    ChunkRange::new(start, end).expect("the range is not empty")
}

fn bytes_of(index: &ArtifactIndex, start: u32, end: u32) -> ByteRange {
    index.byte_range(range(start, end)).expect("the chunks are in the index")
}
