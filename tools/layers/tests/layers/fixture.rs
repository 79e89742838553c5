//! Writes small workspaces to temporary folders.

use std::path::Path;

use phase_layers::Workspace;
use tempfile::TempDir;

/// Writes files, each given as path and text, into a new temporary folder.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// A package of the workspace that a test makes.
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    /// The lines of the package's `Cargo.toml` after the section `[package]`.
    pub(crate) manifest: &'a str,
}

/// Makes a workspace with these packages, each an empty library.
pub(crate) fn workspace(members: &[Member<'_>]) -> Workspace {
    let names: Vec<&str> = members.iter().map(|member| member.name).collect();
    let folder = folder(&[("Cargo.toml", &format!("[workspace]\nresolver = \"3\"\nmembers = {names:?}\n"))]);
    for Member { name, manifest } in members {
        write_package(&folder.path().join(name), name, manifest);
    }
    Workspace::load(folder.path()).unwrap()
}

fn write_package(folder: &Path, name: &str, manifest: &str) {
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(folder.join("src/lib.rs"), "").unwrap();
    let manifest = format!("[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n\n{manifest}");
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}
