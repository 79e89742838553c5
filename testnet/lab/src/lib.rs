//! Real nodes in containers, with addresses of their own and limited links.
//!
//! ```text
//! ScenarioFile ──► experiment ──► Record ──► phase-report: summary, pictures, index
//!                    │
//!                    ├── Lab     what is made on this machine: image, network, folder; and how it goes again
//!                    └── Stage   one distribution from start to end: by Phase, undisturbed, over HTTP
//!                          ├── Node      a container: its program, its link, what it prints and uses
//!                          └── Timeline  which events are due
//! ```
//!
//! Invariant: whatever is made has the label of its run, and nothing without that label is ever touched.

mod console;
mod engine;
mod experiment;
mod lab;
mod link;
mod node;
mod observe;
mod promises;
mod relay;
mod release;
mod stage;
mod timeline;

pub use console::{Console, Interrupted};
pub use engine::CommandError;
pub use experiment::{ExperimentError, Options, run, up};
pub use lab::LabError;
pub use release::ReleaseError;
pub use stage::StageError;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use phase_scenario::{Artifact, Kind, Size};
use release::Release;

/// Waits until nobody writes to `lifeline` any more, then removes what is left of a run.
///
/// # Errors
/// If something cannot be removed.
pub fn reap(id: &str, folder: &Path, lifeline: &mut dyn Read) -> Result<(), LabError> {
    lab::reap(id, folder, lifeline)
}

/// Removes everything that is kept or left over. Returns the ids of the runs that it belonged to, and of those that go on.
///
/// # Errors
/// If Docker cannot be asked, or something cannot be removed.
pub fn take_down() -> Result<(Vec<String>, Vec<String>), LabError> {
    lab::take_down()
}

/// Makes up a file of this many bytes, publishes it as `testnet/any` into new stores, and writes the root that clients need.
/// `now` is in Unix seconds.
///
/// # Errors
/// If something cannot be written.
pub fn publish(size: u64, now: u64, root: &Path, stores: &[PathBuf]) -> Result<(), ReleaseError> {
    let failed = |path: &Path, source| ReleaseError::File { path: path.to_owned(), source };
    let first = stores.first().map_or(Path::new("."), PathBuf::as_path);
    // Beside the stores: there is room.
    let folder = first.join("release");
    let release = Release::publish(&folder, &[Artifact { size: Size(size), kind: Kind::Noise }], now, now)?;
    stores.iter().try_for_each(|store| release.copy_store(store))?;
    // Last: whoever finds it finds all the rest.
    fs::copy(release.root(), root).map_err(|source| failed(root, source))?;
    fs::remove_dir_all(&folder).map_err(|source| failed(&folder, source))
}
