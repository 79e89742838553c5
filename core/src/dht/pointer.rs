//! The pointer record: a signed DHT value that leads from a name to the CID of its current manifest.

use serde::{Deserialize, Serialize};

use super::key::DhtKey;
use super::record::{self, DhtRecord, MAX_RECORD_LEN, Rank};
use crate::cid::{Cid, Codec};
use crate::codec::V1;
use crate::envelope::{Envelope, EnvelopeError, Payload};
use crate::manifest::Manifest;
use crate::name::Name;

/// The maximum length of an encoded pointer record with its signatures, in bytes.
pub const MAX_POINTER_LEN: usize = MAX_RECORD_LEN;
/// The maximum number of URLs in a pointer record.
pub const MAX_URLS: usize = 8;
/// The maximum length of one URL in a pointer record, in bytes.
pub const MAX_URL_LEN: usize = 512;

/// A pointer record, which leads from a name to a manifest. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The version of the pointer record format.
    pub v: V1,
    /// The name of the release to which the record leads.
    pub name: Name,
    /// The manifest CID. If it is absent, `urls` must not be empty, and the release can be fetched only from these
    /// URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Cid>,
    /// The version of the release, as in the manifest.
    pub version: u64,
    /// The time at which the record was issued.
    pub issued_at: u64,
    /// The time at which the record expires. From then on, the record is refused.
    pub expires_at: u64,
    /// The URLs at which clients without the DHT can fetch the release over HTTP. Phase itself does not use them.
    pub urls: Vec<String>,
}

impl Pointer {
    /// Makes a pointer record without URLs. It leads to `manifest`, whose manifest CID is `cid`.
    ///
    /// The record expires at the same time as the manifest. Until then, a provider can renew it in the DHT without a
    /// key.
    pub fn to(manifest: &Manifest, cid: Cid, issued_at: u64) -> Self {
        Self {
            v: V1,
            name: manifest.name(),
            manifest: Some(cid),
            version: manifest.version,
            issued_at,
            expires_at: manifest.expires_at,
            urls: Vec::new(),
        }
    }

    /// Decodes the envelope of a pointer record without verifying it.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] if the envelope is longer than [`MAX_POINTER_LEN`], and the errors of
    /// [`Envelope::decode`].
    pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        record::decode_envelope(bytes)
    }
}

impl Payload for Pointer {
    const TYPE: &'static str = "phase/pointer/v1";
    type Invalid = PointerError;

    fn check(&self) -> Result<(), PointerError> {
        if self.expires_at <= self.issued_at {
            return Err(PointerError::Lifetime);
        }
        match self.manifest {
            Some(cid) if cid.codec() != Codec::DagCbor => return Err(PointerError::NotAManifest(cid)),
            None if self.urls.is_empty() => return Err(PointerError::Nowhere),
            Some(_) | None => {}
        }
        let is_url = |url: &String| {
            let is_http = url.starts_with("http://") || url.starts_with("https://");
            is_http && url.len() <= MAX_URL_LEN && url.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.urls.len() > MAX_URLS || !self.urls.iter().all(is_url) {
            return Err(PointerError::Urls);
        }
        Ok(())
    }
}

impl DhtRecord for Pointer {
    fn dht_key(&self) -> DhtKey {
        DhtKey::Name(self.name.clone())
    }

    fn rank(&self) -> Rank {
        Rank { version: self.version, issued_at: self.issued_at }
    }

    fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// An error that makes a pointer record invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointerError {
    /// The expiry is not later than the time of issue.
    #[error("it expires before it is issued")]
    Lifetime,
    /// The manifest CID does not have the codec of an envelope, which is DAG-CBOR.
    #[error("{0} is not the CID of a manifest: its codec must be dag-cbor")]
    NotAManifest(Cid),
    /// The record has neither a manifest CID nor a URL.
    #[error("it points to nothing: it must have a manifest CID or a URL")]
    Nowhere,
    /// The record lists too many URLs, or an invalid URL.
    #[error("it may list at most {MAX_URLS} http or https URLs, of at most {MAX_URL_LEN} bytes each")]
    Urls,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::HashAlgorithm;
    use crate::keys::SigningKey;

