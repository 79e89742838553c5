//! Publishes the release of a run in a store, and gives copies of this store to the nodes.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use phase_core::{
    Cid, Digest, Draft, Envelope, FileStore, Name, PublishError, Publisher, ReleaseFile, Role, SigningKey, TrustRoot,
};
use phase_report::lab::record::ArtifactRecord;
use phase_scenario::{Artifact, Kind, Size};

use crate::error::{LabError, failed};

/// The time for which signatures are valid, in seconds.
const LIFETIME: u64 = 7 * 24 * 60 * 60;
/// The number of bytes of a file that are generated or hashed at a time. In a sparse file, every second block of this
/// size contains only zeros.
const PART: usize = 1 << 20;
/// The distance between changed bytes in a damaged artifact, in bytes.
const DAMAGE_STEP: u64 = 64 << 10;

/// A release on disk: its files, a store that contains it, and the trust root for clients.
pub(crate) struct Release {
    folder: PathBuf,
    pub(crate) name: Name,
    pub(crate) artifacts: Vec<Published>,
}

/// A file of the release, as it was published.
pub(crate) struct Published {
    pub(crate) record: ArtifactRecord,
    cid: Cid,
    sha256: Digest,
}

impl Release {
    /// Generates files and publishes them. Stores the files, the release's store and the trust root in `folder`. `now`
    /// is in Unix seconds.
    pub(crate) fn publish(folder: &Path, artifacts: &[Artifact], rng_seed: u64, now: u64) -> Result<Self, LabError> {
        let release = Self {
            folder: folder.to_owned(),
            name: "testnet/any".parse().expect("a valid name"),
            artifacts: Vec::new(),
        };
        for folder in [release.files(), release.folder.clone()] {
            fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        }
        let store = FileStore::open(release.store())?;
        let mut rng = fastrand::Rng::with_seed(rng_seed);
        let mut files = Vec::new();
        for (number, artifact) in artifacts.iter().enumerate() {
            let filename = format!("artifact-{number}");
            let path = release.files().join(&filename);
            generate(&path, artifact, &mut rng).map_err(failed("write", &path))?;
            let role = Role::FILE.parse().expect("a valid role");
            files.push(ReleaseFile::new(role, filename.parse().expect("a valid file name"), path)?);
        }
        let key = SigningKey::generate()
            .map_err(|error| failed("generate a signing key for", &release.folder)(io::Error::other(error)))?;
        let root = TrustRoot::of_one_key(key.public(), [release.name.channel.clone()], now, now + LIFETIME);
        let root = Envelope::signed(&root, [&key]).expect("a small payload").encode();
        let publisher = Publisher::new(&root, vec![key]).map_err(PublishError::Manifest)?;
        let draft = Draft::new(&release.name, files, now, now + LIFETIME);
        let published = publisher.publish(&store, &draft, now, &mut |_| {})?;
        fs::write(release.root(), root).map_err(failed("write", &release.root()))?;
        let artifacts = published.manifest().artifacts.iter().zip(artifacts).map(|(entry, artifact)| Published {
            record: ArtifactRecord {
                filename: entry.filename.to_string(),
                size: artifact.size.0,
                kind: artifact.kind.to_string(),
            },
            cid: entry.cid,
            sha256: entry.sha256,
        });
        Ok(Self { artifacts: artifacts.collect(), ..release })
    }

    /// Returns the path of the trust root.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root.cbor")
    }

    /// Returns the folder with the generated files.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Copies the store that contains the release to the folder `to`, for a node.
    pub(crate) fn copy_store(&self, to: &Path) -> Result<(), LabError> {
        copy(&self.store(), to).map_err(failed("copy the store to", to))
    }

    /// Whether a store contains every artifact unchanged. Compares the SHA-256 of the files on disk.
    pub(crate) fn is_in_store(&self, store: &Path) -> bool {
        let sound =
            |file: &Published| sha256(&store.join("artifacts").join(file.cid.to_string())).ok() == Some(file.sha256);
        self.artifacts.iter().all(sound)
    }

    /// Whether a folder contains every file of the release, unchanged and under its file name.
    pub(crate) fn is_in_folder(&self, folder: &Path) -> bool {
        self.artifacts.iter().all(|file| sha256(&folder.join(&file.record.filename)).ok() == Some(file.sha256))
    }

    /// Damages every artifact in a store: inverts one of every [`DAMAGE_STEP`] bytes. A node may be serving from the
    /// store at the same time.
    pub(crate) fn damage(&self, store: &Path) -> Result<(), LabError> {
        for artifact in &self.artifacts {
            let path = store.join("artifacts").join(artifact.cid.to_string());
            damage(&path, artifact.record.size).map_err(failed("damage", &path))?;
        }
        Ok(())
    }
}

/// Generates a file of `size` bytes, publishes it as `testnet/any` into new stores, and writes the trust root for
/// clients to `root`. `now` is in Unix seconds.
///
/// # Errors
/// [`LabError`] if a file or store cannot be written.
pub fn publish(size: u64, now: u64, root: &Path, stores: &[PathBuf]) -> Result<(), LabError> {
    let first = stores.first().map_or(Path::new("."), PathBuf::as_path);
    // Generate the release in the folder of the first store, because the disk of a store must have space for the
    // release.
    let folder = first.join("release");
    let release = Release::publish(&folder, &[Artifact { size: Size(size), kind: Kind::Noise }], now, now)?;
    stores.iter().try_for_each(|store| release.copy_store(store))?;
    // Write the trust root last, so that all stores are complete once the file of the root exists.
    fs::copy(release.root(), root).map_err(failed("write", root))?;
    fs::remove_dir_all(&folder).map_err(failed("remove", &folder))
}

fn generate(path: &Path, artifact: &Artifact, rng: &mut fastrand::Rng) -> io::Result<()> {
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
    // The file must be made writable first, because a store makes the files of its artifacts read-only.
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
        assert!(release.is_in_store(&copy) && release.is_in_folder(&release.files()));
        release.damage(&copy).unwrap();
        assert!(!release.is_in_store(&copy), "the damage was not noticed");
        assert!(release.is_in_store(&release.store()), "damaging the copy changed the original");
        assert!(!release.is_in_store(&folder.path().join("nowhere")));
    }

    #[test]
    fn the_same_rng_seed_makes_the_same_files() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, other) = (release(one.path()), release(other.path()));
        assert!(one.artifacts.iter().zip(&other.artifacts).all(|(one, other)| one.sha256 == other.sha256));
        assert_ne!(one.artifacts[0].sha256, one.artifacts[1].sha256);
    }
}
