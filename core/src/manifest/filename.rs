//! File names in a release: relative paths that cannot lead out of their folder.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The maximum length of a file name, in bytes.
pub const MAX_FILE_NAME_LEN: usize = 1024;
/// The maximum length of one part of a path, in bytes. Linux file systems have the same limit.
pub const MAX_PART_LEN: usize = 255;

/// A relative path without control characters and without parts that are empty, `.` or `..`. It can be joined to a
/// folder safely, unless an attacker can create symbolic links in that folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

impl FileName {
    /// Returns the file name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the file name as a relative path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Returns the folders that contain the file, the outermost first: `a` and `a/b` for `a/b/c`.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, FileNameError> {
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= MAX_PART_LEN;
        if text.len() > MAX_FILE_NAME_LEN || text.chars().any(char::is_control) || !text.split('/').all(is_part) {
            return Err(FileNameError(text.chars().take(MAX_PART_LEN).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for FileName {
    type Error = FileNameError;

    fn try_from(text: String) -> Result<Self, FileNameError> {
        text.parse()
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

/// The error for a text that is not a [`FileName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a file name for a release: expected a relative path of at most {MAX_FILE_NAME_LEN} bytes with '/' \
     between parts of at most {MAX_PART_LEN} bytes, none of them '.' or '..', and no control characters"
)]
pub struct FileNameError(String);

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn file_names_that_could_lead_out_of_the_folder_are_refused() {
        for text in
            ["", "/", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b", "a\nb", "\u{7f}", "\u{85}"]
        {
            assert!(text.parse::<FileName>().is_err(), "{text:?} parsed");
        }
        assert!("a".repeat(256).parse::<FileName>().is_err());
        assert!(vec!["a".repeat(255); 5].join("/").parse::<FileName>().is_err());
    }

    #[test]
    fn ordinary_names_are_accepted_unchanged() {
        for text in ["vmlinuz", "boot/dtb/a.dtb", "...", "..a", "a b", "ä/ö", "-", "a\\b", &"a".repeat(255)] {
            assert_eq!(text.parse::<FileName>().unwrap().as_str(), text);
        }
        let name: FileName = "a/b/c".parse().unwrap();
        assert_eq!(name.folders().collect::<Vec<_>>(), ["a", "a/b"]);
    }

    proptest! {
        #[test]
        fn every_accepted_name_stays_in_its_folder(text in "[./a\\\\\\PC]{0,12}") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert!(name.as_path().components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(name.as_path().components().count(), text.split('/').count());
                prop_assert_eq!(FileName::try_from(String::from(name.clone())), Ok(name));
            }
        }
    }
}
