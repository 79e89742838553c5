//! Watches the files of the artifacts in all releases, inside the store and outside it. An artifact whose file has
//! changed is checked again: if it is wrong, it is withdrawn, and if a withdrawn artifact is right again, it is served
//! again.
//!
//! The state of each file is polled. Where inotify works, a change in a folder brings the next poll forward. A file is
//! hashed only after its state has been the same for [`STABLE`], and once for each state.

mod folders;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phase_core::Cid;
use phase_transfer::catalog::Catalog;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use folders::Folders;

/// The interval between two polls if nothing happens.
const POLL: Duration = Duration::from_secs(5);
/// The interval between two polls while a file is changing, and the shortest interval between two polls.
const FAST_POLL: Duration = Duration::from_millis(250);
/// A file is checked again after its state has been the same for this time, so that a file that is being written is not
/// hashed again and again.
const STABLE: Duration = Duration::from_secs(1);
/// A file whose state keeps changing for this time is withdrawn without being hashed.
const MAX_UNSTABLE: Duration = Duration::from_secs(5);
/// The maximum number of artifacts that are watched. A poll of so many takes about a tenth of a second.
const MAX_WATCHED: usize = 32 * 1024;
/// The capacity of the queue of events that the program has not read. Further events are only logged.
const MAX_EVENTS: usize = 1024;

/// A change to what a provider serves, because a file has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileEvent {
    /// An artifact is no longer served or announced, because a file on which it depends is damaged.
    Withdrawn {
        /// The artifact CID.
        artifact: Cid,
        /// The path of the damaged file.
        path: PathBuf,
        /// The damage, as a message that contains the path.
        reason: String,
    },
    /// A withdrawn artifact is served and announced again, because its file is right again.
    Restored {
        /// The artifact CID.
        artifact: Cid,
        /// The path of the file that was damaged.
        path: PathBuf,
    },
}

/// A handle of the task that watches the files. Dropping it ends the task.
pub(crate) struct Watcher {
    _stop: DropGuard,
}

impl Watcher {
    /// Starts to watch the files of `artifacts`, which the catalog serves.
    pub(crate) fn start(
        catalog: Arc<Catalog>,
        artifacts: watch::Receiver<BTreeSet<Cid>>,
    ) -> (Self, mpsc::Receiver<FileEvent>) {
        catalog.set_watched();
        let (events, receiver) = mpsc::channel(MAX_EVENTS);
        let stop = CancellationToken::new();
        let files = Files { catalog, watched: BTreeMap::new(), withdrawn: BTreeMap::new(), events };
        tokio::spawn(stop.clone().run_until_cancelled_owned(run(files, artifacts)));
        (Self { _stop: stop.drop_guard() }, receiver)
    }
}

async fn run(mut files: Files, mut artifacts: watch::Receiver<BTreeSet<Cid>>) {
    let mut withdrawn = files.catalog.withdrawn();
    let mut folders = Folders::default();
    loop {
        let now = Instant::now();
        let wanted = artifacts.borrow_and_update().clone();
        withdrawn.mark_unchanged();
        let polled = tokio::task::spawn_blocking(move || {
            files.set_artifacts(&wanted);
            let is_changing = files.poll(now);
            (files, is_changing)
        });
        // The task fails only if the code in it panics.
        let Ok((polled, is_changing)) = polled.await else { return };
        files = polled;
        folders.watch(files.folders());
        tokio::time::sleep(FAST_POLL).await;
        let wait = if is_changing { Duration::ZERO } else { POLL };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = folders.changed() => {}
            Ok(()) = artifacts.changed() => {}
            Ok(()) = withdrawn.changed() => {}
        }
    }
}

/// The state of a file: length, inode, device, mode, modification time and change time. `None` if it cannot be seen.
type State = Option<[i64; 8]>;

fn state(path: &Path) -> State {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let (size, inode, device) = (meta.len() as i64, meta.ino() as i64, meta.dev() as i64);
    let mode = i64::from(meta.mode());
    Some([size, inode, device, mode, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()])
}

/// An artifact whose files are watched.
struct Watched {
    /// The files of the artifact, see [`phase_core::Store::files`].
    files: Vec<PathBuf>,
    /// A damaged file that is none of `files`, such as a block of the artifact's index.
    damaged: Option<PathBuf>,
    /// The states of the files when the artifact was last opened; `None` if it must be checked again in any case.
    checked: Option<Vec<State>>,
    /// The changed states of the files, until they have been the same for [`STABLE`].
    changing: Option<Changing>,
}

struct Changing {
    states: Vec<State>,
    /// The time since which the states have been the same.
    same_since: Instant,
    /// The time of the first change.
    began: Instant,
}

/// The watched files.
struct Files {
    catalog: Arc<Catalog>,
    watched: BTreeMap<Cid, Watched>,
    /// The withdrawn artifacts for which an event was sent, with the paths of their damaged files.
    withdrawn: BTreeMap<Cid, PathBuf>,
    events: mpsc::Sender<FileEvent>,
}

