//! Lists the files in a folder, and what of the folder a release cannot contain.

use std::ffi::OsString;
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::file::{FilesError, ReleaseFile};
use super::refused::{MAX_DEPTH, Refusal, Refused};
use super::remark::{Remark, RemarkKind, Remarks};
use crate::manifest::MAX_ARTIFACTS;
use crate::store::Probe;

/// The files of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FolderFiles {
    /// The files, sorted.
    pub files: Vec<ReleaseFile>,
    /// What the release does not carry over from the folder.
    pub remarks: Vec<Remark>,
}

impl FolderFiles {
    /// Lists all files below a folder, sorted, and what a release cannot carry over from the folder. Each file has the
    /// role [`Role::FILE`](crate::manifest::Role::FILE). Its name in the release is its path relative to the folder.
    ///
    /// Symbolic links to files in the folder are followed. Any other entry that is neither a regular file nor a folder
    /// is refused, so that no file is silently missing in the release. A link that leads out of the folder is refused
    /// as well, because it would publish a file that is not in the folder.
    ///
    /// # Errors
    /// [`FilesError::Refused`] names all entries that cannot be published. [`FilesError::List`],
    /// [`FilesError::TooMany`].
    pub fn list(folder: &Path) -> Result<Self, FilesError> {
        list(folder)
    }
}

impl ReleaseFile {
    /// Returns all files below a folder, as [`FolderFiles::list`] lists them, without the remarks.
    ///
    /// # Errors
    /// The errors of [`FolderFiles::list`].
    pub fn all_in(folder: &Path) -> Result<Vec<Self>, FilesError> {
        Ok(FolderFiles::list(folder)?.files)
    }
}

fn list(folder: &Path) -> Result<FolderFiles, FilesError> {
    let failed = |source| FilesError::List { path: folder.to_owned(), source };
    // Everything in the folder is compared with this path, and the folder itself may be a link.
    let root = folder.canonicalize().map_err(failed)?;
    let mut walk = Walk {
        folder,
        root: &root,
        user: rustix::process::geteuid().as_raw(),
        files: Vec::new(),
        remarks: Remarks::default(),
        refused: Refused::default(),
    };
    let names = names_in(folder).map_err(failed)?;
    walk.entries(Path::new(""), names, 0)?;
    if walk.refused.count() > 0 {
        return Err(FilesError::Refused { folder: folder.to_owned(), refused: walk.refused });
    }
    Ok(FolderFiles { files: walk.files, remarks: walk.remarks.into_vec() })
}

/// Returns the names in a folder, sorted. The folder does not stay open.
fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = folder.read_dir()?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The state of listing a folder.
struct Walk<'a> {
    folder: &'a Path,
    /// The folder without symbolic links in its path.
    root: &'a Path,
    /// The id of the user who publishes.
    user: u32,
    files: Vec<ReleaseFile>,
    remarks: Remarks,
    refused: Refused,
}

impl Walk<'_> {
    /// Lists the entries of the folder at `relative`, and everything below.
    fn entries(&mut self, relative: &Path, names: Vec<OsString>, depth: usize) -> Result<(), FilesError> {
        for name in names {
            let relative = relative.join(name);
            if let Err(refusal) = self.entry(&relative, depth)? {
                self.refused.add(relative, refusal);
            }
            if self.files.len() > MAX_ARTIFACTS {
                return Err(FilesError::TooMany);
            }
        }
        Ok(())
    }

    /// Lists one entry.
    fn entry(&mut self, relative: &Path, depth: usize) -> Result<Result<(), Refusal>, FilesError> {
        let path = self.folder.join(relative);
        let meta = match path.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) => return Ok(Err(Refusal::Unreadable(error))),
        };
        let Some(text) = relative.to_str() else { return Ok(Err(Refusal::NotText)) };
        if meta.is_dir() {
            return self.folder(&path, relative, text, depth);
        }
        Ok(self.file(path, text, meta))
    }

    fn folder(
        &mut self,
        path: &Path,
        relative: &Path,
        text: &str,
        depth: usize,
    ) -> Result<Result<(), Refusal>, FilesError> {
        if depth >= MAX_DEPTH {
            return Ok(Err(Refusal::TooDeep));
        }
        let names = match names_in(path) {
            Ok(names) => names,
            Err(error) => return Ok(Err(Refusal::Unreadable(error))),
        };
        if names.is_empty() {
            self.remarks.add(RemarkKind::EmptyFolder, text);
        }
        self.entries(relative, names, depth + 1).map(Ok)
    }

    /// Lists a file, or a symbolic link to a file.
    fn file(&mut self, path: PathBuf, text: &str, meta: Metadata) -> Result<(), Refusal> {
        let (path, meta) = match meta.is_symlink() {
            true => {
                let target = self.follow(&path)?;
                self.remarks.add(RemarkKind::FollowedLink, text);
                target
            }
            false => (path, meta),
        };
        if !meta.is_file() {
            return Err(Refusal::Kind(kind_of(meta.file_type())));
        }
        let filename = text.parse().map_err(Refusal::Name)?;
        // A file that cannot be opened is found now, and not after a part of the folder was imported.
        File::open(&path).map_err(Refusal::Unreadable)?;
        self.remark_on(text, &meta);
        let size = Probe { len: Some(meta.len()), data: meta.len().min(meta.blocks().saturating_mul(512)) };
        self.files.push(ReleaseFile::in_folder(filename, path, size));
        Ok(())
    }

    /// Returns the path and the metadata of the file to which a symbolic link leads.
    fn follow(&self, link: &Path) -> Result<(PathBuf, Metadata), Refusal> {
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::DanglingLink,
            _ => Refusal::Unreadable(error),
        };
        let target = link.canonicalize().map_err(gone)?;
        let meta = target.metadata().map_err(gone)?;
        if !target.starts_with(self.root) {
            return Err(Refusal::LinkOut(target));
        }
        if meta.is_dir() { Err(Refusal::LinkToFolder) } else { Ok((target, meta)) }
    }

    fn remark_on(&mut self, text: &str, meta: &Metadata) {
        let mode = meta.mode();
        let checks = [
            (mode & 0o7111 != 0, RemarkKind::Executable),
            (mode & 0o004 == 0, RemarkKind::Private),
            (meta.uid() != self.user, RemarkKind::Owner),
            (meta.nlink() > 1, RemarkKind::HardLink),
        ];
        checks.into_iter().filter(|(applies, _)| *applies).for_each(|(_, kind)| self.remarks.add(kind, text));
    }
}

