//! Reads what is in a store: its releases, the files of its artifacts, its blocks and its pins. Nothing is hashed except
//! blocks.
//!
//! The memory is bounded by the number of files in the store, and by four bytes for each artifact of each release.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::pins;
use super::release::StoredRelease;
use crate::cid::Cid;
use crate::codec::V1;
use crate::envelope::{Envelope, Payload};
use crate::index::IndexDecoder;
use crate::manifest::Manifest;
use crate::name::Name;
use crate::store::backend::{Backend, FileStat, OpenMode};
use crate::store::damage::Damage;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::seal::Seal;
use crate::store::{blocks, refs};

/// The bytes with which every encoded envelope begins: a map of two entries, and the key `payload`. No index block
/// begins so, because its first key is `v`.
const ENVELOPE_PREFIX: &[u8; 9] = b"\xa2\x67payload";

/// The files that the store has for one artifact.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArtifactFiles {
    /// The file with the content.
    pub(crate) file: Option<FileStat>,
    /// The seal.
    pub(crate) seal: Option<FileStat>,
    /// Whether the seal names a file outside the store, and there is no file inside it.
    pub(crate) is_reference: bool,
    /// The partial artifact.
    pub(crate) part: Option<FileStat>,
    /// The bitmap of the partial artifact.
    pub(crate) have: Option<FileStat>,
}

impl ArtifactFiles {
    /// Returns whether the store has some of the content, or can find it outside.
    pub(crate) fn has_content(&self) -> bool {
        self.file.is_some() || self.part.is_some() || self.is_reference
    }

    /// Returns the disk space of all files, in bytes.
    pub(crate) fn allocated(&self) -> u64 {
        [self.file, self.seal, self.part, self.have].iter().flatten().map(|stat| stat.allocated).sum()
    }
}

/// What is in a store.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The releases, sorted by name. The newest version of a name is first.
    pub(crate) releases: Vec<ScannedRelease>,
    /// The artifacts that releases need. A release refers to them by position, which saves memory.
    pub(crate) artifacts: Vec<Cid>,
    /// The files of each artifact.
    pub(crate) files: BTreeMap<Cid, ArtifactFiles>,
    /// The blocks.
    pub(crate) blocks: BTreeMap<Cid, FileStat>,
    /// The blocks that are envelopes and no manifests, such as trust roots. They are kept.
    pub(crate) other_envelopes: BTreeSet<Cid>,
    /// The leaf blocks of the index of each artifact, or the unit error if its root block is damaged. It is filled by
    /// [`Scan::read_leaves`]. An artifact whose root block is missing has no entry.
    pub(crate) leaves: BTreeMap<Cid, Result<Vec<Cid>, ()>>,
    /// The pinned CIDs.
    pub(crate) pins: BTreeSet<Cid>,
    /// The manifest to which the ref of each name leads.
    pub(crate) refs: BTreeMap<Name, Cid>,
    /// The blocks, refs and folders that could not be read.
    pub(crate) problems: Vec<StoreError>,
}

/// A release, and the positions of its artifacts in [`Scan::artifacts`], each once.
#[derive(Debug)]
pub(crate) struct ScannedRelease {
    pub(crate) release: StoredRelease,
    pub(crate) artifacts: Vec<u32>,
    /// The sum of the sizes of the artifacts in the manifest, in bytes.
    pub(crate) size: u64,
}

/// A signed payload of any type. Its version says whether this program knows its type.
#[derive(Serialize, Deserialize)]
struct AnyPayload {
    v: u64,
}

impl Payload for AnyPayload {
    const TYPE: &'static str = "phase/any";
    type Invalid = Infallible;

