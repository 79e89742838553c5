//! The manifest: the signed list of the artifacts of one release of a name.
//!
//! The same signatures cover every artifact's CID, size and SHA-256, so artifacts of different releases cannot be
//! mixed.

mod filename;

pub use filename::{FileName, FileNameError, MAX_FILE_NAME_LEN, MAX_PART_LEN};

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cid::{Cid, Codec, Digest};
use crate::codec::V1;
use crate::envelope::Payload;
use crate::index::ArtifactIndex;
use crate::name::{Label, Name};

/// The maximum number of artifacts in a manifest. The maximum length of an envelope is usually reached before, at about
/// 6,000 artifacts.
pub const MAX_ARTIFACTS: usize = 16_384;
/// The maximum length of a kernel command line, in bytes. Linux has this limit or a lower limit on every architecture.
pub const MAX_CMDLINE_LEN: usize = 4096;
/// The maximum length of a release label or board, in bytes.
pub const MAX_TEXT_LEN: usize = 128;

/// The role of an artifact, which says what the artifact is for: `kernel`, `initramfs`, `rootfs`, `dtb`, `file`, or a
/// label that the publisher chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(Label);

impl Role {
    /// The role of a kernel image.
    pub const KERNEL: &'static str = "kernel";
    /// The role of an initial RAM file system.
    pub const INITRAMFS: &'static str = "initramfs";
    /// The role of a root file system.
    pub const ROOTFS: &'static str = "rootfs";
    /// The role of a device tree.
    pub const DTB: &'static str = "dtb";
    /// The role of any other file.
    pub const FILE: &'static str = "file";

    /// Returns the role as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        text.parse().map(Self).map_err(|_| RoleError(text.chars().take(MAX_TEXT_LEN).collect()))
    }
}

/// The error for a text that is not a [`Role`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a role: expected 1 to 64 characters: a-z 0-9 . _ - beginning with a letter or digit, for instance \
     kernel"
)]
pub struct RoleError(String);

/// The entry of one artifact in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactEntry {
    /// The role of the artifact.
    pub role: Role,
    /// The path of the file, relative to the folder into which the release is fetched.
    pub filename: FileName,
    /// The size of the artifact in bytes.
    pub size: u64,
    /// The artifact CID.
    pub cid: Cid,
    /// The SHA-256 of the whole artifact.
    pub sha256: Digest,
}

impl ArtifactEntry {
    /// Makes the entry of the artifact with this CID and index.
    pub fn new(role: Role, filename: FileName, cid: Cid, index: &ArtifactIndex) -> Self {
        Self { role, filename, size: index.size(), cid, sha256: index.sha256() }
    }

    /// Returns whether the size and the SHA-256 of `index` equal those of this entry. The CIDs are not compared, so the
    /// caller must have loaded `index` by the CID of this entry.
    pub fn agrees_with(&self, index: &ArtifactIndex) -> bool {
        self.size == index.size() && self.sha256 == index.sha256()
    }
}

/// The manifest of one release of a name. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the manifest format.
    pub v: V1,
    /// The channel of the release.
    pub channel: Label,
    /// The architecture for which the release is made.
    pub arch: Label,
    /// The only board for which the release is made, or `None` if the release is for every board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// The version of the release. It grows with each release of the name, and clients refuse an older version.
    pub version: u64,
    /// The release label, which is shown to people.
    pub release: String,
    /// The time at which the release was issued.
    pub issued_at: u64,
    /// The time at which the release expires. From then on, clients refuse the release.
    pub expires_at: u64,
    /// The entries of the artifacts in this release.
    pub artifacts: Vec<ArtifactEntry>,
    /// The kernel command line of the release, or `None` if the release has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
}

impl Manifest {
    /// Makes the manifest of a release of `name`, for every board and without a kernel command line. The release label
    /// is the version.
    pub fn new(name: &Name, version: u64, issued_at: u64, expires_at: u64, artifacts: Vec<ArtifactEntry>) -> Self {
        Self {
            v: V1,
            channel: name.channel.clone(),
            arch: name.arch.clone(),
            board: None,
            version,
            release: version.to_string(),
            issued_at,
            expires_at,
            artifacts,
            cmdline: None,
        }
    }