impl Files {
    /// Starts to watch new artifacts, and stops watching those that are in no release any more.
    fn set_artifacts(&mut self, artifacts: &BTreeSet<Cid>) {
        self.watched.retain(|artifact, _| artifacts.contains(artifact));
        self.withdrawn.retain(|artifact, _| artifacts.contains(artifact));
        if !artifacts.is_empty() {
            self.catalog.retain_withdrawn(artifacts);
        }
        for artifact in artifacts {
            if self.watched.contains_key(artifact) || self.watched.len() >= MAX_WATCHED {
                continue;
            }
            // A failure, for instance because of too many open files, is repeated at the next poll.
            let Ok(files) = self.catalog.store().files(artifact) else { continue };
            // The file may have changed since the announcer opened the artifact, so it is opened once more. It is not
            // hashed if its seal still holds.
            self.watched.insert(*artifact, Watched { files, damaged: None, checked: None, changing: None });
        }
    }

    /// Compares the states of all files, and checks the artifacts whose files have changed. Sends an event for each
    /// artifact that is withdrawn or restored. Returns whether a file is changing.
    fn poll(&mut self, now: Instant) -> bool {
        self.note_withdrawn(&BTreeSet::new());
        let due: Vec<_> = self.watched.iter_mut().map(|(artifact, watched)| (*artifact, watched.poll(now))).collect();
        let mut checked = BTreeSet::new();
        for (artifact, due) in due {
            match due {
                Due::Check => {
                    self.check(artifact);
                    checked.insert(artifact);
                }
                Due::Withdraw(path) if !self.catalog.is_withdrawn(&artifact) => {
                    let reason = format!("{} is being written to", path.display());
                    self.catalog.withdraw(&artifact, &path, reason);
                }
                Due::No | Due::Withdraw(_) => {}
            }
        }
        self.note_withdrawn(&checked);
        self.watched.values().any(|watched| watched.changing.is_some())
    }

    fn check(&mut self, artifact: Cid) {
        let Some(watched) = self.watched.get_mut(&artifact) else { return };
        match self.catalog.recheck(&artifact) {
            Ok(_) => {
                watched.checked = watched.changing.take().map(|changing| changing.states);
                // An import may have replaced the file by a reference, or the other way round.
                if let Ok(files) = self.catalog.store().files(&artifact) {
                    watched.files = files;
                }
            }
            // The check is repeated at the next poll.
            Err(error) => tracing::warn!(%artifact, %error, "cannot check a file that has changed"),
        }
    }

    /// Sends events for the artifacts that were withdrawn or restored since the last call. `checked` are those whose files
    /// had the state in [`Watched::checked`] when they were withdrawn. Those of other artifacts are checked again.
    fn note_withdrawn(&mut self, checked: &BTreeSet<Cid>) {
        let now = self.catalog.withdrawn().borrow().clone();
        for (artifact, withdrawn) in &now {
            if self.withdrawn.insert(*artifact, withdrawn.path.clone()).is_none() {
                let (path, reason) = (withdrawn.path.clone(), withdrawn.reason.clone());
                self.send(FileEvent::Withdrawn { artifact: *artifact, path, reason });
                if let Some(watched) = self.watched.get_mut(artifact) {
                    watched.watch_damage(&withdrawn.path, checked.contains(artifact));
                }
            }
        }
        let restored: Vec<_> = self.withdrawn.keys().filter(|artifact| !now.contains_key(artifact)).copied().collect();
        for artifact in restored {
            if let Some(path) = self.withdrawn.remove(&artifact) {
                tracing::info!(%artifact, path = %path.display(), "serving this artifact again");
                self.send(FileEvent::Restored { artifact, path });
            }
        }
    }

    fn send(&self, event: FileEvent) {
        if let Err(error) = self.events.try_send(event) {
            tracing::debug!(%error, "nothing reads the events about files");
        }
    }

    /// Returns the folders that contain the watched files.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let files = self.watched.values().flat_map(Watched::files);
        files.filter_map(|file| file.parent()).map(Path::to_owned).collect()
    }
}

/// What to do about an artifact after a poll.
enum Due {
    No,
    /// Open the artifact again.
    Check,
    /// Withdraw the artifact, because this file keeps changing.
    Withdraw(PathBuf),
}

impl Watched {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(&self.damaged)
    }

    fn poll(&mut self, now: Instant) -> Due {
        let states: Vec<_> = self.files().map(|file| state(file)).collect();
        if self.checked.as_ref() == Some(&states) {
            self.changing = None;
            return Due::No;
        }
        match &mut self.changing {
            Some(changing) if changing.states == states => {
                if now - changing.same_since >= STABLE {
                    Due::Check
                } else {
                    Due::No
                }
            }
            Some(changing) => {
                let position = changing.states.iter().zip(&states).position(|(before, now)| before != now);
                let is_unstable = now - changing.began >= MAX_UNSTABLE;
                (changing.states, changing.same_since) = (states, now);
                match position.and_then(|position| self.files().nth(position)) {
                    Some(file) if is_unstable => Due::Withdraw(file.clone()),
                    _ => Due::No,
                }
            }
            none => {
                *none = Some(Changing { states, same_since: now, began: now });
                Due::No
            }
        }
    }

    /// Watches a damaged file, which may be another file than that of the artifact. Unless the artifact `was_checked` by
    /// the watcher, the state of its files when it was found damaged is unknown, and it is checked again.
    fn watch_damage(&mut self, path: &Path, was_checked: bool) {
        if path.is_absolute() && !self.files().any(|file| file == path) {
            self.damaged = Some(path.to_owned());
        }
        if !was_checked {
            self.checked = None;
        }
    }
}
