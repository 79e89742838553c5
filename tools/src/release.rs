//! From files to a manifest: what `phase manifest new` and `phase publish` have in common.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use phase_cli::{self as cli, Fault, FileError};
use phase_core::codec::V1;
use phase_core::manifest::{ArtifactEntry, FileName, MAX_ARTIFACTS, Manifest, Role};
use phase_core::store::{Artifact, Store};
use phase_core::{Cid, Digest, Failure, ImportMode, ImportOptions, Name};

use crate::import::{self, Source};
use crate::output::Output;

/// What is in a release.
#[derive(Debug, Args)]
#[group(id = "content")]
pub(crate) struct ContentArgs {
    /// A file and what it is for, such as kernel=vmlinuz; ROLE:NAME=PATH gives it another name; repeatable
    #[arg(long, value_name = "ROLE=PATH")]
    artifact: Vec<ArtifactArg>,
    /// A folder: each file in it, at any depth, becomes an artifact of role "file"
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not copy the files into the store but refer to them where they are; they must not be changed any more
    #[arg(long)]
    reference: bool,
    /// What people call the release. Default: the version
    #[arg(long, value_name = "TEXT")]
    release: Option<String>,
    /// The one board it is for. Default: any
    #[arg(long, value_name = "TEXT")]
    board: Option<String>,
    /// The kernel command line
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<String>,
    /// For how long the release is valid
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = cli::parse_duration)]
    expires: Duration,
}

/// An artifact as it is given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ArtifactArg {
    role: Role,
    filename: FileName,
    path: PathBuf,
}

impl FromStr for ArtifactArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form ROLE=PATH or ROLE:NAME=PATH, for instance kernel=vmlinuz");
        let (what, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(form)?;
        let path = PathBuf::from(path);
        let (role, filename) = match what.split_once(':') {
            Some((role, filename)) => (role, filename),
            None => (what, path.file_name().and_then(|name| name.to_str()).ok_or_else(form)?),
        };
        Ok(Self {
            role: role.parse().map_err(|error: phase_core::manifest::RoleError| error.to_string())?,
            filename: filename.parse().map_err(|error: phase_core::manifest::FileNameError| error.to_string())?,
            path,
        })
    }
}

/// A release whose files have been found and not read yet.
pub(crate) struct Plan {
    sources: Vec<Source>,
    mode: ImportMode,
    /// The artifacts have the right names and sizes, but no content yet.
    draft: Manifest,
    /// Whether the release is called by its version.
    is_unnamed: bool,
}

/// A release whose files are in the store.
pub(crate) struct Imported {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

impl ContentArgs {
    /// Finds the files of a release.
    pub(crate) fn plan(&self, name: &Name, version: u64) -> Result<Plan, Fault> {
        let mut sources = Vec::new();
        for ArtifactArg { role, filename, path } in &self.artifact {
            let len = path.metadata().map_err(FileError::of("read", path))?.len();
            sources.push(Source { role: role.clone(), filename: filename.clone(), path: path.clone(), len });
        }
        if let Some(dir) = &self.dir {
            walk(dir, "", &mut sources)?;
        }
        if sources.is_empty() {
            let given = if self.dir.is_some() { "the folder has no files" } else { "no artifacts are given" };
            return Err(
                Fault::new(Failure::Usage, given).hint("give files with --artifact ROLE=PATH, or a folder with --dir")
            );
        }
        let (issued_at, expires_at) = lifetime(self.expires)?;
        let draft = Manifest {
            v: V1,
            channel: name.channel.clone(),
            arch: name.arch.clone(),
            board: self.board.clone(),
            version,
            release: self.release.clone().unwrap_or_else(|| version.to_string()),
            issued_at,
            expires_at,
            artifacts: sources.iter().map(draft_entry).collect(),
            cmdline: self.cmdline.clone(),
        };
        let mode = if self.reference { ImportMode::Reference } else { ImportMode::Copy };
        Ok(Plan { sources, mode, draft, is_unnamed: self.release.is_none() })
    }
}

/// An entry that is right but for the content.
fn draft_entry(source: &Source) -> ArtifactEntry {
    ArtifactEntry {
        role: source.role.clone(),
        filename: source.filename.clone(),
        size: source.len,
        cid: Cid::of_block(&[]),
        sha256: Digest::new([0; 32]),
    }
}

impl Plan {
    /// The manifest as it will be, but for the CIDs: to find out early what is wrong with it.
    pub(crate) fn draft(&self) -> &Manifest {
        &self.draft
    }

