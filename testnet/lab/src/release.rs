//! What is published, and a store of it for every seed.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use phase_core::{
    Cid, Digest, Draft, Envelope, FileStore, Name, PublishError, Publisher, ReleaseFile, Role, SigningKey, TrustRoot,
};
use phase_report::lab::record::ArtifactRecord;
use phase_scenario::{Artifact, Kind, Size};

use crate::error::{LabError, failed};

/// How long what is signed is valid, in seconds.
const LIFETIME: u64 = 7 * 24 * 60 * 60;
/// Bytes that are made up at a time; every second such part of a sparse file is zeros.
const PART: usize = 1 << 20;
/// How far apart the bytes are that are changed in a damaged artifact.
const DAMAGE_STEP: u64 = 64 << 10;

/// A release on disk: its files, a store, and the root that its clients trust.
pub(crate) struct Release {
    folder: PathBuf,
    pub(crate) name: Name,
    pub(crate) artifacts: Vec<Published>,
}

/// A file of the release.
pub(crate) struct Published {
    pub(crate) record: ArtifactRecord,
    cid: Cid,
    sha256: Digest,
}

impl Release {
    /// Makes up files, publishes them, and leaves everything in a folder. `now` is in Unix seconds.
    pub(crate) fn publish(folder: &Path, artifacts: &[Artifact], seed: u64, now: u64) -> Result<Self, LabError> {
        let release = Self {
            folder: folder.to_owned(),
            name: "testnet/any".parse().expect("it is a valid name"),
            artifacts: Vec::new(),
        };
        for folder in [release.files(), release.folder.clone()] {
            fs::create_dir_all(&folder).map_err(failed("use", &folder))?;
        }
        let store = FileStore::open(release.store())?;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut files = Vec::new();
        for (number, artifact) in artifacts.iter().enumerate() {
            let filename = format!("artifact-{number}");
            let path = release.files().join(&filename);
            make_up(&path, artifact, &mut rng).map_err(failed("use", &path))?;
            let role = Role::FILE.parse().expect("it is a valid role");
            files.push(ReleaseFile::new(role, filename.parse().expect("it is a valid name"), path)?);
        }
        let key = SigningKey::generate().map_err(|error| failed("use", &release.folder)(io::Error::other(error)))?;
        let root = TrustRoot::of_one_key(key.public(), [release.name.channel.clone()], now, now + LIFETIME);
        let root = Envelope::signed(&root, [&key]).expect("a small payload").encode();
        let publisher = Publisher::new(&root, vec![key]).map_err(PublishError::Manifest)?;
        let draft = Draft::new(&release.name, files, now, now + LIFETIME);
        let made = publisher.publish(&store, &draft, now, &mut |_| {})?;
        fs::write(release.root(), root).map_err(failed("use", &release.root()))?;
        let published = made.manifest().artifacts.iter().zip(artifacts).map(|(entry, artifact)| Published {
            record: ArtifactRecord {
                filename: entry.filename.to_string(),
                size: artifact.size.0,
                kind: artifact.kind.to_string(),
            },
            cid: entry.cid,
            sha256: entry.sha256,
        });
        let published = published.collect();
        Ok(Self { artifacts: published, ..release })
    }

    /// The trust root.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root.cbor")
    }

    /// The folder of the files themselves.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Gives a node a store of its own with everything in it.
    pub(crate) fn copy_store(&self, to: &Path) -> Result<(), LabError> {
        copy(&self.store(), to).map_err(failed("use", to))
    }

    /// Whether a store has every file as it was published, by SHA-256 of what is on disk.
    pub(crate) fn is_in(&self, store: &Path) -> bool {
        let sound =
            |file: &Published| sha256(&store.join("artifacts").join(file.cid.to_string())).ok() == Some(file.sha256);
        self.artifacts.iter().all(sound)
    }

    /// Whether a folder has every file under its name.
    pub(crate) fn is_among(&self, folder: &Path) -> bool {
        self.artifacts.iter().all(|file| sha256(&folder.join(&file.record.filename)).ok() == Some(file.sha256))
    }

    /// Changes single bytes of everything in a store, while it is served.
    pub(crate) fn damage(&self, store: &Path) -> Result<(), LabError> {
        for artifact in &self.artifacts {
            let path = store.join("artifacts").join(artifact.cid.to_string());
            damage(&path, artifact.record.size).map_err(failed("use", &path))?;
        }
        Ok(())
    }
}

/// Makes up a file of this many bytes, publishes it as `testnet/any` into new stores, and writes the root that clients need.
/// `now` is in Unix seconds.
///
/// # Errors
/// If something cannot be written.
pub fn publish(size: u64, now: u64, root: &Path, stores: &[PathBuf]) -> Result<(), LabError> {
    let first = stores.first().map_or(Path::new("."), PathBuf::as_path);
    // Beside the stores: there is room.
    let folder = first.join("release");
    let release = Release::publish(&folder, &[Artifact { size: Size(size), kind: Kind::Noise }], now, now)?;
    stores.iter().try_for_each(|store| release.copy_store(store))?;
    // Last: whoever finds it finds all the rest.
    fs::copy(release.root(), root).map_err(failed("use", root))?;
    fs::remove_dir_all(&folder).map_err(failed("use", &folder))
}

fn make_up(path: &Path, artifact: &Artifact, rng: &mut fastrand::Rng) -> io::Result<()> {
    let mut file = File::create(path)?;
    let (mut left, mut part, mut number) = (artifact.size.0, vec![0_u8; PART], 0_u64);
    while left > 0 {
        let len = left.min(PART as u64) as usize;
        match artifact.kind {
            Kind::Sparse if number % 2 == 1 => part.fill(0),
            Kind::Sparse | Kind::Noise => rng.fill(&mut part[..len]),
        }
        file.write_all(&part[..len])?;
        (left, number) = (left - len as u64, number + 1);
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), &target)?),
        }
    }
    Ok(())
}

fn damage(path: &Path, size: u64) -> io::Result<()> {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
    // Artifacts cannot be written by accident.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    for offset in (0..size).step_by(DAMAGE_STEP as usize) {
        file.read_exact_at(&mut byte, offset)?;
        file.write_all_at(&[!byte[0]], offset)?;
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<Digest> {
    use sha2::Digest as _;
    let (mut file, mut hash, mut part) = (File::open(path)?, sha2::Sha256::new(), vec![0; PART]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(Digest::new(hash.finalize().into())),
            len => hash.update(&part[..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(folder: &Path) -> Release {
        let artifacts =
            [(300_000, Kind::Noise), (3 << 20, Kind::Sparse)].map(|(size, kind)| Artifact { size: Size(size), kind });
        Release::publish(folder, &artifacts, 1, 1_000).unwrap()
    }

    #[test]
    fn a_copy_is_whole_until_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (release, copy) = (release(folder.path()), folder.path().join("copy"));
        release.copy_store(&copy).unwrap();
        assert!(release.is_in(&copy) && release.is_among(&release.files()));
        release.damage(&copy).unwrap();
        assert!(!release.is_in(&copy), "the damage is not seen");
        assert!(release.is_in(&release.store()), "a copy shares its bytes with the original");
        assert!(!release.is_in(&folder.path().join("nowhere")));
    }

    #[test]
    fn the_same_seed_makes_the_same_files() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, other) = (release(one.path()), release(other.path()));
        assert!(one.artifacts.iter().zip(&other.artifacts).all(|(one, other)| one.sha256 == other.sha256));
        assert_ne!(one.artifacts[0].sha256, one.artifacts[1].sha256);
    }
}
