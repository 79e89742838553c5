//! A key of the DHT as it is given on the command line.

use phase_core::{DhtKey, DhtKeyError};
use phase_node::PeerId;

/// The forms of a key, for help texts.
pub(super) const KEYS: &str = "\
A KEY is one of
  stable/x86_64                   a name: its pointer records, and who provides the release
  bafyr4i…                        the CID of a manifest or artifact: who provides it
  contact:12D3KooW…               where a node says it is
  authority:<key id>              what a publisher's key says it signs for
  record:<key id>/<label>         a value of another application
A name stands under three keys of the DHT, and each of them is asked.";

/// A key, for clap. Whether a contact's peer id is one, the data model cannot tell.
pub(super) fn parse_key(text: &str) -> Result<DhtKey, String> {
    let key: DhtKey = text.parse().map_err(|error: DhtKeyError| error.to_string())?;
    match &key {
        DhtKey::Contact(peer) if peer.as_str().parse::<PeerId>().is_err() => {
            Err(format!("{peer:?} is not a peer id: expected for instance 12D3KooW…", peer = peer.as_str()))
        }
        _ => Ok(key),
    }
}
