//! The input of an import: a regular file, a block device, a pipe or standard input.
//!
//! A regular file must not change while it is read. That cannot be checked for the others: the content of the artifact
//! is then what was read and copied.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::backend::{BackendFile, FileKind, FileStat};
use super::error::StoreError;
use super::os::OsFile;
use crate::chunker::ChunkerParams;
use crate::index::{IndexError, MAX_CHUNKS};

/// The path that stands for standard input. It also works where `/dev` has no such file.
pub const STANDARD_INPUT: &str = "/dev/stdin";

/// The kind of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputKind {
    /// A regular file.
    File,
    /// A block device.
    Device,
    /// A pipe, or standard input that is not at its start: its length is known only at its end.
    Stream,
}

impl InputKind {
    /// Returns the kind of an input, or what it is instead if it cannot be imported.
    fn of(kind: FileType) -> Result<Self, &'static str> {
        match kind {
            kind if kind.is_file() => Ok(Self::File),
            kind if kind.is_block_device() => Ok(Self::Device),
            kind if kind.is_fifo() => Ok(Self::Stream),
            kind if kind.is_dir() => Err("a folder"),
            kind if kind.is_char_device() => Err("a character device, which may never end"),
            kind if kind.is_socket() => Err("a socket"),
            _ => Err("not a file"),
        }
    }
}

/// What is known of an input before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The length in bytes, or `None` if it is known only at the end.
    pub(crate) len: Option<u64>,
    /// The number of bytes that are not in holes, at most.
    pub(crate) data: u64,
}

/// Finds out the kind and the length of an input. Does not open pipes.
pub(crate) fn probe(path: &Path) -> Result<Probe, StoreError> {
    if path != Path::new(STANDARD_INPUT) {
        let meta = std::fs::metadata(path).map_err(|e| failed("read", path, e))?;
        match InputKind::of(meta.file_type()) {
            Ok(InputKind::File) => return Ok(Probe { len: Some(meta.len()), data: data_len(&meta) }),
            Ok(InputKind::Stream) => return Ok(Probe { len: None, data: 0 }),
            Ok(InputKind::Device) => {}
            Err(what) => return Err(StoreError::NotImportable { path: path.to_owned(), what }),
        }
    }
    let input = InputFile::open(path)?;
    Ok(Probe { len: input.len, data: input.data_len() })
}

/// Returns the number of bytes of a regular file that are not in holes, at most.
fn data_len(meta: &Metadata) -> u64 {
    meta.len().min(meta.blocks().saturating_mul(512))
}

/// An open file, device or pipe that is imported. After reading a regular file, the import checks whether the file has
/// changed.
#[derive(Debug)]
pub(crate) struct InputFile {
    path: PathBuf,
    file: OsFile,
    kind: InputKind,
    before: FileStat,
    len: Option<u64>,
}

