//! A block device as an output. It is opened exclusively, so that the kernel refuses it while it is mounted or used for
//! swap, RAID or the device mapper, and so that nothing can mount it meanwhile.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Advice, OFlags};

use super::error::HandoverError;
use super::verify::{self, Chunk};
use crate::index::ArtifactIndex;
use crate::manifest::ArtifactEntry;
use crate::store::backend::{BackendFile, FileStat};

/// How often, and at which interval, a process must have a device open to count as a writer.
const WRITER_CHECKS: u32 = 4;
const WRITER_PAUSE: Duration = Duration::from_millis(50);

/// A block device that is open for writing, by this process alone.
#[derive(Debug)]
pub(super) struct Device {
    file: DeviceFile,
    path: PathBuf,
    /// The index of the artifact that is written to the device.
    index: Mutex<Option<Arc<ArtifactIndex>>>,
}

impl Device {
    /// Opens a device, and checks that the artifact of `entry` fits.
    pub(super) fn open(path: &Path, entry: &ArtifactEntry) -> Result<Self, HandoverError> {
        let open = HandoverError::io("open", path);
        let flags = (OFlags::EXCL | OFlags::NONBLOCK).bits() as i32;
        let mut file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let by = mounted_at(path).unwrap_or_else(|| "the kernel or another program holds it".to_owned());
                return Err(HandoverError::DeviceBusy { path: path.to_owned(), by });
            }
            other => other.map_err(&open)?,
        };
        let meta = file.metadata().map_err(&open)?;
        if !meta.file_type().is_block_device() {
            return Err(HandoverError::BadTarget { path: path.to_owned(), kind: "not a block device any more" });
        }
        // The exclusive open does not exclude programs that write without asking.
        if let Some(by) = writer_of(meta.rdev()) {
            return Err(HandoverError::DeviceBusy { path: path.to_owned(), by });
        }
        let size = file.seek(SeekFrom::End(0)).map_err(&open)?;
        if size < entry.size {
            let (filename, needed) = (entry.filename.to_string(), entry.size);
            return Err(HandoverError::DeviceTooSmall { path: path.to_owned(), size, filename, needed });
        }
        Ok(Self { file: DeviceFile { file, size }, path: path.to_owned(), index: Mutex::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns another handle of the open device.
    pub(super) fn file(&self) -> io::Result<Box<dyn BackendFile>> {
        Ok(Box::new(DeviceFile { file: self.file.file.try_clone()?, size: self.file.size }))
    }

    /// Sets the index with which the device is compared at the end.
    pub(super) fn set_index(&self, index: Arc<ArtifactIndex>) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Some(index);
    }

    pub(super) fn write(&self, chunks: &[Chunk<'_>]) -> Result<(), HandoverError> {
        let write = |chunk: &Chunk<'_>| self.file.write_all_at(chunk.bytes, chunk.offset);
        chunks.iter().try_for_each(write).map_err(HandoverError::io("write", &self.path))
    }

    /// Syncs the device, and compares what it returns with the index.
    pub(super) fn commit(&self) -> Result<(), HandoverError> {
        self.file.sync().map_err(HandoverError::io("sync", &self.path))?;
        // Without this, the bytes would be read from the page cache. A failure only makes the comparison weaker.
        let _ = rustix::fs::fadvise(&self.file.file, 0, None, Advice::DontNeed);
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = index.as_ref() else { return Ok(()) };
        let wrong = verify::first_wrong(&self.file, index).map_err(HandoverError::io("read", &self.path))?;
        match wrong {
            Some(chunk) => Err(HandoverError::DeviceLies { path: self.path.clone(), chunk: chunk.0 }),
            None => Ok(()),
        }
    }
}

/// Describes where a device is mounted, if it is.
fn mounted_at(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?.rdev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&&*number))?;
    Some(format!("mounted at {}", mount.get(4)?))
}

/// Describes another process that has a device open for writing. Processes of other users are found only by root. A
/// process that has it only for a moment, such as one that has just been forked or that probes devices, does not count.
fn writer_of(device: u64) -> Option<String> {
    let mut writers = writers(device);
    for _ in 1..WRITER_CHECKS {
        if writers.is_empty() {
            return None;
        }
        std::thread::sleep(WRITER_PAUSE);
        let now = self::writers(device);
        writers.retain(|pid| now.contains(pid));
    }
    let pid = writers.first()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The name is quoted, because it may contain any character.
    Some(format!("process {pid} {:?} has it open for writing", name.trim_end()))
}

/// Returns the ids of the other processes that have a device open for writing.
fn writers(device: u64) -> BTreeSet<u32> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|pid| *pid != own && writes_to(*pid, device).unwrap_or(false)).collect()
}

fn writes_to(pid: u32, device: u64) -> io::Result<bool> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let Ok(meta) = fs::metadata(entry.path()) else { continue };
        if !meta.file_type().is_block_device() || meta.rdev() != device {
            continue;
        }
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy()))?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
        // The lowest two bits are the access mode; 0 is read-only.
        if flags & 3 != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An open block device, whose length cannot be changed.
#[derive(Debug)]
struct DeviceFile {
    file: File,
    size: u64,
}

impl BackendFile for DeviceFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.file, bytes, offset)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        crate::store::os::write_vectored_at(&self.file, slices, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len <= self.size { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn set_mode(&self, _mode: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stat(&self) -> io::Result<FileStat> {
        Ok(FileStat { len: self.size, ..crate::store::os::stat_of(&self.file.metadata()?) })
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    fn clone_from_file(&self, _original: &File) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok((offset < self.size).then_some(offset..self.size))
    }
}
