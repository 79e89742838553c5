//! The operations of a hand-over on the file system in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use phase_core::handover::backend::OutputBackend;
use phase_core::store::backend::Backend as _;

use super::{FaultBackend, NameChange, Node};

impl NameChange {
    /// Exchanges everything at or below `a` with everything at or below `b`.
    fn exchange(names: &BTreeMap<PathBuf, Node>, a: &Path, b: &Path) -> Self {
        let (mut there, back) = (Self::rename(names, a, b), Self::rename(names, b, a));
        there.removed.extend(back.removed);
        there.added.extend(back.added);
        there
    }
}

impl OutputBackend for FaultBackend {
    fn create_private_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate_atomically()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(None, Some((path.to_owned(), Node::Folder)));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.operate_atomically()?;
        if state.names.keys().any(|name| name.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(Some(path.to_owned()), None);
        Ok(())
    }

    fn copy_dir_mode(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        self.state().operate_atomically()
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.state().names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate_atomically()?;
        if !state.names.contains_key(a) || !state.names.contains_key(b) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameChange::exchange(&state.names, a, b);
        change.apply(&mut state.names);
        state.pending.push(change);
        Ok(())
    }

    fn link(&self, original: &Path, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate_atomically()?;
        let node = *state.names.get(original).ok_or(io::ErrorKind::NotFound)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(None, Some((path.to_owned(), node)));
        Ok(())
    }

    fn symlink(&self, _target: &Path, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_link(&self, _path: &Path) -> io::Result<PathBuf> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn exposed_part(&self, _folder: &Path) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }

    fn is_mount_point(&self, folder: &Path) -> io::Result<bool> {
        Ok(self.state().quirks.mount_point.as_deref() == Some(folder))
    }

    fn place(&self, from: &Path, root: &Path, relative: &Path) -> io::Result<bool> {
        let to = root.join(relative);
        self.create_dir(to.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        let exists = self.state().names.contains_key(&to);
        if exists {
            self.exchange(from, &to)?
        } else {
            self.rename(from, &to)?
        }
        Ok(exists)
    }
}