impl InputFile {
    /// Opens a regular file, a block device, a pipe or standard input. Opening a named pipe waits for its writer.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        if path == Path::new(STANDARD_INPUT) {
            let owned = io::stdin().as_fd().try_clone_to_owned().map_err(|e| failed("open", path, e))?;
            return Self::of(path.to_owned(), File::from(owned));
        }
        // The type is checked first, because opening a device may have side effects.
        let meta = std::fs::metadata(path).map_err(|e| failed("open", path, e))?;
        InputKind::of(meta.file_type()).map_err(|what| StoreError::NotImportable { path: path.to_owned(), what })?;
        let path = std::path::absolute(path).map_err(|e| failed("find", path, e))?;
        let file = File::open(&path).map_err(|e| failed("open", &path, e))?;
        Self::of(path, file)
    }

    fn of(path: PathBuf, mut file: File) -> Result<Self, StoreError> {
        let meta = file.metadata().map_err(|e| failed("read", &path, e))?;
        let not_importable = |what| StoreError::NotImportable { path: path.clone(), what };
        let mut kind = InputKind::of(meta.file_type()).map_err(not_importable)?;
        // Standard input may be a file of which another program has read a part.
        if kind == InputKind::File && file.stream_position().map_err(|e| failed("read", &path, e))? > 0 {
            kind = InputKind::Stream;
        }
        let len = match kind {
            InputKind::File => Some(meta.len()),
            InputKind::Device => Some(device_len(&mut file).map_err(|e| failed("find the size of", &path, e))?),
            InputKind::Stream => None,
        };
        if kind == InputKind::Device && len == Some(0) {
            return Err(not_importable("a block device without content"));
        }
        let file = OsFile::from(file);
        let before = file.stat().map_err(|e| failed("read", &path, e))?;
        Ok(Self { path, file, kind, before, len })
    }

    /// Returns the absolute path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file if it is a regular file.
    pub(crate) fn regular_file(&self) -> Option<&File> {
        (self.kind == InputKind::File).then(|| self.file.os_file()).flatten()
    }

    /// Returns the state of the file when it was opened.
    pub(crate) fn stat(&self) -> FileStat {
        self.before
    }

    /// Returns the length in bytes, or `None` if it is known only at the end.
    pub(crate) fn len(&self) -> Option<u64> {
        self.len
    }

    /// Returns the number of bytes that are not in holes, at most. The number is 0 if the length is not known.
    pub(crate) fn data_len(&self) -> u64 {
        match self.kind {
            InputKind::File => self.before.len.min(self.before.allocated),
            InputKind::Device | InputKind::Stream => self.len.unwrap_or(0),
        }
    }

    /// Returns a reader for the content. It reads at most one byte more than the file had when it was opened. This byte
    /// shows that the file has grown. Without the limit, the import could not end while another process appends bytes.
    pub(crate) fn reader(&self) -> Box<dyn Read + '_> {
        match (self.len, self.file.os_file()) {
            (None, Some(stream)) => Box::new(stream),
            (len, _) => {
                let limit = len.unwrap_or(u64::MAX).saturating_add(1);
                Box::new(FileReader::new(&self.file, &self.before).take(limit))
            }
        }
    }

    /// Checks that an artifact can be as long as the input, and that its content can be read again if the store is to
    /// refer to it.
    pub(crate) fn check_importable(&self, chunker: &ChunkerParams, by_reference: bool) -> Result<(), StoreError> {
        if by_reference && (self.kind != InputKind::File || is_transient(&self.path)) {
            return Err(StoreError::NotByReference(self.path.clone()));
        }
        let chunks = self.len.unwrap_or(0).div_ceil(u64::from(chunker.max()));
        if chunks > u64::from(MAX_CHUNKS) {
            return Err(StoreError::NoIndex { path: self.path.clone(), source: IndexError::TooManyChunks(chunks) });
        }
        Ok(())
    }

    /// Checks that a regular file has not changed since it was opened, and that `read`, the number of bytes that were
    /// read, is the length of the file or device.
    pub(crate) fn check_unchanged(&self, read: u64) -> Result<(), StoreError> {
        let now = self.file.stat().map_err(|e| failed("read", &self.path, e))?;
        let is_unchanged = self.kind != InputKind::File || now.same_content(&self.before);
        if is_unchanged && self.len.is_none_or(|len| read == len) {
            Ok(())
        } else {
            Err(StoreError::SourceChanged(self.path.clone()))
        }
    }
}

/// Returns whether a store can refer to the file at a path: it is a regular file whose path is the same for every process.
pub(crate) fn can_be_referred_to(path: &Path) -> bool {
    !is_transient(path) && std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

fn is_transient(path: &Path) -> bool {
    ["/proc", "/dev/fd", STANDARD_INPUT].iter().any(|folder| path.starts_with(folder))
}

/// Returns the length of a block device, in bytes.
fn device_len(file: &mut File) -> io::Result<u64> {
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(len)
}

/// A reader that starts at the beginning of a file and does not use the file's position. It does not read the holes of
/// a sparse file, but returns zeros for them.
pub(crate) struct FileReader<'a> {
    file: &'a dyn BackendFile,
    offset: u64,
    /// The length of the file when reading began. It has no holes after that.
    len: u64,
    /// The byte range around or after `offset` that is not a hole, or `None` if holes are not looked for.
    data: Option<Range<u64>>,
}

