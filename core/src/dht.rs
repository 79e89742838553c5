//! Keys and records of the DHT.
//!
//! | module | holds | verified by |
//! |---|---|---|
//! | `key` | the DHT keys that a node accepts | |
//! | `peer` | the text of a peer id | |
//! | `record` | the trait, the limits and the errors of all records | |
//! | `pointer` | the manifest that a name points to | the trust root |
//! | `contact` | the addresses of a node | the node's identity key |
//! | `authority` | the names for which a publisher's key signs | that key |
//! | `signed_record` | a value of another application | the key that owns it |

mod authority;
mod contact;
mod key;
mod peer;
mod pointer;
mod record;
mod signed_record;

pub use authority::{Authority, AuthorityError, MAX_NAMES};
pub use contact::{Contact, ContactError};
pub use key::{DhtKey, DhtKeyError, MAX_DHT_KEY_LEN};
pub use peer::{MAX_PEER_LEN, PeerText, PeerTextError};
pub use pointer::{MAX_POINTER_LEN, MAX_URL_LEN, MAX_URLS, Pointer, PointerError};
pub use record::{
    DhtRecord, InvalidAddresses, MAX_ADDRESS_LEN, MAX_ADDRESSES, MAX_RECORD_LEN, Rank, RecordError, decode_envelope,
};
pub use signed_record::{MAX_VALUE_LEN, SignedRecord, SignedRecordError};