    fn pointer() -> Pointer {
        Pointer {
            v: V1,
            name: "stable/x86_64".parse().unwrap(),
            manifest: Some(Cid::of_block(b"envelope")),
            version: 7,
            issued_at: 1_700_000_000,
            expires_at: 1_800_000_000,
            urls: vec!["https://example.org/phase".to_owned()],
        }
    }

    #[test]
    fn the_bytes_of_a_pointer_do_not_change() {
        assert_eq!(
            hex::encode(crate::codec::to_dag_cbor(&pointer())),
            concat!(
                "a7617601646e616d65a26461726368667838365f3634676368616e6e656c66737461626c656475726c738178196874747073",
                "3a2f2f6578616d706c652e6f72672f70686173656776657273696f6e07686d616e6966657374d82a58250001711e20d006dd",
                "5bd3394c0556e3ae7134443f7c318d5fa4d6ec024e3b888cd38243cd93696973737565645f61741a6553f1006a6578706972",
                "65735f61741a6b49d200",
            )
        );
    }

    #[test]
    fn an_absent_manifest_cid_is_not_encoded() {
        let without = Pointer { manifest: None, ..pointer() };
        let bytes = crate::codec::to_dag_cbor(&without);
        assert_eq!(
            hex::encode(&bytes),
            concat!(
                "a6617601646e616d65a26461726368667838365f3634676368616e6e656c66737461626c656475726c738178196874747073",
                "3a2f2f6578616d706c652e6f72672f70686173656776657273696f6e07696973737565645f61741a6553f1006a6578706972",
                "65735f61741a6b49d200",
            )
        );
        assert_eq!(crate::codec::from_dag_cbor_open(&bytes), Ok(without));
    }

    #[test]
    fn the_largest_pointer_fits_into_a_dht_message() {
        let name = format!("{}/{}", "c".repeat(64), "a".repeat(64)).parse().unwrap();
        let url = format!("https://{}", "u".repeat(MAX_URL_LEN - 8));
        let largest = Pointer { name, urls: vec![url; MAX_URLS], version: u64::MAX, ..pointer() };
        let mut envelope = Envelope::unsigned(&largest).unwrap();
        for seed in 0..8 {
            envelope.sign::<Pointer>(&SigningKey::from_secret_bytes(&[seed; 32])).unwrap();
        }
        assert_eq!(Pointer::decode_envelope(&envelope.encode()).unwrap(), envelope);
    }

    #[test]
    fn an_invalid_pointer_is_refused() {
        let change = |change: fn(&mut Pointer)| {
            let mut pointer = pointer();
            change(&mut pointer);
            pointer.check()
        };
        assert_eq!(change(|_| {}), Ok(()));
        assert_eq!(change(|p| p.urls.clear()), Ok(()));
        assert_eq!(change(|p| p.manifest = None), Ok(()));
        assert_eq!(Pointer { manifest: None, urls: Vec::new(), ..pointer() }.check(), Err(PointerError::Nowhere));
        assert_eq!(change(|p| p.issued_at = p.expires_at), Err(PointerError::Lifetime));
        assert_eq!(change(|p| p.urls = vec![p.urls[0].clone(); 9]), Err(PointerError::Urls));
        for url in ["ftp://a", "https://a b", "https://a\u{1b}", "", "file:///etc"] {
            assert_eq!(Pointer { urls: vec![url.to_owned()], ..pointer() }.check(), Err(PointerError::Urls), "{url}");
        }
        assert_eq!(
            Pointer { urls: vec![format!("http://{}", "u".repeat(506))], ..pointer() }.check(),
            Err(PointerError::Urls)
        );
        let hash = HashAlgorithm::Blake3;
        let chunk = Cid::new(Codec::Raw, hash, hash.digest(b"chunk"));
        assert_eq!(Pointer { manifest: Some(chunk), ..pointer() }.check(), Err(PointerError::NotAManifest(chunk)));
        assert!(matches!(
            Pointer::decode_envelope(&[0; MAX_POINTER_LEN + 1]),
            Err(EnvelopeError::TooLarge { len: 8193, max: MAX_POINTER_LEN })
        ));
    }
}