fn kind_of(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_fifo() => "a named pipe (FIFO)",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() => "a block device",
        kind if kind.is_char_device() => "a character device",
        _ => "neither a regular file nor a folder",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn write(folder: &Path, name: &str) {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), name).unwrap();
    }

    #[test]
    fn files_are_listed_in_order_and_links_to_files_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        ["b/c/2", "b/1", "a", "z"].iter().for_each(|name| write(folder.path(), name));
        symlink("a", folder.path().join("link")).unwrap();
        symlink(folder.path().join("b/c/2"), folder.path().join("b/whole path")).unwrap();
        let found = list(folder.path()).unwrap();
        let names: Vec<_> = found.files.iter().map(|file| file.filename().as_str()).collect();
        assert_eq!(names, ["a", "b/1", "b/c/2", "b/whole path", "link", "z"]);
        assert_eq!((found.files[2].len(), found.files[4].len()), (Some(5), Some(1)));
    }

    #[test]
    fn everything_that_cannot_be_published_is_refused_in_one_message() {
        let outside = tempfile::tempdir().unwrap();
        write(outside.path(), "secret");
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(folder.path(), "good/file");
        write(folder.path(), "line\nbreak");
        std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("good", at("to-folder")).unwrap();
        symlink(outside.path().join("secret"), at("out")).unwrap();
        symlink("/dev/zero", at("to-device")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at("good/pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();

        let Err(FilesError::Refused { refused, .. }) = list(folder.path()) else { panic!("nothing is refused") };
        let text = refused.to_string();
        assert_eq!(refused.count(), 9, "{text}");
        for part in [
            r#""good/pipe": it is a named pipe"#,
            r#""socket": it is a socket"#,
            r#""line\nbreak": its name is not permitted"#,
            r#""\xFF": its name is not UTF-8"#,
            r#""dangling": it is a symbolic link that leads to nothing"#,
            r#""to-folder": it is a symbolic link to a folder"#,
            r#""out": it is a symbolic link that leads out of the folder"#,
            r#""to-device": it is a symbolic link that leads out of the folder, to /dev/zero"#,
            r#""loop": it cannot be read"#,
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn the_list_of_refused_entries_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        (0..50).for_each(|number| symlink("nowhere", folder.path().join(format!("{number:02}"))).unwrap());
        let Err(FilesError::Refused { refused, .. }) = list(folder.path()) else { panic!("nothing is refused") };
        assert_eq!((refused.count(), refused.listed().len()), (50, 20));
        assert!(refused.to_string().ends_with("; and 30 more"), "{refused}");
    }

    #[test]
    fn what_a_release_does_not_carry_over_is_remarked_on() {
        let folder = tempfile::tempdir().unwrap();
        (0..7).for_each(|number| write(folder.path(), &format!("bin/{number}")));
        for number in 0..7 {
            let path = folder.path().join(format!("bin/{number}"));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        write(folder.path(), "plain");
        std::fs::set_permissions(folder.path().join("plain"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::hard_link(folder.path().join("plain"), folder.path().join("same")).unwrap();
        symlink("plain", folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        let remarks = list(folder.path()).unwrap().remarks;
        let counts: Vec<_> = remarks.iter().map(|remark| (remark.kind.as_str(), remark.count)).collect();
        let expected = [("executable", 7), ("private", 3), ("followed-link", 1), ("hard-link", 3), ("empty-folder", 1)];
        assert_eq!(counts, expected);
        assert_eq!(
            remarks[0].to_string(),
            "7 executable files: permissions are not carried over (bin/0, bin/1, bin/2, bin/3, bin/4 and 2 more)"
        );
    }
}
