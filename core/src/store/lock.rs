//! Locks between the processes that share a store. The operating system releases them when the process ends, even after
//! a crash.

use super::backend::{Backend, BackendFile, OpenMode};
use super::error::StoreError;
use super::layout::Layout;
use super::temp;

/// The maximum length of a lock file, in bytes. The file contains a process id.
const MAX_LOCK_LEN: usize = 32;

/// The lock of a provider that runs on the store. It is released when dropped.
#[derive(Debug)]
pub struct ProviderLock {
    _file: Box<dyn BackendFile>,
}

impl ProviderLock {
    /// Takes the lock, and writes the id of this process into the lock file for people to read.
    pub(crate) fn take(backend: &dyn Backend, layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.provider_lock();
        let file = backend.open(&path, OpenMode::Create).map_err(|e| match StoreError::write("open", &path, e) {
            StoreError::ReadOnly { path, source, .. } if !layout.has_state() => StoreError::NeedsState { path, source },
            other => other,
        })?;
        if !file.try_lock().map_err(|e| StoreError::write("lock", &path, e))? {
            let text = temp::read_small(backend, &path, MAX_LOCK_LEN).ok().flatten().unwrap_or_default();
            let pid = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
            return Err(StoreError::ProviderRunning { lock: path, pid });
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all_at(pid.as_bytes(), 0))
            .map_err(|e| StoreError::write("write", &path, e))?;
        Ok(Self { _file: file })
    }
}

/// The lock for short operations that only one process may perform at a time.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: Box<dyn BackendFile>,
}

impl StoreLock {
    /// Waits for the lock and takes it.
    pub(crate) fn take(backend: &dyn Backend, layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.store_lock();
        let file = backend.open(&path, OpenMode::Create).map_err(|e| StoreError::write("open", &path, e))?;
        file.lock().map_err(|e| StoreError::write("lock", &path, e))?;
        Ok(Self { _file: file })
    }
}
