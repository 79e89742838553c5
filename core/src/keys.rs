//! Ed25519 keys, key ids and key files.

mod ed25519;
mod file;

pub use ed25519::{KeyError, KeyId, PublicKey, SIGNATURE_LEN, SigningKey};
pub use file::{KeyFileError, MAX_KEY_FILE_LEN};
