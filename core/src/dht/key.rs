//! DHT keys: every key that a Phase node accepts in the DHT, for records and for provider records.
//!
//! ```text
//! name       /phase/<channel>/<arch>/manifest      pointer records; providers of the release
//! name copy  /phase/<channel>/<arch>/manifest/<n>  copies of these records, where n is 2 or 3
//! contact    /phase/contact/<peer id>              contact records
//! authority  /phase/authority/<key id>             authority records; providers of the releases that the key signs
//! record     /phase/record/<key id>/<label>        values of other applications
//! content    the 36 bytes of a dag-cbor CID        providers of an artifact or manifest
//! ```
//!
//! Each DHT key has exactly one encoding. A CID begins with the byte 1, and a path begins with a slash.
//!
//! A path of the form `/phase/<a>/<b>/manifest` is always the DHT key of a name. A channel may therefore be called
//! `contact`, `authority` or `record`, but a signed record cannot have the label `manifest`.

use std::fmt;
use std::str::FromStr;

use super::peer::PeerText;
use crate::cid::{Cid, Codec};
use crate::failure::{Fails, Failure};
use crate::keys::KeyId;
use crate::name::{Label, MAX_LABEL_LEN, NAME_COPIES, Name};

/// The maximum length of a DHT key, in bytes. The longest DHT key is a [`DhtKey::NameCopy`] of a name whose channel and
/// architecture have the maximum length.
pub const MAX_DHT_KEY_LEN: usize = PREFIX.len() + 2 * (MAX_LABEL_LEN + 1) + MANIFEST.len() + "/n".len();

/// The prefix of every DHT key that is not a CID.
const PREFIX: &str = "/phase/";
/// The last part of the DHT key of a name. A signed record cannot have this label, because its DHT key would then be
/// the DHT key of a name.
pub(crate) const MANIFEST: &str = "manifest";
const CONTACT: &str = "contact";
const AUTHORITY: &str = "authority";
const RECORD: &str = "record";
/// The maximum length of the refused text in an error message, in characters.
const MAX_SHOWN: usize = 200;

/// A DHT key.
///
/// Nodes refuse two kinds of DHT key: a [`Content`](Self::Content) with the CID of a chunk, and a
/// [`Record`](Self::Record) with the label `manifest`. [`from_bytes`](Self::from_bytes) and the text parser never
/// return these keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DhtKey {
    /// The DHT key of a name, for its pointer record and for the providers of its release.
    Name(Name),
    /// An additional DHT key of a name, with its number, which is 2 to [`NAME_COPIES`]. The same records are stored
    /// under it as under [`Name`](Self::Name).
    NameCopy(Name, u8),
    /// The DHT key of an artifact or manifest, which is its artifact CID or manifest CID. It leads to the providers.
    /// Chunks are not in the DHT.
    Content(Cid),
    /// The DHT key of a node's contact record.
    Contact(PeerText),
    /// The DHT key of the authority record that a publisher's key signs.
    Authority(KeyId),
    /// The DHT key of a signed record, which is a value of another application.
    Record {
        /// The id of the only key that may sign the record.
        owner: KeyId,
        /// The label of the record. It must not be `manifest`.
        label: Label,
    },
}

impl DhtKey {
    /// Returns the encoded DHT key, as nodes use it in the DHT.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Name(name) => name.key().into_bytes(),
            Self::NameCopy(name, copy) => format!("{}/{copy}", name.key()).into_bytes(),
            Self::Content(cid) => cid.to_bytes(),
            Self::Contact(peer) => format!("{PREFIX}{CONTACT}/{peer}").into_bytes(),
            Self::Authority(key) => format!("{PREFIX}{AUTHORITY}/{key}").into_bytes(),
            Self::Record { owner, label } => format!("{PREFIX}{RECORD}/{owner}/{label}").into_bytes(),
        }
    }

    /// Returns all DHT keys under which the same records are stored. For a name, these are [`Name`](Self::Name) and its
    /// copies. For every other key, it is only that key.
    pub fn copies(&self) -> Vec<Self> {
        match self {
            Self::Name(name) => {
                let copies = (2..=NAME_COPIES).map(|copy| Self::NameCopy(name.clone(), copy));
                std::iter::once(self.clone()).chain(copies).collect()
            }
            other => vec![other.clone()],
        }
    }

    /// Decodes a DHT key from the bytes that [`to_bytes`](Self::to_bytes) returned. All other bytes are refused.
    ///
    /// # Errors
    /// [`DhtKeyError::Bytes`], or [`DhtKeyError::Chunk`] for the CID of a chunk.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DhtKeyError> {
        if bytes.len() > MAX_DHT_KEY_LEN {
            return Err(DhtKeyError::Bytes);
        }
        let key = if bytes.starts_with(PREFIX.as_bytes()) {
            std::str::from_utf8(bytes).ok().and_then(path).ok_or(DhtKeyError::Bytes)?
        } else {
            content(Cid::from_bytes(bytes).map_err(|_| DhtKeyError::Bytes)?)?
        };
        // A key id in capital letters, for instance, would be a second encoding of the same DHT key.
        if key.to_bytes() == bytes { Ok(key) } else { Err(DhtKeyError::Bytes) }
    }

    /// Returns the id of the only key that may sign the record, if the DHT key contains that id.
    pub fn owner(&self) -> Option<KeyId> {
        match self {
            Self::Authority(owner) | Self::Record { owner, .. } => Some(*owner),
            Self::Name(_) | Self::NameCopy(..) | Self::Content(_) | Self::Contact(_) => None,
        }
    }
}

