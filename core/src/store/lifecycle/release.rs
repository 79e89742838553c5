//! The releases in a store, and the texts with which people name them.

use std::fmt;
use std::str::FromStr;

use crate::cid::Cid;
use crate::failure::{Fails, Failure};
use crate::name::Name;

/// A release whose manifest is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRelease {
    /// The manifest CID.
    pub manifest: Cid,
    /// The name of the release.
    pub name: Name,
    /// The version of the release.
    pub version: u64,
    /// The release label.
    pub label: String,
    /// The time at which the release was issued, as Unix time in seconds.
    pub issued_at: u64,
    /// Whether the ref of the name leads to this release.
    pub is_current: bool,
    /// Whether the manifest is pinned.
    pub is_pinned: bool,
}

impl fmt::Display for StoredRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// The text with which a person names content of a store: `stable/x86_64` (the current release of a name, or its
/// newest release if none is current), `stable/x86_64@7` (one version), or a CID of a manifest or an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The current release of a name, or its newest release if none is current.
    Name(Name),
    /// One version of a name.
    Version(Name, u64),
    /// A manifest or an artifact.
    Cid(Cid),
}

impl Selector {
    /// Returns the release in `releases` that this text names. `releases` must be in the order that
    /// [`FileStore::releases`](crate::store::FileStore::releases) returns.
    pub fn find<'a>(&self, releases: &'a [StoredRelease]) -> Option<&'a StoredRelease> {
        let mut named = releases.iter().filter(|release| match self {
            Self::Name(name) => release.name == *name,
            Self::Version(name, version) => release.name == *name && release.version == *version,
            Self::Cid(cid) => release.manifest == *cid,
        });
        let first = named.clone().next();
        named.find(|release| release.is_current).or(first)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Version(name, version) => write!(f, "{name}@{version}"),
            Self::Cid(cid) => cid.fmt(f),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = || SelectorError(text.chars().take(MAX_SHOWN).collect());
        if let Ok(cid) = text.parse() {
            return Ok(Self::Cid(cid));
        }
        match text.split_once('@') {
            Some((name, version)) => {
                let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
                let version = version.parse().ok().filter(|_| is_number).ok_or_else(error)?;
                Ok(Self::Version(name.parse().map_err(|_| error())?, version))
            }
            None => text.parse().map(Self::Name).map_err(|_| error()),
        }
    }
}

/// The maximum number of characters that an error repeats.
const MAX_SHOWN: usize = 160;

/// The error for a text that is not a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no content: expected a name (stable/x86_64), a name with a version (stable/x86_64@7), or a CID")]
pub struct SelectorError(String);

impl Fails for SelectorError {
    fn failure(&self) -> Failure {
        Failure::Usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str, version: u64, is_current: bool) -> StoredRelease {
        StoredRelease {
            manifest: Cid::of_block(format!("{name}@{version}").as_bytes()),
            name: name.parse().unwrap(),
            version,
            label: version.to_string(),
            issued_at: version,
            is_current,
            is_pinned: false,
        }
    }

    #[test]
    fn a_selector_is_a_name_a_version_or_a_cid() {
        let cid = Cid::of_block(b"block");
        let name: Name = "stable/x86_64".parse().unwrap();
        assert_eq!("stable/x86_64".parse(), Ok(Selector::Name(name.clone())));
        assert_eq!("stable/x86_64@7".parse(), Ok(Selector::Version(name, 7)));
        assert_eq!(cid.to_string().parse(), Ok(Selector::Cid(cid)));
        for wrong in ["", "stable", "stable/x86_64@", "stable/x86_64@+7", "stable/x86_64@7@8", "@7", "Stable/x@1"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_selects_the_current_release_or_else_the_newest() {
        let mut releases = vec![release("a/b", 3, false), release("a/b", 2, true), release("c/d", 9, true)];
        let select = |text: &str, releases: &[StoredRelease]| {
            text.parse::<Selector>().unwrap().find(releases).map(|release| release.version)
        };
        assert_eq!(select("a/b", &releases), Some(2));
        assert_eq!(select("a/b@3", &releases), Some(3));
        assert_eq!(select("a/b@1", &releases), None);
        assert_eq!(select(&releases[0].manifest.to_string(), &releases), Some(3));
        releases[1].is_current = false;
        assert_eq!(select("a/b", &releases), Some(3));
    }
}
