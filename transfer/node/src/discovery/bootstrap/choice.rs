//! Chooses where the bootstrap peers come from: flags and environment variables, a file, or the embedded list.

use std::path::Path;

use crate::discovery::bootstrap::bounds::MAX_PEERS;
use crate::discovery::bootstrap::error::BootstrapError;
use crate::discovery::bootstrap::file;
use crate::discovery::bootstrap::source::BootstrapSource;

/// The bootstrap list that is embedded in the binary. It is used when no flag, environment variable or file names a
/// bootstrap peer. Edit `bootstrap-nodes.toml` to build binaries for your own network.
const EMBEDDED: &str = include_str!("../../../bootstrap-nodes.toml");
/// The file name of the default bootstrap list. [`choose`] reads this file from the working directory if it exists and
/// the caller names neither a source nor another file.
pub const DEFAULT_FILE: &str = "bootstrap-nodes.toml";

/// Returns the bootstrap sources to use, at most 64.
///
/// Uses the first of these that applies:
/// 1. `named`, if it is not empty;
/// 2. the list in `file`, if `file` is `Some`;
/// 3. the list in [`DEFAULT_FILE`], if this file exists in the working directory;
/// 4. the embedded list.
///
/// # Errors
/// If the file cannot be read, or a list is malformed.
pub fn choose(named: &[BootstrapSource], file: Option<&Path>) -> Result<Vec<BootstrapSource>, BootstrapError> {
    if !named.is_empty() {
        return Ok(named.iter().take(MAX_PEERS).cloned().collect());
    }
    let default = Path::new(DEFAULT_FILE);
    match file {
        Some(path) => file::read(path, MAX_PEERS),
        None if default.is_file() => file::read(default, MAX_PEERS),
        None => file::parse(EMBEDDED, Path::new("the embedded list"), MAX_PEERS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    #[test]
    fn named_sources_precede_a_file_and_a_file_precedes_the_embedded_list() {
        let named: BootstrapSource = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}").parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.toml");
        let entries = format!(
            "[[bootstrap]]\npeer_id = \"{PEER}\"\naddress = \"/ip4/127.0.0.1/tcp/2\"\n\
             [[bootstrap]]\nurl = \"http://127.0.0.1:3/peers\"\n"
        );
        std::fs::write(&path, entries).unwrap();
        assert_eq!(choose(std::slice::from_ref(&named), Some(&path)).unwrap(), [named]);
        let listed: Vec<_> = choose(&[], Some(&path)).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(listed, [format!("/ip4/127.0.0.1/tcp/2/p2p/{PEER}"), "http://127.0.0.1:3/peers".to_owned()]);
        assert_eq!(choose(&[], None).unwrap(), file::parse(EMBEDDED, Path::new(""), MAX_PEERS).unwrap());
        assert!(choose(&[], Some(Path::new("/nonexistent/list.toml"))).is_err());
    }
}
