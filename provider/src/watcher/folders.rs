//! Notices changes in folders by inotify, where the system has it. The names of the changed files are not used, so a flood
//! of changes costs no memory.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// The maximum number of folders that are watched. The system permits each user 8,192 or more.
const MAX_FOLDERS: usize = 1024;
/// The length of the buffer for events, in bytes. It has room for at least one event with the longest name.
const BUFFER: usize = 4096;

/// The watched folders.
#[derive(Default)]
pub(super) struct Folders {
    paths: BTreeSet<PathBuf>,
    inotify: Option<AsyncFd<OwnedFd>>,
}

impl Folders {
    /// Watches these folders and no others. A folder that cannot be watched is left out, because its files are polled.
    pub(super) fn watch(&mut self, paths: BTreeSet<PathBuf>) {
        if self.inotify.is_none() || !self.paths.is_subset(&paths) {
            self.inotify = start().inspect_err(|error| tracing::debug!(%error, "no inotify: files are polled")).ok();
        }
        let Some(inotify) = &self.inotify else { return };
        let changes = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        // Adding a watch again has no effect, unless another folder has got this path meanwhile.
        for path in paths.iter().take(MAX_FOLDERS) {
            if let Err(errno) = inotify::add_watch(inotify.get_ref(), path, changes) {
                tracing::debug!(path = %path.display(), %errno, "cannot watch this folder: its files are polled");
            }
        }
        self.paths = paths;
    }

    /// Waits until something has changed in a folder since the last call.
    pub(super) async fn changed(&self) {
        let Some(inotify) = &self.inotify else { return std::future::pending().await };
        let Ok(mut guard) = inotify.readable().await else { return std::future::pending().await };
        // All events are taken, so that the next call waits for new ones.
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        while let Ok((taken, _)) = rustix::io::read(inotify.get_ref(), &mut buffer) {
            if taken.is_empty() {
                break;
            }
        }
        guard.clear_ready();
    }
}

#[expect(deprecated, reason = "the safe call is sound for a descriptor that its value owns, and `unsafe` is forbidden")]
fn start() -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)
}
