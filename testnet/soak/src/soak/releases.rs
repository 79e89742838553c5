//! Publishes the releases of a soak. Their files contain random bytes, and the hashes of the files are kept for
//! comparison.

use std::path::Path;
use std::sync::Arc;

use phase_client::Trust;
use phase_core::{
    ArtifactEntry, ArtifactIndex, ChunkerParams, Cid, Digest, Envelope, FileStore, HashAlgorithm, ImportOptions,
    Manifest, Name, PublishError, Publisher, Role, SigningKey, Store, TrustRoot, TrustedTime,
};

use super::error::SoakError;

/// The times of signing and of expiry of all signatures, in Unix seconds. Signatures are verified at the time `NOW`, so
/// that the clock is never read.
const NOW: u64 = 1;
const EXPIRES: u64 = 2;
/// The chunker parameters for one of the releases. Its chunks are small, so that a fetch of it takes many messages.
const SMALL_CHUNKS: ChunkerParams = match ChunkerParams::new(2 << 10, 8 << 10, 32 << 10) {
    Ok(params) => params,
    Err(_) => unreachable!(),
};
/// The sizes of the files of each release, in KiB. One release has many small files, one has a few larger files, and
/// one has a single file whose fetch takes a while.
const FILES_KIB: [&[usize]; 3] = [&[0, 1, 3, 8, 17, 33, 64, 90, 128, 200], &[700, 1300, 2100], &[12 << 10]];

/// All releases, and the trust root with which clients verify them.
pub(super) struct Releases {
    pub(super) trust: Trust,
    pub(super) all: Vec<Published>,
    publisher: Publisher,
    files: Vec<Vec<Vec<u8>>>,
}

/// A release that the soak has published.
pub(super) struct Published {
    pub(super) name: Name,
    pub(super) artifacts: Vec<Content>,
}

/// A published artifact, with the hash of its original file.
pub(super) struct Content {
    pub(super) cid: Cid,
    pub(super) index: Arc<ArtifactIndex>,
    sha256: Digest,
}

impl Content {
    /// Whether `bytes` equal the published file.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        HashAlgorithm::Sha2_256.digest(bytes) == self.sha256
    }
}

impl Releases {
    /// Generates the files of all releases, and publishes them into the store of the first provider.
    pub(super) fn publish_first(rng_seed: u64, store: &Path) -> Result<Self, SoakError> {
        let mut random = fastrand::Rng::with_seed(rng_seed);
        let mut bytes = |kib: &usize| (0..kib << 10).map(|_| random.u8(..)).collect::<Vec<_>>();
        let files = FILES_KIB.iter().map(|sizes| sizes.iter().map(&mut bytes).collect()).collect();
        let key = SigningKey::from_secret_bytes(&[7; 32]);
        let names: Vec<Name> =
            (0..FILES_KIB.len()).map(|n| format!("soak/r{n}").parse().expect("letters and digits")).collect();
        let root = TrustRoot::of_one_key(key.public(), [names[0].channel.clone()], NOW, EXPIRES);
        let signed = Envelope::signed(&root, [&key]).expect("a small payload").encode();
        let publisher = Publisher::new(&signed, vec![key]).map_err(PublishError::Manifest)?;
        let trust = Trust { root, time: TrustedTime(NOW) };
        let mut releases = Self { trust, all: Vec::new(), publisher, files };
        for (number, name) in names.into_iter().enumerate() {
            let artifacts = releases.put(store, number, &name)?;
            releases.all.push(Published { name, artifacts });
        }
        Ok(releases)
    }

    /// Publishes the same releases into the store of another provider.
    pub(super) fn publish(&self, store: &Path) -> Result<(), SoakError> {
        for (number, published) in self.all.iter().enumerate() {
            self.put(store, number, &published.name)?;
        }
        Ok(())
    }

    /// Returns the largest artifact of all releases.
    pub(super) fn largest(&self) -> &Content {
        let all = self.all.iter().flat_map(|release| &release.artifacts);
        all.max_by_key(|content| content.index.size()).expect("there are releases")
    }

    fn put(&self, store: &Path, number: usize, name: &Name) -> Result<Vec<Content>, SoakError> {
        let source = store.with_extension("source");
        let store = FileStore::open(store)?;
        let (mut entries, mut contents) = (Vec::new(), Vec::new());
        for (position, bytes) in self.files[number].iter().enumerate() {
            std::fs::write(&source, bytes).map_err(SoakError::Folder)?;
            let chunker = if number == 1 { SMALL_CHUNKS } else { ChunkerParams::default() };
            let artifact = store.import(&source, &ImportOptions::default().with_chunker(chunker), &mut |_| {})?;
            let (role, name) =
                (Role::FILE.parse().expect("a valid role"), position.to_string().parse().expect("digits"));
            entries.push(ArtifactEntry::new(role, name, artifact.cid(), artifact.index()));
            let sha256 = HashAlgorithm::Sha2_256.digest(bytes);
            contents.push(Content { cid: artifact.cid(), index: artifact.index().clone(), sha256 });
        }
        std::fs::remove_file(&source).map_err(SoakError::Folder)?;
        let manifest = Manifest::new(name, 1, NOW, EXPIRES, entries);
        self.publisher.make_visible(&store, &self.publisher.sign(&manifest, NOW)?)?;
        Ok(contents)
    }
}
