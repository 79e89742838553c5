//! What is handed over is what was published.

mod devices;
mod exports;
mod faults;
mod in_place;
mod poison;

use std::collections::BTreeMap;
use std::path::Path;

use phase_core::Artifact;
use phase_core::manifest::ArtifactEntry;
use phase_core::store::backend::{Backend, FileKind, OpenMode};

use crate::fault_backend::FaultBackend;

/// Returns the manifest entry of an artifact.
fn entry(name: &str, artifact: &dyn Artifact) -> ArtifactEntry {
    let role = "file".parse().unwrap();
    ArtifactEntry::new(role, name.parse().unwrap(), artifact.cid(), artifact.index())
}

/// Returns the content of all files below a folder by their relative paths. Fails if there is anything else.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Returns the content of all files below a folder of a simulated disk.
pub(crate) fn files_in(backend: &FaultBackend, folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for name in backend.entries(&path).unwrap_or_default() {
            let path = path.join(name);
            if backend.stat(&path).unwrap().kind == FileKind::Folder {
                open.push(path);
            } else {
                let file = backend.open(&path, OpenMode::Read).unwrap();
                let mut content = vec![0; file.stat().unwrap().len as usize];
                file.read_exact_at(&mut content, 0).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), content);
            }
        }
    }
    found
}
