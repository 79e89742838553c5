//! A file system in memory that fails at chosen operations, and that loses unsynced writes in a power cut.

mod output;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use phase_core::store::backend::{Backend, BackendFile, FileKind, FileStat, OpenMode, Space};
use rustix::io::Errno;

use crate::quirks::{Quirks, Random};

/// The length of a page, in bytes. A power cut keeps or loses a page as a whole.
const PAGE: usize = 512;

/// The maximum number of attempts to lock a file that another thread of the same test has locked.
const LOCK_ATTEMPTS: u32 = 10_000_000;

/// A fault that happens at a chosen operation. Operations are numbered, and only those that change the file system
/// count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The chosen operation fails with this kind of error, and later operations succeed.
    Fail(io::ErrorKind),
    /// The chosen operation and all later operations fail with this kind of error.
    FailFrom(io::ErrorKind),
    /// If the chosen operation is a write, it writes only half of the bytes.
    Short,
    /// The power fails at the chosen operation. If it is a write, it writes only half of the bytes. All later
    /// operations fail.
    PowerCut,
}

/// The file system in memory. Clones share its state.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultBackend {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, Node>,
    /// The synced names, which a power cut does not lose.
    durable_names: BTreeMap<PathBuf, Node>,
    /// Changes to names that no `sync_dir` has made durable yet.
    pending: Vec<NameChange>,
    clock: i64,
    handles: u64,
    operations: u64,
    bytes_read: u64,
    fault: Option<(u64, Fault)>,
    quirks: Quirks,
    /// The number of operations so far that only read.
    reads: u64,
    /// The number of the reading operation that fails, counted from 1, and the error number of the operating system.
    read_fault: Option<(u64, i32)>,
    /// The free disk space that [`Backend::available`] returns; `None` if the backend does not support that call.
    available: Option<u64>,
    /// The number of files that can still be created; `None` if there is no limit.
    free_files: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(u64),
}

/// A change to the names of files and folders, which a power cut keeps or loses as a whole. A rename removes one name
/// and adds another. A folder takes along the names in it.
#[derive(Clone, Debug, Default)]
struct NameChange {
    removed: Vec<PathBuf>,
    added: Vec<(PathBuf, Node)>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    mtime_ns: i64,
    mode: u32,
    /// The owner of the file; `None` is the user of this process.
    owner: Option<u32>,
    /// The synced bytes, which a power cut does not lose.
    durable: Vec<u8>,
    durable_mtime_ns: i64,
    /// The number of the handle that holds the lock on the file; `None` if the file is not locked.
    locked_by: Option<u64>,
}