/// Parses a DHT key that is a path, such as `/phase/stable/x86_64/manifest`.
fn path(path: &str) -> Option<DhtKey> {
    let mut parts = path.strip_prefix(PREFIX)?.split('/');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
    let name = |channel: &str, arch: &str| Some(Name { channel: channel.parse().ok()?, arch: arch.parse().ok()? });
    match parts {
        [Some(channel), Some(arch), Some(MANIFEST), None, None] => name(channel, arch).map(DhtKey::Name),
        [Some(channel), Some(arch), Some(MANIFEST), Some(copy), None] => {
            let copy = copy.parse().ok().filter(|copy| (2..=NAME_COPIES).contains(copy))?;
            Some(DhtKey::NameCopy(name(channel, arch)?, copy))
        }
        [Some(RECORD), Some(owner), Some(label), None, None] => {
            Some(DhtKey::Record { owner: owner.parse().ok()?, label: label.parse().ok()? })
        }
        [Some(CONTACT), Some(peer), None, None, None] => Some(DhtKey::Contact(peer.parse().ok()?)),
        [Some(AUTHORITY), Some(key), None, None, None] => Some(DhtKey::Authority(key.parse().ok()?)),
        _ => None,
    }
}

fn content(cid: Cid) -> Result<DhtKey, DhtKeyError> {
    match cid.codec() {
        Codec::DagCbor => Ok(DhtKey::Content(cid)),
        Codec::Raw => Err(DhtKeyError::Chunk(cid)),
    }
}

impl fmt::Display for DhtKey {
    /// Writes the short text form of the DHT key, which [`FromStr`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::NameCopy(name, copy) => write!(f, "{}/{copy}", name.key()),
            Self::Content(cid) => write!(f, "{cid}"),
            Self::Contact(peer) => write!(f, "{CONTACT}:{peer}"),
            Self::Authority(key) => write!(f, "{AUTHORITY}:{key}"),
            Self::Record { owner, label } => write!(f, "{RECORD}:{owner}/{label}"),
        }
    }
}

impl FromStr for DhtKey {
    type Err = DhtKeyError;

    /// Parses the short text form, or a whole path such as `/phase/stable/x86_64/manifest`.
    fn from_str(text: &str) -> Result<Self, DhtKeyError> {
        let unknown = || DhtKeyError::Text(text.chars().take(MAX_SHOWN).collect());
        if let Some((kind, rest)) = text.split_once(':') {
            return match kind {
                CONTACT => rest.parse().ok().map(Self::Contact).ok_or_else(unknown),
                AUTHORITY => rest.parse().ok().map(Self::Authority).ok_or_else(unknown),
                RECORD => record(rest).ok_or_else(unknown)?,
                _ => Err(unknown()),
            };
        }
        if text.starts_with(PREFIX) {
            return Self::from_bytes(text.as_bytes()).map_err(|_| unknown());
        }
        match text.parse() {
            Ok(name) => Ok(Self::Name(name)),
            Err(_) => content(text.parse().map_err(|_| unknown())?),
        }
    }
}

/// Parses `<key id>/<label>`, which is the text form of a record's DHT key.
fn record(text: &str) -> Option<Result<DhtKey, DhtKeyError>> {
    let (owner, label) = text.split_once('/')?;
    let (owner, label): (KeyId, Label) = (owner.parse().ok()?, label.parse().ok()?);
    let is_reserved = label.as_str() == MANIFEST;
    Some(if is_reserved { Err(DhtKeyError::Reserved) } else { Ok(DhtKey::Record { owner, label }) })
}

