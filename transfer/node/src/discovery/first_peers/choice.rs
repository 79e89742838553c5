//! Which of the places that first peers come from is used.

use std::path::Path;

use crate::discovery::first_peers::bounds::MAX_PEERS;
use crate::discovery::first_peers::error::BootstrapError;
use crate::discovery::first_peers::file;
use crate::discovery::first_peers::source::BootstrapSource;

/// The list that is used when no other source names a peer. Whoever builds binaries for a network of their own
/// fills in this file.
const EMBEDDED: &str = include_str!("../../../bootstrap-nodes.toml");
/// The name looked for in the working directory when no file is given.
pub const DEFAULT_FILE: &str = "bootstrap-nodes.toml";

/// The bootstrap sources to use: `given` if there are any, else those of `file` (or of [`DEFAULT_FILE`] in the working
/// directory, if it exists), else the embedded ones.
///
/// # Errors
/// A file that was named but cannot be read, or any list that is malformed.
pub fn choose(given: &[BootstrapSource], file: Option<&Path>) -> Result<Vec<BootstrapSource>, BootstrapError> {
    if !given.is_empty() {
        return Ok(given.iter().take(MAX_PEERS).cloned().collect());
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
    fn given_sources_come_before_a_file_before_the_embedded_list() {
        let given: BootstrapSource = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}").parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.toml");
        let entries = format!(
            "[[bootstrap]]\npeer_id = \"{PEER}\"\naddress = \"/ip4/127.0.0.1/tcp/2\"\n\
             [[bootstrap]]\nurl = \"http://127.0.0.1:3/peers\"\n"
        );
        std::fs::write(&path, entries).unwrap();
        assert_eq!(choose(std::slice::from_ref(&given), Some(&path)).unwrap(), [given]);
        let listed: Vec<_> = choose(&[], Some(&path)).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(listed, [format!("/ip4/127.0.0.1/tcp/2/p2p/{PEER}"), "http://127.0.0.1:3/peers".to_owned()]);
        assert_eq!(choose(&[], None).unwrap(), file::parse(EMBEDDED, Path::new(""), MAX_PEERS).unwrap());
        assert!(choose(&[], Some(Path::new("/nonexistent/list.toml"))).is_err());
    }
}