impl<'a> FileReader<'a> {
    /// Makes a reader for a file that has the state `stat`.
    pub(crate) fn new(file: &'a dyn BackendFile, stat: &FileStat) -> Self {
        // A file that uses as much space as it is long has no holes, and some file systems are slow at finding them.
        let is_sparse = stat.kind == FileKind::File && stat.allocated < stat.len;
        Self { file, offset: 0, len: stat.len, data: is_sparse.then_some(0..0) }
    }

    /// Returns the end of the data at the current offset, or of the hole at the current offset, and whether it is a
    /// hole. Returns `None` if the rest of the file has to be read.
    fn extent(&mut self) -> Option<(u64, bool)> {
        if self.offset >= self.len {
            return None;
        }
        if self.offset >= self.data.as_ref()?.end {
            self.data = match self.file.next_data(self.offset) {
                Ok(Some(data)) if data.end > self.offset => Some(data),
                Ok(None) => Some(self.len..self.len),
                // The file system cannot find holes, or the file is being changed. The whole rest is read.
                Ok(Some(_)) | Err(_) => None,
            };
        }
        let data = self.data.as_ref()?;
        let is_hole = self.offset < data.start;
        Some((if is_hole { data.start } else { data.end }.min(self.len), is_hole))
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match self.extent() {
            None => self.file.read_at(buf, self.offset)?,
            Some((end, is_hole)) => {
                let len = usize::try_from(end - self.offset).unwrap_or(usize::MAX).min(buf.len());
                let buf = &mut buf[..len];
                if is_hole {
                    buf.fill(0);
                    len
                } else {
                    self.file.read_at(buf, self.offset)?
                }
            }
        };
        self.offset += read as u64;
        Ok(read)
    }
}

/// Makes the error for a failed operation on the file to import.
pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Source { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of which only the byte range `data` is not a hole. Reading a hole fails the test.
    #[derive(Debug)]
    struct Sparse {
        data: Range<u64>,
        finds_holes: bool,
    }

    impl BackendFile for Sparse {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            if offset >= self.data.end && self.finds_holes {
                return Ok(0);
            }
            assert!(!self.finds_holes || self.data.contains(&offset), "a hole is read");
            buf.fill(7);
            Ok(buf.len())
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync_data(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn set_mode(&self, _: u32) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn stat(&self) -> io::Result<FileStat> {
            Ok(FileStat { len: 10_000, allocated: 4096, ..FileStat::default() })
        }
        fn try_lock(&self) -> io::Result<bool> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn lock(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn clone_from_file(&self, _: &File) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
            match self.finds_holes {
                true => Ok((offset < self.data.end).then(|| self.data.start.max(offset)..self.data.end)),
                false => Err(io::ErrorKind::InvalidInput.into()),
            }
        }
    }

    #[test]
    fn holes_are_not_read_and_give_zeros() {
        let file = Sparse { data: 3_000..3_500, finds_holes: true };
        let mut content = Vec::new();
        FileReader::new(&file, &file.stat().unwrap()).read_to_end(&mut content).unwrap();
        let expected = [vec![0; 3_000], vec![7; 500], vec![0; 6_500]].concat();
        assert!(content == expected);
    }

    #[test]
    fn a_file_whose_holes_cannot_be_found_is_read_completely() {
        let file = Sparse { data: 3_000..3_500, finds_holes: false };
        let mut content = Vec::new();
        FileReader::new(&file, &file.stat().unwrap()).take(10_000).read_to_end(&mut content).unwrap();
        assert!(content == [7; 10_000]);
    }
}