    /// Returns the name of the release.
    pub fn name(&self) -> Name {
        Name { channel: self.channel.clone(), arch: self.arch.clone() }
    }

    /// Returns whether the release may be used on `board`.
    pub fn is_for_board(&self, board: &str) -> bool {
        self.board.as_deref().is_none_or(|only| only == board)
    }

    /// Returns the first artifact that has `role`, or `None`.
    pub fn artifact(&self, role: &str) -> Option<&ArtifactEntry> {
        self.artifacts.iter().find(|entry| entry.role.as_str() == role)
    }
}

impl Payload for Manifest {
    const TYPE: &'static str = "phase/manifest/v1";
    type Invalid = ManifestError;

    fn check(&self) -> Result<(), ManifestError> {
        if self.artifacts.is_empty() || self.artifacts.len() > MAX_ARTIFACTS {
            return Err(ManifestError::Count(self.artifacts.len()));
        }
        if self.expires_at <= self.issued_at {
            return Err(ManifestError::Lifetime);
        }
        check_text("release label", Some(&self.release), MAX_TEXT_LEN)?;
        check_text("board", self.board.as_deref(), MAX_TEXT_LEN)?;
        check_text("command line", self.cmdline.as_deref(), MAX_CMDLINE_LEN)?;
        check_artifacts(&self.artifacts)
    }
}

