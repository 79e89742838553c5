//! Tests that a provider withdraws a release when one of its files changes, and announces it again when the file is
//! right again. This applies to files inside the store and to files that were published by reference.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use phase_core::publish::{Draft, Publisher, ReleaseFile};
use phase_core::{Cid, Envelope, FileStore, ImportMode, ImportOptions, Name, SigningKey, Store as _, TrustRoot};
use phase_provider::{FileEvent, Provider};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

use super::support::{in_time, source, start, until};

const LEN: usize = 300_000;

/// A provider in a network with another node, and a release of one file.
struct Watched {
    _folder: TempDir,
    other: Provider,
    provider: Provider,
    events: Receiver<FileEvent>,
    cid: Cid,
    /// The file with the content of the artifact.
    file: PathBuf,
    keys: usize,
}

impl Watched {
    async fn start(mode: ImportMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cid, file, keys) = publish(folder.path(), mode);
        let other = start(&folder.path().join("other"), &[]).await;
        let mut provider = start(&folder.path().join("store"), &[source(other.node()).await]).await;
        let events = provider.take_file_events().unwrap();
        let watched = Self { _folder: folder, other, provider, events, cid, file, keys };
        watched.is_announced().await;
        watched
    }

    async fn is_announced(&self) {
        let keys = self.keys;
        self.provider.announced().wait_for(|announced| announced.done == keys).await.unwrap();
        until(async || self.other.node().dht_stats().await.unwrap().providers == keys).await;
    }

    /// Waits until the artifact is withdrawn and no other node has a record of the release.
    async fn is_withdrawn(&mut self) {
        match self.events.recv().await.unwrap() {
            FileEvent::Withdrawn { artifact, path, reason } => {
                assert_eq!((artifact, &path), (self.cid, &self.file));
                assert!(reason.contains(self.file.to_str().unwrap()), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        until(async || self.other.node().dht_stats().await.unwrap().providers == 0).await;
        let catalog = self.provider.catalog().clone();
        assert!(catalog.content(&self.cid).unwrap().is_none());
    }

    /// Waits until the artifact is served and announced again.
    async fn is_restored(&mut self) {
        let event = self.events.recv().await.unwrap();
        assert_eq!(event, FileEvent::Restored { artifact: self.cid, path: self.file.clone() });
        self.is_announced().await;
        assert!(self.provider.catalog().content(&self.cid).unwrap().is_some());
    }
}

fn bytes() -> Vec<u8> {
    (0..LEN as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).take(LEN).collect()
}

/// Publishes a release of one file. Returns the artifact CID, the file with its content and the number of DHT keys.
fn publish(folder: &Path, mode: ImportMode) -> (Cid, PathBuf, usize) {
    let name: Name = "stable/x86_64".parse().unwrap();
    let files = folder.join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("image"), bytes()).unwrap();
    let key = SigningKey::from_secret_bytes(&[1; 32]);
    let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], 500, 5_000);
    let root = Envelope::signed(&root, [&key]).unwrap().encode();
    let draft = Draft::new(&name, ReleaseFile::all_in(&files).unwrap(), 500, 5_000);
    let draft = draft.with_import(ImportOptions::default().with_mode(mode));
    let store = FileStore::open(folder.join("store")).unwrap();
    let release = Publisher::new(&root, vec![key]).unwrap().publish(&store, &draft, 500, &mut |_| {}).unwrap();
    let cid = release.manifest().artifacts[0].cid;
    let file = store.artifact(&cid).unwrap().unwrap().path().unwrap();
    (cid, file, name.keys().len() + 2)
}

/// Changes one byte, and restores the modification time, so that only the change time reveals it.
fn flip(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1000).unwrap();
    file.set_modified(modified).unwrap();
}

/// A change to a file: its name, the function that makes it, and the function that repairs the file.
type Change = (&'static str, fn(&Path), fn(&Path));

const CHANGES: [Change; 5] = [
    ("one byte changed, modification time restored", flip, flip),
    (
        "truncated, and written again",
        |path| OpenOptions::new().write(true).open(path).unwrap().set_len(1000).unwrap(),
        |path| fs::write(path, bytes()).unwrap(),
    ),
    ("removed, and made again", |path| fs::remove_file(path).unwrap(), |path| fs::write(path, bytes()).unwrap()),
    (
        "moved away and back",
        |path| fs::rename(path, path.with_extension("away")).unwrap(),
        |path| fs::rename(path.with_extension("away"), path).unwrap(),
    ),
    (
        "replaced by renaming, twice",
        |path| {
            fs::write(path.with_extension("new"), vec![7; LEN]).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
        |path| {
            fs::write(path.with_extension("new"), bytes()).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
    ),
];

async fn every_change_is_noticed(mode: ImportMode) {
    in_time(async {
        let mut watched = Watched::start(mode).await;
        for (change, apply, repair) in CHANGES {
            println!("{change}");
            if mode == ImportMode::Copy {
                // Artifacts inside the store are read-only.
                fs::set_permissions(&watched.file, fs::Permissions::from_mode(0o644)).unwrap();
            }
            apply(&watched.file);
            watched.is_withdrawn().await;
            repair(&watched.file);
            watched.is_restored().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_reference_is_withdrawn_and_announced_again_when_the_file_is_back() {
    every_change_is_noticed(ImportMode::Reference).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_artifact_is_withdrawn_and_announced_again_after_its_repair() {
    every_change_is_noticed(ImportMode::Copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_only_touched_is_served_without_interruption() {
    in_time(async {
        let mut watched = Watched::start(ImportMode::Reference).await;
        let file = OpenOptions::new().write(true).open(&watched.file).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        // A change that is noticed afterwards is the first event.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert!(watched.events.try_recv().is_err());
        flip(&watched.file);
        watched.is_withdrawn().await;
    })
    .await;
}
