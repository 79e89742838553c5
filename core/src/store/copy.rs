//! Copies the input of an import into a file of the store. Zeros become holes.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::{Backend, BackendFile, Space};
use super::error::StoreError;
use super::input::InputFile;
use super::shortage::Shortage;
use super::space::{self, Need};
use super::zeros;
use crate::chunker::ChunkerParams;

/// The copy of an input, which is being written. Several threads may write at the same time.
pub(crate) struct Copy<'a> {
    file: &'a dyn BackendFile,
    path: &'a Path,
    /// The space at the beginning if the length of the input is not known, or `None` if everything was checked before.
    limit: Option<Space>,
    /// The number of bytes that were written.
    written: AtomicU64,
    /// The limit that the copy would exceed.
    exceeded: OnceLock<Shortage>,
}

impl<'a> Copy<'a> {
    /// Makes the copy of `input` in `file`, which is empty. Checks that the copy and its index fit, if the length of
    /// the input is known.
    pub(crate) fn new(
        backend: &dyn Backend,
        (file, path): (&'a dyn BackendFile, &'a Path),
        input: &InputFile,
        chunker: &ChunkerParams,
    ) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(path);
        let limit = match input.len() {
            Some(len) => {
                let mut need = Need::default();
                need.add_artifact(len, input.data_len(), chunker);
                // The file of the copy exists already.
                need.files -= 1;
                space::check(backend, folder, &need)?;
                None
            }
            None => backend.space(folder).ok(),
        };
        Ok(Self { file, path, limit, written: AtomicU64::new(0), exceeded: OnceLock::new() })
    }

    /// Writes the bytes of the input that begin at `offset`, except for zeros.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for range in zeros::data_ranges(offset, bytes) {
            let (start, data) = (offset + range.start as u64, &bytes[range]);
            self.check_limit(start, data.len() as u64)?;
            self.file.write_all_at(data, start)?;
        }
        Ok(())
    }

    /// Checks that writing `len` bytes at `start` stays below the limit. An endless input would otherwise fill the file
    /// system completely, and a file beyond the limit of the process would end the process by a signal.
    fn check_limit(&self, start: u64, len: u64) -> io::Result<()> {
        let Some(space) = &self.limit else { return Ok(()) };
        let written = self.written.fetch_add(len, Ordering::Relaxed) + len;
        let end = start + len;
        let shortage = if end > space.max_len {
            Shortage::Length { needs: end, max: space.max_len }
        } else if written > space.bytes {
            Shortage::Endless { read: end, has: space.bytes, is_in_ram: space.is_in_ram }
        } else {
            return Ok(());
        };
        // Another thread may have set the same limit.
        let _ = self.exceeded.set(shortage);
        Err(io::ErrorKind::StorageFull.into())
    }

    /// Sets the length of the copy, because zeros at its end were not written.
    pub(crate) fn finish(&self, len: u64) -> Result<(), StoreError> {
        let stat = self.file.stat().map_err(|e| StoreError::read("read", self.path, e))?;
        if stat.len == len {
            return Ok(());
        }
        self.file.set_len(len).map_err(|e| StoreError::write("write", self.path, e).needing(len))
    }

    /// Makes the error for a failed write.
    pub(crate) fn failed(&self, error: io::Error, len: Option<u64>) -> StoreError {
        if let Some(shortage) = self.exceeded.get() {
            let folder = self.path.parent().unwrap_or(self.path).to_owned();
            return StoreError::DoesNotFit { folder, shortage: *shortage };
        }
        let error = StoreError::write("write", self.path, error);
        len.into_iter().fold(error, StoreError::needing)
    }
}
