//! Locks between the processes that share a store. The operating system releases them when the process ends, even after
//! a crash.

use std::fmt;

use super::backend::{Backend, BackendFile, OpenMode};
use super::error::StoreError;
use super::layout::Layout;
use super::{space, temp};
use crate::name::Name;

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
        // A process that asks whether a provider is running tries the lock for a moment while it holds the store's lock.
        let needs_state = |error| match error {
            StoreError::ReadOnly { path, source, .. } if !layout.has_state() => StoreError::NeedsState { path, source },
            other => other,
        };
        let _lock = StoreLock::take(backend, layout).map_err(needs_state)?;
        let open = backend.open(&path, OpenMode::Create).map_err(|e| StoreError::write("open", &path, e));
        let file = open.map_err(needs_state)?;
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

/// The lock of a publisher on a name. It is released when dropped. While it is held, no other publisher that uses the
/// store reads the version of the name to publish the next one.
pub struct NameLock {
    /// Releases the lock when dropped.
    _guard: Box<dyn Send>,
}

impl NameLock {
    /// Makes the lock. `guard` releases it when dropped.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self { _guard: Box::new(guard) }
    }

    /// Waits for the lock file of a name and takes it.
    pub(crate) fn take(backend: &dyn Backend, layout: &Layout, name: &Name) -> Result<Self, StoreError> {
        let (folder, path) = (layout.locks(), layout.name_lock(name));
        backend.create_dir(&folder).map_err(|e| space::create_failed(backend, &folder, e))?;
        let file = backend.open(&path, OpenMode::Create).map_err(|e| space::create_failed(backend, &path, e))?;
        file.lock().map_err(|e| StoreError::write("lock", &path, e))?;
        Ok(Self::new(file))
    }
}

impl fmt::Debug for NameLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameLock").finish_non_exhaustive()
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