impl FaultBackend {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Returns the number of operations so far that change the file system.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Injects a fault at the operation with this number, counted from 1. The new fault replaces the fault that was
    /// injected before.
    pub(crate) fn inject(&self, operation: u64, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    /// Returns the number of operations so far that only read.
    pub(crate) fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Lets the reading operation with this number fail, counted from 1, with this error number of the operating system.
    pub(crate) fn inject_read(&self, read: u64, errno: i32) {
        self.state().read_fault = Some((read, errno));
    }

    /// Returns a copy of the file system without faults. All data in it is durable.
    pub(crate) fn copy(&self) -> Self {
        self.after_power_cut(1)
    }

    /// Returns the paths of all files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.names.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Changes one byte of a file.
    pub(crate) fn flip(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        let Node::File(number) = state.names[path] else { panic!("{} is a folder", path.display()) };
        let inode = state.inodes.get_mut(&number).unwrap();
        inode.bytes[offset] ^= 1;
        inode.durable = inode.bytes.clone();
    }

    /// Returns the file system that a machine finds when it starts after a power cut. RNG seed 0 keeps only synced
    /// data. RNG seed 1 keeps all data, as if only the process had been killed. Other RNG seeds keep synced data and a
    /// random part of the rest.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.state();
        let mut random = Random::new(seed);
        let mut names = state.durable_names.clone();
        for change in &state.pending {
            if random.keep() {
                change.apply(&mut names);
            }
        }
        let all = names.clone();
        names.retain(|path, _| path.ancestors().skip(1).all(|folder| is_top(folder) || all.contains_key(folder)));
        let inodes = state.inodes.iter().map(|(number, inode)| (*number, inode.after_power_cut(&mut random))).collect();
        let (clock, handles) = (state.clock, state.handles);
        let durable_names = names.clone();
        let state = State { inodes, names, durable_names, clock, handles, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Returns the number of bytes that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    /// Makes this file system differ from a local disk.
    pub(crate) fn set_quirks(&self, quirks: Quirks) {
        self.state().quirks = quirks;
    }

    /// Returns the paths of all files and folders, sorted, with the content of the files.
    pub(crate) fn tree(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let content = |node: &Node| match node {
            Node::File(number) => state.inodes[number].bytes.clone(),
            Node::Folder => Vec::new(),
        };
        state.names.iter().map(|(path, node)| (path.clone(), content(node))).collect()
    }

    /// Sets the free disk space that is reported, in bytes. Writes are not limited by it.
    pub(crate) fn set_available(&self, bytes: u64) {
        self.state().available = Some(bytes);
    }

    /// Sets the number of files that can still be created, as it is reported. Creating files is not limited by it.
    pub(crate) fn set_free_files(&self, files: u64) {
        self.state().free_files = Some(files);
    }

    /// Changes a byte of a file as a failing disk does: no time and no other part of the file's state changes.
    pub(crate) fn rot(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        let Some(Node::File(number)) = state.names.get(path).copied() else { panic!("{} is no file", path.display()) };
        state.inodes.get_mut(&number).unwrap().bytes[offset] ^= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// Counts an operation. Returns an error if the injected fault makes the operation fail. Returns `Ok(false)` if a
    /// write must write only half of the bytes.
    fn operate(&mut self) -> io::Result<bool> {
        self.operations += 1;
        self.clock += 1;
        match self.fault {
            Some((at, Fault::Fail(kind))) if self.operations == at => Err(kind.into()),
            Some((at, Fault::FailFrom(kind))) if self.operations >= at => Err(kind.into()),
            Some((at, Fault::Short)) if self.operations == at => Ok(false),
            Some((at, Fault::PowerCut)) if self.operations == at => Ok(false),
            Some((at, Fault::PowerCut)) if self.operations > at => Err(power_cut()),
            _ => Ok(true),
        }
    }

    /// Counts an operation that only reads. Returns an error if the injected fault makes the operation fail.
    fn read(&mut self) -> io::Result<()> {
        self.reads += 1;
        match self.read_fault {
            Some((at, errno)) if self.reads == at => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    /// Counts an operation that is not a write. Returns an error if the injected fault makes the operation fail.
    fn operate_atomically(&mut self) -> io::Result<()> {
        match (self.operate()?, self.fault) {
            (false, Some((_, Fault::PowerCut))) => Err(power_cut()),
            _ => Ok(()),
        }
    }

    /// Changes the names of files and folders. The change is durable only after the folder that contains the names is
    /// synced.
    fn change(&mut self, removed: Option<PathBuf>, added: Option<(PathBuf, Node)>) {
        let change = NameChange { removed: removed.into_iter().collect(), added: added.into_iter().collect() };
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn stat(&self, number: u64) -> FileStat {
        let inode = &self.inodes[&number];
        FileStat {
            len: inode.bytes.len() as u64,
            mtime_ns: inode.mtime_ns,
            ctime_ns: inode.mtime_ns,
            inode: number,
            allocated: inode.allocated(),
            links: self.links(number),
            owner: inode.owner.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
            mode: inode.mode,
            kind: FileKind::File,
        }
    }

    /// Returns the path under which a file is stored, on a file system that does not keep each name as it is.
    fn stored_name(&self, path: &Path) -> PathBuf {
        let cut =
            |name: &str| self.quirks.cuts_names_at.map_or(name.to_owned(), |len| name.chars().take(len).collect());
        let path = path.with_file_name(cut(&path.file_name().unwrap_or_default().to_string_lossy()));
        let folded = |path: &Path| path.to_string_lossy().to_lowercase();
        let is_same = |other: &&PathBuf| other.parent() == path.parent() && folded(other) == folded(&path);
        let known = self.quirks.folds_case.then(|| self.names.keys().find(is_same));
        known.flatten().cloned().unwrap_or(path)
    }

    /// Returns the number of names (hard links) of an inode.
    fn links(&self, number: u64) -> u64 {
        self.names.values().filter(|node| **node == Node::File(number)).count() as u64
    }
}

impl NameChange {
    /// Moves everything at or below `from` to `to`.
    fn rename(names: &BTreeMap<PathBuf, Node>, from: &Path, to: &Path) -> Self {
        let mut change = Self::default();
        for (path, node) in names.range(from.to_owned()..) {
            let Ok(inner) = path.strip_prefix(from) else { continue };
            let target = if inner.as_os_str().is_empty() { to.to_owned() } else { to.join(inner) };
            change.removed.push(path.clone());
            change.added.push((target, *node));
        }
        change
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        for path in &self.removed {
            names.remove(path);
        }
        for (path, node) in &self.added {
            names.insert(path.clone(), *node);
        }
    }

    /// Returns whether the change concerns a name in this folder.
    fn touches(&self, folder: &Path) -> bool {
        let mut paths = self.removed.iter().chain(self.added.iter().map(|(path, _)| path));
        paths.any(|path| path.parent() == Some(folder))
    }
}

impl Inode {
    /// Returns the disk space that the file takes, in bytes. A page of zeros counts as a hole.
    fn allocated(&self) -> u64 {
        self.bytes.chunks(PAGE).filter(|page| page.iter().any(|byte| *byte != 0)).map(|page| page.len() as u64).sum()
    }

    fn after_power_cut(&self, random: &mut Random) -> Self {
        let len = if random.keep() { self.bytes.len() } else { self.durable.len() };
        let mut bytes = vec![0; len];
        for start in (0..len).step_by(PAGE) {
            let from = if random.keep() { &self.bytes } else { &self.durable };
            let end = (start + PAGE).min(len).min(from.len());
            if start < end {
                bytes[start..end].copy_from_slice(&from[start..end]);
            }
        }
        let mtime_ns = if random.keep() { self.mtime_ns } else { self.durable_mtime_ns };
        Self {
            durable: bytes.clone(),
            bytes,
            mtime_ns,
            mode: self.mode,
            owner: self.owner,
            durable_mtime_ns: mtime_ns,
            locked_by: None,
        }
    }
}

impl Backend for FaultBackend {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>> {
        let mut state = self.state();
        state.read()?;
        let path = &*state.stored_name(path);
        let number = match (state.names.get(path).copied(), mode) {
            (Some(Node::Folder), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(number)), OpenMode::Read | OpenMode::Create) => number,
            (Some(_), _) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) if state.quirks.is_read_only(path) => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            (None, _) => {
                state.operate_atomically()?;
                if !path.parent().is_some_and(|folder| is_top(folder) || state.names.contains_key(folder)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let number = state.inodes.len() as u64 + 1;
                let (mtime_ns, owner) = (state.clock, state.quirks.owner);
                let mode = if mode == OpenMode::CreateNewPrivate { 0o600 } else { 0o644 };
                let inode = Inode { mtime_ns, mode, owner, durable_mtime_ns: mtime_ns, ..Inode::default() };
                state.inodes.insert(number, inode);
                state.change(None, Some((path.to_owned(), Node::File(number))));
                number
            }
        };
        if mode != OpenMode::Read && state.quirks.is_read_only(path) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        state.handles += 1;
        let handle = state.handles;
        let inode = if state.quirks.has_unstable_inodes { 1_000_000 + handle } else { number };
        let lock_error = state.quirks.lock_error.clone();
        let lock_error = lock_error.and_then(|(folder, errno)| path.starts_with(folder).then_some(errno));
        drop(state);
        let is_writable = mode != OpenMode::Read;
        Ok(Box::new(FaultFile { backend: self.clone(), number, handle, inode, is_writable, lock_error }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.quirks.is_read_only(to) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if let Some(folder) = &state.quirks.other_disk
            && from.starts_with(folder) != to.starts_with(folder)
        {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        state.operate_atomically()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameChange::rename(&state.names, from, to);
        change.apply(&mut state.names);
        state.pending.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.quirks.is_read_only(path) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        state.operate_atomically()?;
        state.change(Some(path.to_owned()), None);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut missing: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        missing.retain(|folder| !is_top(folder) && !state.names.contains_key(folder));
        for folder in missing.into_iter().rev() {
            if state.quirks.is_read_only(&folder) {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
            state.operate_atomically()?;
            state.change(None, Some((folder, Node::Folder)));
        }
        Ok(())
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.state();
        state.read()?;
        if !is_top(path) && state.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = state.names.keys().filter(|name| name.parent() == Some(path)).filter_map(|name| name.file_name());
        Ok(names.map(OsString::from).collect())
    }

    fn file_system(&self, _folder: &Path) -> Option<String> {
        Some("faultfs".to_owned())
    }

    fn space(&self, _folder: &Path) -> io::Result<Space> {
        let bytes = self.state().available.ok_or(io::ErrorKind::Unsupported)?;
        Ok(Space { bytes, files: self.state().free_files, max_len: u64::MAX, is_in_ram: false })
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let mut state = self.state();
        state.read()?;
        match state.names.get(&state.stored_name(path)) {
            Some(Node::File(number)) => Ok(state.stat(*number)),
            Some(Node::Folder) => {
                let owner = state.quirks.owner.unwrap_or_else(|| rustix::process::geteuid().as_raw());
                Ok(FileStat { mode: 0o755, owner, kind: FileKind::Folder, ..FileStat::default() })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate_atomically()?;
        if let Some(errno) = state.quirks.folder_sync_error {
            return Err(errno.into());
        }
        let (synced, pending) =
            std::mem::take(&mut state.pending).into_iter().partition(|change: &NameChange| change.touches(path));
        state.pending = pending;
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FaultFile {
    backend: FaultBackend,
    number: u64,
    handle: u64,
    /// The inode number that this handle reports.
    inode: u64,
    is_writable: bool,
    lock_error: Option<Errno>,
}

impl FaultFile {
    fn with<T>(&self, f: impl FnOnce(&mut Inode) -> T) -> T {
        f(self.backend.state().inodes.get_mut(&self.number).unwrap())
    }
}

impl BackendFile for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.backend.state().read()?;
        self.with(|inode| {
            let rest = inode.bytes.get(offset as usize..).unwrap_or_default();
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        })
        .inspect(|len| self.backend.state().bytes_read += *len as u64)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.backend.state();
        let whole = state.operate()?;
        let cut = !whole && matches!(state.fault, Some((_, Fault::PowerCut)));
        let written = if whole { bytes.len() } else { bytes.len().div_ceil(2) };
        let clock = state.clock;
        let inode = state.inodes.get_mut(&self.number).unwrap();
        let end = offset as usize + written;
        if inode.bytes.len() < end {
            inode.bytes.resize(end, 0);
        }
        inode.bytes[offset as usize..end].copy_from_slice(&bytes[..written]);
        inode.mtime_ns = clock;
        if cut { Err(power_cut()) } else { Ok(written) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.backend.state();
        state.operate_atomically()?;
        let clock = state.clock;
        let inode = state.inodes.get_mut(&self.number).unwrap();
        inode.bytes.resize(len as usize, 0);
        inode.mtime_ns = clock;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.state().operate_atomically()?;
        self.with(|inode| inode.durable = inode.bytes.clone());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()?;
        self.with(|inode| inode.durable_mtime_ns = inode.mtime_ns);
        Ok(())
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mut state = self.backend.state();
        state.operate_atomically()?;
        state.inodes.get_mut(&self.number).unwrap().mode = mode;
        Ok(())
    }

    fn stat(&self) -> io::Result<FileStat> {
        Ok(FileStat { inode: self.inode, ..self.backend.state().stat(self.number) })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let quirks = self.backend.state().quirks.clone();
        if let Some(errno) = self.lock_error {
            return Err(errno.into());
        }
        if quirks.locks_need_writing && !self.is_writable {
            return Err(Errno::BADF.into());
        }
        self.with(|inode| Ok(*inode.locked_by.get_or_insert(self.handle) == self.handle))
    }

    fn lock(&self) -> io::Result<()> {
        for _ in 0..LOCK_ATTEMPTS {
            if self.try_lock()? {
                return Ok(());
            }
            std::thread::yield_now();
        }
        panic!("the file is locked, and no other thread of this test unlocks it");
    }

    fn clone_from_file(&self, _source: &File) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.with(|inode| {
            let page = inode.bytes.chunks(PAGE).zip((0u64..).step_by(PAGE));
            let found = page.skip(offset as usize / PAGE).find(|(page, _)| page.iter().any(|byte| *byte != 0));
            Ok(found.map(|(page, start)| start.max(offset)..start + page.len() as u64))
        })
    }
}

impl Drop for FaultFile {
    fn drop(&mut self) {
        let handle = self.handle;
        self.with(|inode| inode.locked_by = inode.locked_by.filter(|by| *by != handle));
    }
}

/// Returns whether a folder is the root or empty path, which always exists.
fn is_top(folder: &Path) -> bool {
    folder.parent().is_none()
}

fn power_cut() -> io::Error {
    io::Error::other("power cut")
}
