//! Releases of a store: finding the one that a person names, and showing it.

use phase_cli::{Fault, printable};
use phase_core::store::{FileStore, Selector, StoredRelease};
use phase_core::{Cid, Failure};
use serde_json::{Value, json};

/// Finds the release that a selector names.
pub(super) fn find(store: &FileStore, selector: &Selector) -> Result<StoredRelease, Fault> {
    let releases = store.releases()?;
    selector.find(&releases).cloned().ok_or_else(|| not_here(store, selector))
}

pub(super) fn not_here(store: &FileStore, selector: &Selector) -> Fault {
    let message = format!("{selector} is not in the store at {}", store.path().display());
    Fault::new(Failure::NotFound, message).hint("`phase store ls` shows what is in the store")
}

pub(super) fn release_json(release: &StoredRelease) -> Value {
    json!({
        "name": release.name.to_string(),
        "version": release.version,
        "release": release.label,
        "manifest": release.manifest.to_string(),
        "issued_at": release.issued_at,
        "current": release.is_current,
        "pinned": release.is_pinned,
    })
}

/// Formats a release as name, version and, if it says something else, label.
pub(super) fn release_text(release: &StoredRelease) -> String {
    let label = printable(&release.label);
    if label == release.version.to_string() { release.to_string() } else { format!("{release} ({label})") }
}

pub(super) fn cids(cids: &[Cid]) -> Vec<String> {
    cids.iter().map(ToString::to_string).collect()
}