/// An error from decoding or parsing a DHT key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DhtKeyError {
    /// The bytes are not a DHT key, or encode a DHT key in another way than [`DhtKey::to_bytes`].
    #[error("not a DHT key that Phase nodes accept")]
    Bytes,
    /// The text is not a DHT key.
    #[error(
        "{0:?} is not a DHT key: expected channel/arch (for instance stable/x86_64), a CID (bafyr4i…), \
         contact:<peer id>, authority:<key id> or record:<key id>/<label>"
    )]
    Text(String),
    /// The CID identifies a chunk.
    #[error("{0} is the CID of a chunk, and chunks are not in the DHT: use the CID of the artifact that contains it")]
    Chunk(Cid),
    /// The label of a record is `manifest`, so that its DHT key would be the DHT key of a name.
    #[error("the label of a record cannot be {MANIFEST}: its DHT key would be that of a name")]
    Reserved,
}

impl Fails for DhtKeyError {
    fn failure(&self) -> Failure {
        Failure::Input
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cid::{Digest, HashAlgorithm};
    use crate::keys::SigningKey;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const ID: &str = "ff87a0b0a3c7c0ce827e9cada5ff79e75a44a0633bfcb5b50f99307ddb26b337";

    fn cid(codec: Codec) -> Cid {
        Cid::new(codec, HashAlgorithm::Blake3, Digest::new([7; 32]))
    }

    #[test]
    fn the_text_and_bytes_of_every_kind_of_key_do_not_change() {
        let content = cid(Codec::DagCbor);
        for (text, bytes) in [
            ("stable/x86_64".to_owned(), b"/phase/stable/x86_64/manifest".to_vec()),
            (content.to_string(), [&[1, 0x71, 0x1e, 0x20][..], &[7; 32]].concat()),
            (format!("contact:{PEER}"), format!("/phase/contact/{PEER}").into_bytes()),
            (format!("authority:{ID}"), format!("/phase/authority/{ID}").into_bytes()),
            (format!("record:{ID}/motd"), format!("/phase/record/{ID}/motd").into_bytes()),
        ] {
            let key: DhtKey = text.parse().unwrap();
            assert_eq!(key.to_string(), text);
            assert_eq!(key.to_bytes(), bytes, "{text}");
            assert_eq!(DhtKey::from_bytes(&bytes), Ok(key.clone()));
            assert_eq!(key.owner().is_some(), text.contains(ID), "{text}");
            if key != DhtKey::Content(content) {
                let path = String::from_utf8(bytes).unwrap();
                assert_eq!(path.parse(), Ok(key), "a path is parsed as text too");
            }
        }
    }

    #[test]
    fn a_channel_may_be_named_like_a_kind_of_key() {
        for channel in ["contact", "authority", "record"] {
            for arch in ["x86_64", "manifest", ID] {
                let name: Name = format!("{channel}/{arch}").parse().unwrap();
                let key = DhtKey::Name(name.clone());
                assert_eq!(DhtKey::from_bytes(&key.to_bytes()), Ok(key.clone()));
                assert_eq!(name.to_string().parse(), Ok(key));
            }
        }
    }

    #[test]
    fn the_label_manifest_is_refused_for_a_record() {
        let record = |label: &str| DhtKey::Record { owner: ID.parse().unwrap(), label: label.parse().unwrap() };
        let read = DhtKey::from_bytes(&record("manifest").to_bytes());
        assert_eq!(read, Ok(DhtKey::Name(format!("record/{ID}").parse().unwrap())));
        assert_eq!(format!("record:{ID}/manifest").parse::<DhtKey>(), Err(DhtKeyError::Reserved));
        assert_eq!(DhtKey::from_bytes(&record("manifest2").to_bytes()), Ok(record("manifest2")));
    }

    #[test]
    fn bytes_that_are_not_a_dht_key_are_refused() {
        let chunk = cid(Codec::Raw);
        assert_eq!(DhtKey::from_bytes(&chunk.to_bytes()), Err(DhtKeyError::Chunk(chunk)));
        let upper = ID.to_uppercase();
        let owned = [
            format!("/phase/authority/{upper}"),
            format!("/phase/authority/{ID}0"),
            format!("/phase/authority/{ID}/"),
            format!("/phase/authority/{ID}/x"),
            format!("/phase/record/{ID}"),
            format!("/phase/record/{ID}/"),
            format!("/phase/record/{ID}/A"),
            format!("/phase/record/{ID}/a/b"),
            format!("/phase/record/{ID}/a/manifest"),
            format!("/phase/record/{upper}/a"),
            format!("/phase/contact/{PEER}/x"),
            format!("/phase/contact/{}", "z".repeat(65)),
            format!("/phase/{}/b/manifest", "a".repeat(65)),
        ];
        let fixed = [
            "",
            "/",
            "/phase",
            "/phase/",
            "/phase//",
            "/phase/contact/",
            "/phase/contact/0",
            "/phase/stable/x86_64",
            "/phase/stable/x86_64/",
            "/phase/stable/x86_64/manifests",
            "/phase/stable/x86_64/manifest/",
            "/phase/stable//manifest",
            "/phase/Stable/x86_64/manifest",
            "phase/stable/x86_64/manifest",
            "stable/x86_64",
        ];
        for text in owned.iter().map(String::as_str).chain(fixed) {
            assert_eq!(DhtKey::from_bytes(text.as_bytes()), Err(DhtKeyError::Bytes), "{text}");
        }
        let trailing = [cid(Codec::DagCbor).to_bytes(), vec![0]].concat();
        assert_eq!(DhtKey::from_bytes(&trailing), Err(DhtKeyError::Bytes));
        assert_eq!(DhtKey::from_bytes(b"/phase/\xff/a/manifest"), Err(DhtKeyError::Bytes));
    }

    #[test]
    fn the_error_for_malformed_text_lists_the_permitted_forms() {
        for text in [
            "",
            "stable",
            "contact:",
            "contact:0",
            "authority:ff",
            "record:ff/a",
            &format!("record:{ID}"),
            &format!("record:{ID}/A"),
            "name:stable/x86_64",
            "/phase/stable",
        ] {
            let error = text.parse::<DhtKey>().unwrap_err();
            assert_eq!(error, DhtKeyError::Text(text.to_owned()));
            for form in ["channel/arch", "bafyr4i", "contact:", "authority:", "record:"] {
                assert!(error.to_string().contains(form), "{error}");
            }
        }
        let chunk = cid(Codec::Raw);
        assert_eq!(chunk.to_string().parse::<DhtKey>(), Err(DhtKeyError::Chunk(chunk)));
    }

    #[test]
    fn the_longest_dht_key_is_a_copy_of_a_name() {
        let label = "a".repeat(MAX_LABEL_LEN);
        let name = DhtKey::NameCopy(format!("{label}/{label}").parse().unwrap(), NAME_COPIES);
        assert_eq!(name.to_bytes().len(), MAX_DHT_KEY_LEN);
        let owner = SigningKey::from_secret_bytes(&[1; 32]).id();
        let record = DhtKey::Record { owner, label: label.parse().unwrap() };
        assert!(record.to_bytes().len() <= MAX_DHT_KEY_LEN);
        let contact = DhtKey::Contact("z".repeat(64).parse().unwrap());
        assert!(contact.to_bytes().len() <= MAX_DHT_KEY_LEN);
    }

    fn label() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9][a-z0-9._-]{0,8}",
            Just(ID.to_owned()),
            Just("manifest".to_owned()),
            Just("record".to_owned()),
            Just("contact".to_owned()),
            Just("authority".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn every_key_has_exactly_one_encoding(parts in prop::collection::vec(label(), 1..5), cut in any::<bool>()) {
            let path = format!("/phase/{}", parts.join("/"));
            let bytes = if cut { path.into_bytes().split_last().unwrap().1.to_vec() } else { path.into_bytes() };
            if let Ok(key) = DhtKey::from_bytes(&bytes) {
                prop_assert_eq!(key.to_bytes(), bytes);
                prop_assert_eq!(key.to_string().parse(), Ok(key));
            }
        }

        #[test]
        fn a_decoded_key_equals_the_encoded_one(
            kind in 0..5, first in label(), second in label(), digest in any::<[u8; 32]>(),
            peer in "[1-9A-HJ-NP-Za-km-z]{1,64}",
        ) {
            let owner = SigningKey::from_secret_bytes(&digest).id();
            let (first, second): (Label, Label) = (first.parse().unwrap(), second.parse().unwrap());
            let key = match kind {
                0 => DhtKey::Name(Name { channel: first, arch: second }),
                1 => DhtKey::Content(Cid::new(Codec::DagCbor, HashAlgorithm::Sha2_256, Digest::new(digest))),
                2 => DhtKey::Contact(peer.parse().unwrap()),
                3 => DhtKey::Authority(owner),
                _ => DhtKey::Record { owner, label: first },
            };
            let is_reserved = matches!(&key, DhtKey::Record { label, .. } if label.as_str() == "manifest");
            prop_assert_eq!(DhtKey::from_bytes(&key.to_bytes()) == Ok(key.clone()), !is_reserved);
            prop_assert_eq!(key.to_string().parse() == Ok(key), !is_reserved);
        }

        #[test]
        fn random_bytes_are_not_a_dht_key(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(DhtKey::from_bytes(&bytes).is_err());
        }
    }
}