    fn check(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Scan {
    /// Reads a store. Damaged and unreadable files are added to [`Scan::problems`].
    ///
    /// # Errors
    /// An error from the operating system, if a folder cannot be listed.
    pub(crate) fn read(backend: &dyn Backend, layout: &Layout) -> Result<Self, StoreError> {
        let mut scan = Self { pins: pins::list(backend, layout)?, ..Self::default() };
        for name in refs::names(backend, layout)? {
            match refs::read(backend, layout, &name).map(|pointer| pointer.map(|pointer| refs::accept(&name, &pointer)))
            {
                Ok(Some(Ok(target))) => drop(scan.refs.insert(name, target.manifest)),
                Ok(None) => {}
                Ok(Some(Err(error))) | Err(error) => scan.problems.push(error),
            }
        }
        scan.read_artifacts(backend, layout)?;
        scan.read_blocks(backend, layout)?;
        scan.releases.sort_by(|a, b| {
            let key = |scanned: &ScannedRelease| (scanned.release.version, scanned.release.manifest);
            a.release.name.cmp(&b.release.name).then_with(|| key(b).cmp(&key(a)))
        });
        Ok(scan)
    }

    fn read_artifacts(&mut self, backend: &dyn Backend, layout: &Layout) -> Result<(), StoreError> {
        let folder = layout.artifacts();
        for name in list(backend, &folder)? {
            let (cid, suffix) = name.split_once('.').unwrap_or((&name, ""));
            let Ok(cid) = cid.parse::<Cid>() else { continue };
            let Some(stat) = stat(backend, &folder.join(&name))? else { continue };
            let files = self.files.entry(cid).or_default();
            match suffix {
                "" => files.file = Some(stat),
                "seal" => files.seal = Some(stat),
                "part" => files.part = Some(stat),
                "have" => files.have = Some(stat),
                _ => {}
            }
        }
        for (cid, files) in &mut self.files {
            if files.file.is_none() && files.seal.is_some() {
                files.is_reference = Seal::read(backend, layout, cid)?.is_some_and(|seal| seal.path().is_some());
            }
        }
        Ok(())
    }

    fn read_blocks(&mut self, backend: &dyn Backend, layout: &Layout) -> Result<(), StoreError> {
        let mut positions = BTreeMap::new();
        for name in list(backend, &layout.blocks())? {
            let Ok(cid) = name.parse::<Cid>() else { continue };
            let Some(stat) = stat(backend, &layout.block(&cid))? else { continue };
            self.blocks.insert(cid, stat);
            match read_manifest(backend, layout, &cid) {
                Ok(Some(Block::Manifest(manifest))) => {
                    self.add_release(cid, &manifest, &mut positions);
                }
                Ok(Some(Block::OtherEnvelope)) => drop(self.other_envelopes.insert(cid)),
                Ok(None) => {}
                Err(error) => self.problems.push(error),
            }
        }
        Ok(())
    }

    fn add_release(&mut self, cid: Cid, manifest: &Manifest, positions: &mut BTreeMap<Cid, u32>) {
        let mut artifacts: Vec<u32> = Vec::with_capacity(manifest.artifacts.len());
        for entry in &manifest.artifacts {
            let position = *positions.entry(entry.cid).or_insert_with(|| {
                self.artifacts.push(entry.cid);
                u32::try_from(self.artifacts.len() - 1).expect("a store has fewer than 2^32 artifacts")
            });
            artifacts.push(position);
        }
        artifacts.sort_unstable();
        artifacts.dedup();
        let name = manifest.name();
        let release = StoredRelease {
            manifest: cid,
            is_current: self.refs.get(&name) == Some(&cid),
            is_pinned: self.pins.contains(&cid),
            name,
            version: manifest.version,
            label: manifest.release.clone(),
            issued_at: manifest.issued_at,
        };
        // The sum does not overflow, because that was checked when the manifest was decoded.
        let size = manifest.artifacts.iter().map(|entry| entry.size).sum();
        self.releases.push(ScannedRelease { release, artifacts, size });
    }

    /// Reads the root blocks of the indexes, to learn their leaf blocks. Does nothing if that was done before.
    ///
    /// # Errors
    /// An error from the operating system. A damaged block is not an error.
    pub(crate) fn read_leaves(&mut self, backend: &dyn Backend, layout: &Layout) -> Result<(), StoreError> {
        let artifacts = self.artifacts.iter().chain(self.files.keys()).chain(&self.pins);
        let envelopes: BTreeSet<_> =
            self.releases.iter().map(|scanned| scanned.release.manifest).chain(self.other_envelopes.clone()).collect();
        for cid in artifacts {
            if self.leaves.contains_key(cid) || envelopes.contains(cid) {
                continue;
            }
            match leaves(backend, layout, cid) {
                Ok(None) => {}
                Ok(Some(found)) => drop(self.leaves.insert(*cid, Ok(found))),
                Err(StoreError::Damaged { .. } | StoreError::BadIndex { .. }) => {
                    self.leaves.insert(*cid, Err(()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the artifacts of a release, each once.
    pub(crate) fn artifacts_of<'a>(&'a self, release: &'a ScannedRelease) -> impl Iterator<Item = &'a Cid> {
        release.artifacts.iter().map(|position| &self.artifacts[*position as usize])
    }

    /// Returns the disk space of everything in the store that belongs to blocks and artifacts, in bytes.
    pub(crate) fn allocated(&self) -> u64 {
        let files: u64 = self.files.values().map(ArtifactFiles::allocated).sum();
        files + self.blocks.values().map(|stat| stat.allocated).sum::<u64>()
    }
}

/// Returns whether the bytes of a block can be those of an envelope.
pub(crate) fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(ENVELOPE_PREFIX)
}

/// What a block is, if it is an envelope.
pub(crate) enum Block {
    Manifest(Box<Manifest>),
    OtherEnvelope,
}

/// Reads a block if it is an envelope. Returns `None` for an index block, of which only the first bytes are read, and
/// for a block that does not exist.
pub(crate) fn read_manifest(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<Block>, StoreError> {
    let path = layout.block(cid);
    let file = match backend.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(not_a_file(backend, &path, error)),
    };
    let mut start = [0; ENVELOPE_PREFIX.len()];
    match file.read_exact_at(&mut start, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        other => other.map_err(|e| StoreError::read("read", &path, e))?,
    }
    drop(file);
    if start != *ENVELOPE_PREFIX {
        return Ok(None);
    }
    let Some(bytes) = blocks::read(backend, layout, cid)? else { return Ok(None) };
    let Ok(envelope) = Envelope::decode(&bytes) else { return Ok(Some(Block::OtherEnvelope)) };
    if let Ok(manifest) = envelope.payload_unverified::<Manifest>() {
        return Ok(Some(Block::Manifest(Box::new(manifest))));
    }
    match envelope.payload_unverified::<AnyPayload>() {
        // It may be a manifest that needs artifacts of this store.
        Ok(AnyPayload { v }) if v != u64::from(V1) => Err(StoreError::damaged(&path, Damage::LaterPayload { v })),
        _ => Ok(Some(Block::OtherEnvelope)),
    }
}

/// Returns the leaf blocks of an artifact's index, or `None` if its root block is missing.
///
/// # Errors
/// [`StoreError::Damaged`] or [`StoreError::BadIndex`] if the root block is damaged, or an error from the operating
/// system.
pub(crate) fn leaves(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<Vec<Cid>>, StoreError> {
    let Some(bytes) = blocks::read(backend, layout, cid)? else { return Ok(None) };
    let mut decoder = IndexDecoder::new(*cid, u64::MAX);
    decoder.handle_block(cid, &bytes).map_err(|source| StoreError::BadIndex { cid: *cid, source })?;
    Ok(Some(decoder.wanted()))
}

/// Returns the state of a file, or `None` if it does not exist.
pub(crate) fn stat(backend: &dyn Backend, path: &Path) -> Result<Option<FileStat>, StoreError> {
    match backend.stat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::read("read", path, error)),
    }
}

/// Returns the names in a folder. A folder that does not exist is empty.
pub(crate) fn list(backend: &dyn Backend, folder: &Path) -> Result<Vec<String>, StoreError> {
    match backend.read_dir(folder) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::read("list", folder, error)),
    }
}

/// Makes the error for a file that cannot be opened: it is damaged if it is not a regular file.
pub(crate) fn not_a_file(backend: &dyn Backend, path: &Path, error: io::Error) -> StoreError {
    match backend.stat(path) {
        Ok(stat) if !stat.is_file() => StoreError::damaged(path, Damage::NotAFile),
        _ => StoreError::read("open", path, error),
    }
}
