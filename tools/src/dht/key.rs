//! Parses a DHT key on the command line.

use phase_core::{DhtKey, DhtKeyError};
use phase_node::PeerId;

/// The part of the help texts that lists the forms of a DHT key.
pub(super) const KEYS: &str = "\
A KEY is one of:
  stable/x86_64                   a name: its pointer records and its providers
  bafyr4i…                        the CID of a manifest or artifact: its providers
  contact:12D3KooW…               a peer id: the addresses that the node has published
  authority:<key id>              a publisher's key: the names that it claims to sign for
  record:<key id>/<label>         a value of another application
A name has three DHT keys: `get` searches under each of them, `closest` uses the first.";

/// The part of the help text of `phase dht providers` that lists the forms of its KEY.
pub(super) const PROVIDED_KEYS: &str = "\
A KEY is one of:
  stable/x86_64                   a name
  bafyr4i…                        the CID of a manifest or artifact
A name has three DHT keys: `providers` searches under each of them.";

/// Parses a DHT key, for clap. Also checks the peer id of a contact key, which `phase_core` does not do.
pub(super) fn parse_key(text: &str) -> Result<DhtKey, String> {
    let key: DhtKey = text.parse().map_err(|error: DhtKeyError| error.to_string())?;
    match &key {
        DhtKey::Contact(peer) if peer.as_str().parse::<PeerId>().is_err() => {
            Err(format!("{peer:?} is not a peer id: expected text such as 12D3KooW…", peer = peer.as_str()))
        }
        _ => Ok(key),
    }
}