    /// Gives the release another version.
    pub(crate) fn renumbered(mut self, version: u64) -> Self {
        self.draft.version = version;
        if self.is_unnamed {
            self.draft.release = version.to_string();
        }
        self
    }

    /// Imports every file.
    pub(crate) fn import(self, store: &dyn Store, output: &Output) -> Result<Imported, Fault> {
        let began = crate::progress::now();
        let options = ImportOptions::default().with_mode(self.mode);
        let imported = import::import(store, &self.sources, &options, output)?;
        let entry = |(source, artifact): (Source, Arc<dyn Artifact>)| ArtifactEntry {
            role: source.role,
            filename: source.filename,
            size: artifact.index().size(),
            cid: artifact.cid(),
            sha256: artifact.index().sha256(),
        };
        let artifacts: Vec<_> = self.sources.into_iter().zip(imported).map(entry).collect();
        let bytes = artifacts.iter().map(|entry| entry.size).sum();
        let elapsed = crate::progress::now() - began;
        Ok(Imported { manifest: Manifest { artifacts, ..self.draft }, bytes, elapsed })
    }
}

/// All files below a folder, sorted. Symbolic links to files are followed, others are an error: to leave something
/// out silently would be worse.
fn walk(folder: &Path, prefix: &str, found: &mut Vec<Source>) -> Result<(), Fault> {
    let listed = folder.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = listed.map_err(FileError::of("list", folder))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let meta = path.metadata().map_err(FileError::of("read", &path))?;
        let refused = |why: &str| Fault::new(Failure::Input, format!("{}: {why}", path.display()));
        let name = entry.file_name().into_string().map_err(|_| refused("its name is not UTF-8"))?;
        let relative = format!("{prefix}{name}");
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if meta.is_file() {
            let filename =
                relative.parse().map_err(|error: phase_core::manifest::FileNameError| refused(&error.to_string()))?;
            let role = Role::FILE.parse().expect("it is a valid role");
            found.push(Source { role, filename, path, len: meta.len() });
        } else if meta.is_dir() && !is_link {
            walk(&path, &format!("{relative}/"), found)?;
        } else {
            return Err(refused("neither a file nor a folder; move it away or publish an image of the folder"));
        }
        if found.len() > MAX_ARTIFACTS {
            let message = format!("more than {MAX_ARTIFACTS} files: a manifest cannot list them");
            return Err(Fault::new(Failure::Input, message).hint("publish an image of the folder instead"));
        }
    }
    Ok(())
}

/// From now on, for this long.
pub(crate) fn lifetime(duration: Duration) -> Result<(u64, u64), Fault> {
    let now = cli::now();
    let long = || Fault::new(Failure::Usage, "--expires is too long");
    // Less than a second is a second: a lifetime of nothing would be refused.
    Ok((now, now.checked_add(duration.as_secs().max(1)).ok_or_else(long)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String, String), String> {
        let arg: ArtifactArg = text.parse()?;
        Ok((arg.role.to_string(), arg.filename.to_string(), arg.path.display().to_string()))
    }

    #[test]
    fn an_artifact_is_a_role_a_path_and_perhaps_a_name() {
        let expect = |role: &str, name: &str, path: &str| Ok((role.to_owned(), name.to_owned(), path.to_owned()));
        assert_eq!(parse("kernel=/boot/vmlinuz-6.1"), expect("kernel", "vmlinuz-6.1", "/boot/vmlinuz-6.1"));
        assert_eq!(parse("dtb:dtbs/a.dtb=x"), expect("dtb", "dtbs/a.dtb", "x"));
        assert_eq!(parse("file=a=b"), expect("file", "a=b", "a=b"));
        for text in ["", "kernel", "kernel=", "=x", "Kernel=x", "kernel:../x=y", "kernel:=y", "kernel=..", "kernel=/"] {
            assert!(parse(text).is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn a_folder_is_walked_in_order_and_strange_things_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b/c")).unwrap();
        for name in ["b/c/2", "b/1", "a", "z"] {
            std::fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        let mut found = Vec::new();
        walk(folder.path(), "", &mut found).unwrap();
        let names: Vec<_> = found.iter().map(|source| source.filename.as_str()).collect();
        assert_eq!(names, ["a", "b/1", "b/c/2", "link", "z"]);

        std::os::unix::fs::symlink("c", at("b/loop")).unwrap();
        assert_eq!(walk(folder.path(), "", &mut Vec::new()).unwrap_err().failure(), Failure::Input);
        std::fs::remove_file(at("b/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        assert_eq!(walk(folder.path(), "", &mut Vec::new()).unwrap_err().failure(), Failure::Input);
    }
}