fn check_text(what: &'static str, text: Option<&str>, max: usize) -> Result<(), ManifestError> {
    let fits = |text: &str| (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
    if text.is_none_or(fits) { Ok(()) } else { Err(ManifestError::Text { what, max }) }
}

/// Checks that the sum of the sizes does not overflow, that every CID has the codec of an artifact CID, and that the
/// file names can exist together in one folder.
fn check_artifacts(artifacts: &[ArtifactEntry]) -> Result<(), ManifestError> {
    let mut names = BTreeSet::new();
    let mut total = 0u64;
    for entry in artifacts {
        total = total.checked_add(entry.size).ok_or(ManifestError::TotalSize)?;
        if entry.cid.codec() != Codec::DagCbor {
            return Err(ManifestError::NotAnIndex(entry.filename.clone()));
        }
        if !names.insert(entry.filename.as_str()) {
            return Err(ManifestError::Duplicate(entry.filename.clone()));
        }
    }
    let inside_a_file = |entry: &&ArtifactEntry| entry.filename.folders().any(|folder| names.contains(folder));
    match artifacts.iter().find(inside_a_file) {
        Some(entry) => Err(ManifestError::FileAsFolder(entry.filename.clone())),
        None => Ok(()),
    }
}

/// The reason why a manifest is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest lists no artifact, or more than [`MAX_ARTIFACTS`].
    #[error("the number of artifacts is {0}: it must be 1 to {MAX_ARTIFACTS}")]
    Count(usize),
    /// The expiry is not later than the time of issue.
    #[error("it expires before it is issued")]
    Lifetime,
    /// A text is empty, too long, or contains control characters.
    #[error("{what} must have 1 to {max} bytes and no control characters")]
    Text {
        /// The field whose text was refused, for instance `board`.
        what: &'static str,
        /// The maximum length of the text, in bytes.
        max: usize,
    },
    /// The sum of the artifact sizes overflows a `u64`.
    #[error("the sum of the artifact sizes is 2^64 bytes or more")]
    TotalSize,
    /// An artifact's CID has the codec of a chunk.
    #[error("the CID of {0} is not an artifact CID: its codec must be dag-cbor")]
    NotAnIndex(FileName),
    /// Two artifacts have the same file name.
    #[error("two artifacts are called {0}")]
    Duplicate(FileName),
    /// The file name of an artifact contains the file name of another artifact as a folder.
    #[error("{0} is inside a folder whose name is the file name of another artifact")]
    FileAsFolder(FileName),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Envelope, EnvelopeError};

    fn entry(filename: &str) -> ArtifactEntry {
        ArtifactEntry {
            role: Role::FILE.parse().unwrap(),
            filename: filename.parse().unwrap(),
            size: 5,
            cid: Cid::of_block(b"index"),
            sha256: Digest::new([1; 32]),
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            v: V1,
            channel: "stable".parse().unwrap(),
            arch: "x86_64".parse().unwrap(),
            board: None,
            version: 7,
            release: "2025.1".to_owned(),
            issued_at: 1_700_000_000,
            expires_at: 1_800_000_000,
            artifacts: vec![entry("vmlinuz")],
            cmdline: None,
        }
    }

    #[test]
    fn the_bytes_of_a_manifest_do_not_change() {
        let full = Manifest { board: Some("rpi,4".to_owned()), cmdline: Some("quiet".to_owned()), ..manifest() };
        assert_eq!(
            hex::encode(crate::codec::to_dag_cbor(&manifest())),
            concat!(
                "a86176016461726368667838365f3634676368616e6e656c66737461626c656772656c6561736566323032352e3167766572",
                "73696f6e076961727469666163747381a563636964d82a58250001711e20aaa6dc8a27328ce8cb8fc0d7a46c2774d23a9db2",
                "b642477ca4b420102d359c4564726f6c656466696c656473697a650566736861323536582001010101010101010101010101",
                "010101010101010101010101010101010101016866696c656e616d6567766d6c696e757a696973737565645f61741a6553f1",
                "006a657870697265735f61741a6b49d200",
            )
        );
        assert_eq!(Envelope::unsigned(&full).unwrap().payload_unverified::<Manifest>().unwrap(), full);
    }

    #[test]
    fn an_invalid_manifest_is_refused() {
        let change = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.check()
        };
        let text = |what, max| Err(ManifestError::Text { what, max });
        let name = |text: &str| text.parse::<FileName>().unwrap();
        assert_eq!(change(|_| {}), Ok(()));
        assert_eq!(change(|m| m.artifacts.clear()), Err(ManifestError::Count(0)));
        assert_eq!(change(|m| m.artifacts = vec![entry("a"); MAX_ARTIFACTS + 1]), Err(ManifestError::Count(16_385)));
        assert_eq!(change(|m| m.expires_at = m.issued_at), Err(ManifestError::Lifetime));
        assert_eq!(change(|m| m.release.clear()), text("release label", 128));
        assert_eq!(change(|m| m.release = "\u{1b}[2J".to_owned()), text("release label", 128));
        assert_eq!(change(|m| m.board = Some("b".repeat(129))), text("board", 128));
        assert_eq!(change(|m| m.cmdline = Some("quiet\nsplash".to_owned())), text("command line", 4096));
        assert_eq!(change(|m| m.artifacts.push(entry("vmlinuz"))), Err(ManifestError::Duplicate(name("vmlinuz"))));
        let inside = Err(ManifestError::FileAsFolder(name("vmlinuz/a/b")));
        assert_eq!(change(|m| m.artifacts.push(entry("vmlinuz/a/b"))), inside);
        assert_eq!(change(|m| m.artifacts.push(entry("vmlinuz.d/b"))), Ok(()));
        assert_eq!(
            change(|m| {
                m.artifacts.push(entry("b"));
                m.artifacts[1].size = u64::MAX;
            }),
            Err(ManifestError::TotalSize)
        );
        assert_eq!(
            change(|m| {
                let hash = crate::cid::HashAlgorithm::Blake3;
                m.artifacts[0].cid = Cid::new(Codec::Raw, hash, hash.digest(b"chunk"));
            }),
            Err(ManifestError::NotAnIndex(name("vmlinuz")))
        );
    }

    #[test]
    fn a_manifest_may_list_5000_files_and_is_refused_if_it_is_too_large() {
        let of = |count: usize| {
            let artifacts = (0..count).map(|i| entry(&format!("usr/share/some/folder/file-{i:05}.conf"))).collect();
            Envelope::unsigned(&Manifest { artifacts, ..manifest() })
        };
        assert!(of(1000).is_ok() && of(5000).is_ok());
        assert!(matches!(of(MAX_ARTIFACTS), Err(EnvelopeError::PayloadTooLarge { .. })));
    }

    #[test]
    fn a_manifest_without_a_board_is_for_every_board() {
        let mut manifest = manifest();
        assert!(manifest.is_for_board("rpi,4"));
        manifest.board = Some("rpi,4".to_owned());
        assert!(manifest.is_for_board("rpi,4") && !manifest.is_for_board("rpi,5"));
    }
}
