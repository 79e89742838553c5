//! Names, under which releases are published, and labels, which are the parts of names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::failure::{Fails, Failure};

/// The maximum length of a [`Label`], in bytes.
pub const MAX_LABEL_LEN: usize = 64;

/// A label, such as a channel, an architecture or a role. It has 1 to [`MAX_LABEL_LEN`] bytes of `a-z`, `0-9`, `.`, `_`
/// and `-`, and begins with a letter or digit. A label is safe as a file name and as a part of a DHT key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// Returns the label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let permitted = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let begins_well = text.as_bytes().first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !begins_well || text.len() > MAX_LABEL_LEN || !text.bytes().all(permitted) {
            return Err(NameError::Label(text.chars().take(MAX_LABEL_LEN).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Label {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

/// The number of DHT keys of a name. The same records are stored under each of them, so an attacker can hide the
/// records only with its own nodes close to all these keys. With three keys, an announcement makes two more queries
/// than with one.
pub const NAME_COPIES: u8 = 3;

/// A name: the channel and the architecture under which releases are published. Clients resolve a name to its newest
/// release.
///
/// A name is written `channel/arch`, for instance `stable/x86_64`. It has [`NAME_COPIES`] DHT keys, for instance
/// `/phase/stable/x86_64/manifest` and `/phase/stable/x86_64/manifest/2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// The channel, which is the series of releases that a machine follows, for instance `stable`.
    pub channel: Label,
    /// The processor architecture of the machines, for instance `x86_64`.
    pub arch: Label,
}

impl Name {
    /// Returns the main DHT key of the name, for instance `/phase/stable/x86_64/manifest`. The pointer record and the
    /// provider records of the name are stored under it.
    pub fn key(&self) -> String {
        format!("/phase/{}/{}/manifest", self.channel, self.arch)
    }

    /// Returns the [`NAME_COPIES`] DHT keys of the name, beginning with [`key`](Self::key). The same records are stored
    /// under each of them. Different DHT nodes usually store them, because the keys are far apart in the DHT.
    pub fn keys(&self) -> Vec<String> {
        let copies = (2..=NAME_COPIES).map(|copy| format!("{}/{copy}", self.key()));
        std::iter::once(self.key()).chain(copies).collect()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.arch)
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Parses `channel/arch`, or the DHT key `/phase/<channel>/<arch>/manifest`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let short = text.strip_prefix("/phase/").and_then(|rest| rest.strip_suffix("/manifest")).unwrap_or(text);
        let (channel, arch) = short.split_once('/').ok_or_else(|| NameError::Form(text.chars().take(200).collect()))?;
        Ok(Self { channel: channel.parse()?, arch: arch.parse()? })
    }
}

/// An error from parsing a [`Name`] or a [`Label`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text does not have the form `channel/arch`.
    #[error("{0:?} is not a name: expected channel/arch, for instance stable/x86_64")]
    Form(String),
    /// The text is not a [`Label`].
    #[error(
        "{0:?} is not a label, such as a channel or architecture: expected 1 to 64 characters: a-z 0-9 . _ - \
         beginning with a letter or digit"
    )]
    Label(String),
}

impl Fails for NameError {
    fn failure(&self) -> Failure {
        Failure::Input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_parses_in_both_forms() {
        let name: Name = "stable/x86_64".parse().unwrap();
        assert_eq!(name.key(), "/phase/stable/x86_64/manifest");
        assert_eq!(name.key().parse(), Ok(name.clone()));
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn text_that_could_escape_from_a_folder_or_a_dht_key_is_refused() {
        for text in
            ["", "stable", "/", "stable/", "../x86_64", "stable/..", "a/b/c", "A/b", "a b/c", "ä/b", "a/\0", ".a/b"]
        {
            assert!(text.parse::<Name>().is_err(), "{text:?} parsed");
        }
        assert!(format!("{}/b", "a".repeat(65)).parse::<Name>().is_err());
    }
}
