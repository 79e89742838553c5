//! Remembered peers: the file in which a node saves peers, so that it can dial them at its next start.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use libp2p::{Multiaddr, PeerId};

use crate::discovery::bootstrap::bounds::MAX_PEERS;
use crate::discovery::bootstrap::error::BootstrapError;
use crate::discovery::bootstrap::file;
use crate::discovery::bootstrap::source::{BootstrapPeer, BootstrapSource};

/// The maximum number of saved addresses of each peer.
const MAX_ADDRESSES: usize = 4;
/// The permissions of the file of remembered peers. Only the owner of the file may read it, because it shows which
/// peers the node knows.
const MODE: u32 = 0o600;

/// The file in which a long-running node saves peers, so that it can dial them at its next start. The file is a
/// bootstrap list, see [`bootstrap`](super).
///
/// [`load`](Self::load) and [`save`](Self::save) access the disk, so they must not be called from the event loop.
#[derive(Clone, Debug)]
pub struct RememberedPeers {
    path: PathBuf,
}

impl RememberedPeers {
    /// Uses the file `path`, which does not have to exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads the file. Returns one entry for each address, or none if the file is missing or damaged. A damaged file is
    /// logged, and the next [`save`](Self::save) replaces it.
    pub fn load(&self) -> Vec<BootstrapPeer> {
        match file::read(&self.path, MAX_PEERS * MAX_ADDRESSES) {
            Ok(sources) => sources.into_iter().filter_map(peer).collect(),
            Err(BootstrapError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "ignoring the remembered peers, because their file cannot be read");
                Vec::new()
            }
        }
    }

    /// Atomically replaces the file with the first 64 of `peers` and the first four addresses of each. The caller
    /// passes the best peers and addresses first. After a crash the file has either its old or its new content.
    ///
    /// # Errors
    /// [`BootstrapError::Remember`] if the file cannot be written.
    pub fn save(&self, peers: &[(PeerId, Vec<Multiaddr>)]) -> Result<(), BootstrapError> {
        let addresses = peers
            .iter()
            .take(MAX_PEERS)
            .flat_map(|(peer, addresses)| addresses.iter().take(MAX_ADDRESSES).map(move |address| (peer, address)));
        let failed = |source| BootstrapError::Remember { path: self.path.clone(), source };
        let temporary = temporary_beside(&self.path).map_err(failed)?;
        let text = file::encode(addresses);
        let written = write(&temporary, text.as_bytes()).and_then(|()| std::fs::rename(&temporary, &self.path));
        if written.is_err() {
            // The caller gets the error in `written`. An error here is ignored, because the temporary file may not
            // exist.
            let _ = std::fs::remove_file(&temporary);
        }
        written.and_then(|()| sync_folder(&self.path)).map_err(failed)
    }
}

fn peer(source: BootstrapSource) -> Option<BootstrapPeer> {
    match source {
        BootstrapSource::Peer(peer) => Some(peer),
        // Ignore an entry with a URL, because `save` never writes such an entry.
        BootstrapSource::Url(_) => None,
    }
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::IsADirectory)?);
    name.push(format!(".{:08x}", fastrand::u32(..)));
    Ok(path.with_file_name(name))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn peers(count: usize, addresses: u16) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let addresses: Vec<_> = (1..=addresses).map(|n| format!("/ip4/127.0.0.1/tcp/{n}").parse().unwrap()).collect();
        (0..count).map(|_| (PeerId::random(), addresses.clone())).collect()
    }

    #[test]
    fn saved_peers_replace_the_earlier_peers_and_are_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let remembered = RememberedPeers::new(folder.path().join("peers.toml"));
        assert_eq!(remembered.load(), []);
        for known in [peers(3, 2), peers(1, 1), peers(0, 0)] {
            remembered.save(&known).unwrap();
            let expected = known.iter().flat_map(|(peer, addresses)| {
                addresses.iter().map(|address| BootstrapPeer { peer: Some(*peer), address: address.clone() })
            });
            assert_eq!(remembered.load(), expected.collect::<Vec<_>>());
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a temporary file is left");
        assert_eq!(remembered.path.metadata().unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn the_number_of_saved_peers_and_addresses_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let remembered = RememberedPeers::new(folder.path().join("peers.toml"));
        remembered.save(&peers(MAX_PEERS + 1, MAX_ADDRESSES as u16 + 1)).unwrap();
        assert_eq!(remembered.load().len(), MAX_PEERS * MAX_ADDRESSES);
    }

    #[test]
    fn a_damaged_file_counts_as_empty_until_the_next_save() {
        let folder = tempfile::tempdir().unwrap();
        let remembered = RememberedPeers::new(folder.path().join("peers.toml"));
        remembered.save(&peers(2, 2)).unwrap();
        let whole = std::fs::read(&remembered.path).unwrap();
        for damaged in [&whole[..whole.len() - 9], b"\xff\0", b"bootstrap = 1", &vec![b'#'; 1 << 20]] {
            std::fs::write(&remembered.path, damaged).unwrap();
            assert_eq!(remembered.load(), []);
        }
        remembered.save(&peers(1, 1)).unwrap();
        assert_eq!(remembered.load().len(), 1);
    }

    #[test]
    fn a_failed_save_names_the_file_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = RememberedPeers::new(folder.path().join("missing/peers.toml"));
        assert!(missing.save(&[]).unwrap_err().to_string().contains("missing/peers.toml"));
        let taken = folder.path().join("taken");
        std::fs::create_dir_all(taken.join("full")).unwrap();
        assert!(RememberedPeers::new(&taken).save(&[]).is_err());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a temporary file is left");
    }
}
