//! A file system in memory that fails at chosen operations, and that loses unsynced writes in a power cut.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use phase_core::store::backend::{Backend, BackendFile, FileStat, OpenMode, Space};

/// The length of a page, in bytes. A power cut keeps or loses a page as a whole.
const PAGE: usize = 512;

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
    fault: Option<(u64, Fault)>,
    /// The number of operations so far that only read.
    reads: u64,
    /// The number of the reading operation that fails, counted from 1, and the error number of the operating system.
    read_fault: Option<(u64, i32)>,
    /// The free disk space that [`Backend::available`] returns; `None` if the backend does not support that call.
    available: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(u64),
}

/// A change to the names of files and folders. A rename removes one name and adds another.
#[derive(Clone, Debug)]
struct NameChange {
    removed: Option<PathBuf>,
    added: Option<(PathBuf, Node)>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    mtime_ns: i64,
    mode: u32,
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

    /// Sets the free disk space that is reported, in bytes. Writes are not limited by it.
    pub(crate) fn set_available(&self, bytes: u64) {
        self.state().available = Some(bytes);
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
        let change = NameChange { removed, added };
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
            owner: rustix::process::geteuid().as_raw(),
            mode: inode.mode,
            is_file: true,
        }
    }

    /// Returns the number of names (hard links) of an inode.
    fn links(&self, number: u64) -> u64 {
        self.names.values().filter(|node| **node == Node::File(number)).count() as u64
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        if let Some(path) = &self.removed {
            names.remove(path);
        }
        if let Some((path, node)) = &self.added {
            names.insert(path.clone(), *node);
        }
    }

    /// Returns whether the change concerns a name in this folder.
    fn touches(&self, folder: &Path) -> bool {
        let paths = self.removed.iter().chain(self.added.iter().map(|(path, _)| path));
        paths.into_iter().any(|path| path.parent() == Some(folder))
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
        Self { durable: bytes.clone(), bytes, mtime_ns, mode: self.mode, durable_mtime_ns: mtime_ns, locked_by: None }
    }
}

impl Backend for FaultBackend {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>> {
        let mut state = self.state();
        state.read()?;
        let number = match (state.names.get(path).copied(), mode) {
            (Some(Node::Folder), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(number)), OpenMode::Read | OpenMode::Create) => number,
            (Some(_), _) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                state.operate_atomically()?;
                if !path.parent().is_some_and(|folder| is_top(folder) || state.names.contains_key(folder)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let number = state.inodes.len() as u64 + 1;
                let inode =
                    Inode { mtime_ns: state.clock, mode: 0o644, durable_mtime_ns: state.clock, ..Inode::default() };
                state.inodes.insert(number, inode);
                state.change(None, Some((path.to_owned(), Node::File(number))));
                number
            }
        };
        state.handles += 1;
        let handle = state.handles;
        drop(state);
        Ok(Box::new(FaultFile { backend: self.clone(), number, handle }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate_atomically()?;
        let node = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(Some(from.to_owned()), Some((to.to_owned(), node)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
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
            state.operate_atomically()?;
            state.change(None, Some((folder, Node::Folder)));
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.read()?;
        if !is_top(path) && state.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = state.names.keys().filter(|name| name.parent() == Some(path)).filter_map(|name| name.file_name());
        Ok(names.map(|name| name.to_str().unwrap().to_owned()).collect())
    }

    fn space(&self, _folder: &Path) -> io::Result<Space> {
        let bytes = self.state().available.ok_or(io::ErrorKind::Unsupported)?;
        Ok(Space { bytes, files: None, max_len: u64::MAX, is_in_ram: false })
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let mut state = self.state();
        state.read()?;
        match state.names.get(path) {
            Some(Node::File(number)) => Ok(state.stat(*number)),
            Some(Node::Folder) => {
                Ok(FileStat { mode: 0o755, owner: rustix::process::geteuid().as_raw(), ..FileStat::default() })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate_atomically()?;
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
        Ok(self.backend.state().stat(self.number))
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.with(|inode| Ok(*inode.locked_by.get_or_insert(self.handle) == self.handle))
    }

    fn lock(&self) -> io::Result<()> {
        assert!(self.try_lock()?, "the file is locked, and the only thread of these tests would wait for itself");
        Ok(())
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

/// A random number generator that decides which unsynced data survives a power cut. With RNG seed 0, no such data
/// survives. With RNG seed 1, all of it survives.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(if seed > 1 { seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { seed })
    }

    fn keep(&mut self) -> bool {
        if self.0 > 1 {
            // One step of the random number generator xorshift64.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        match self.0 {
            0 => false,
            1 => true,
            bits => bits >> 60 & 1 == 1,
        }
    }
}
