//! A node keeps for others only what it can verify, and says why it refused the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use phase_core::codec::V1;
use phase_core::time::TrustedTime;
use phase_core::trust::{ChannelRole, RootRole, TrustRoot};
use phase_core::{Authority, Cid, Contact, DhtKey, DhtRecord, Envelope, Label, Pointer, SignedRecord, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, Identity, Node, NodeConfig, NodeHandle, RecordsError, Role};
use phase_test_support::in_time;

use super::{KEY, values};
use crate::nodes::{address, loopback, refused, start, start_in_dht, start_node};

/// The time it is for all of these tests.
const NOW: u64 = 1_000_000;
const AT: TrustedTime = TrustedTime(NOW);

fn signer(n: u8) -> SigningKey {
    SigningKey::from_secret_bytes(&[n; 32])
}

fn pointer(name: &str, version: u64, expires_at: u64, key: Option<&SigningKey>) -> Vec<u8> {
    let manifest = Some(Cid::of_block(b"manifest"));
    let name = name.parse().unwrap();
    let pointer = Pointer { v: V1, name, manifest, version, issued_at: 1, expires_at, urls: Vec::new() };
    let mut envelope = Envelope::unsigned(&pointer).unwrap();
    if let Some(key) = key {
        envelope.sign::<Pointer>(key).unwrap();
    }
    envelope.encode()
}

fn contact(node: &Identity, version: u64, expires_at: u64) -> Contact {
    let peer = node.peer_id().to_string().parse().unwrap();
    Contact { v: V1, peer, addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()], version, issued_at: 1, expires_at }
}

fn authority(key: &SigningKey, version: u64, expires_at: u64) -> Authority {
    let names = vec!["stable/x86_64".parse().unwrap()];
    Authority { v: V1, key: key.public(), names, providers: Vec::new(), version, issued_at: 1, expires_at }
}

fn label() -> Label {
    "motd".parse().unwrap()
}

fn record(key: &SigningKey, value: &[u8], version: u64, expires_at: u64) -> SignedRecord {
    SignedRecord { v: V1, key: key.public(), label: label(), value: value.to_vec(), version, issued_at: 1, expires_at }
}

/// A payload under a signature that is not its own key's, as `seal` would not make it.
fn signed_by<R: DhtRecord>(record: &R, key: &SigningKey) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(record).unwrap();
    envelope.sign::<R>(key).unwrap();
    envelope.encode()
}

/// A trust root whose channel `stable` has pointers of one key.
fn root(key: &SigningKey) -> TrustRoot {
    let keys = BTreeSet::from([key.id()]);
    TrustRoot {
        v: V1,
        version: 1,
        issued_at: 1,
        expires_at: 2 * NOW,
        keys: BTreeMap::from([(key.id(), key.public())]),
        root: RootRole { keys: keys.clone(), threshold: 1 },
        channels: BTreeMap::from([(
            "stable".parse().unwrap(),
            ChannelRole { keys: keys.clone(), threshold: 1, pointer_keys: keys },
        )]),
    }
}

/// A server that knows the time, and who puts things there.
async fn judge(roots: Vec<TrustRoot>) -> (Node, Vec<BootstrapPeer>, Node) {
    let config = DhtConfig { role: Role::Server, clock: Some(Arc::new(|| NOW)), roots, ..DhtConfig::default() };
    let judge = start_in_dht(config, &[]).await;
    let bootstrap = vec![address(judge.handle()).await];
    let putter = start(Role::Client, &bootstrap).await;
    (judge, bootstrap, putter)
}

/// Puts a value and asserts that it is refused for `reason` alone.
async fn assert_refused(judge: &NodeHandle, putter: &NodeHandle, key: &[u8], value: Vec<u8>, reason: &str) {
    let before = (refused(judge, reason), judge.dht_stats().await.unwrap());
    putter.put(key, value).await.unwrap();
    let after = judge.dht_stats().await.unwrap();
    assert_eq!(refused(judge, reason), before.0 + 1, "{reason}: {}", String::from_utf8_lossy(key));
    assert_eq!((after.refused, after.values), (before.1.refused + 1, before.1.values), "{reason}");
}

async fn assert_kept(judge: &NodeHandle, putter: &NodeHandle, key: &[u8], value: Vec<u8>) {
    let before = judge.dht_stats().await.unwrap().refused;
    putter.put(key, value.clone()).await.unwrap();
    assert_eq!(judge.dht_stats().await.unwrap().refused, before, "{}", String::from_utf8_lossy(key));
    assert!(values(judge, key).await.contains(&value));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_must_be_signed_and_in_time_and_about_its_name() {
    in_time(async {
        let (judge, _, putter) = judge(Vec::new()).await;
        let (judge, putter, key) = (judge.handle(), putter.handle(), signer(1));
        assert_refused(judge, putter, KEY, b"junk".to_vec(), "malformed").await;
        assert_refused(judge, putter, KEY, Vec::new(), "malformed").await;
        assert_refused(judge, putter, KEY, pointer("edge/x86_64", 1, 2 * NOW, Some(&key)), "malformed").await;
        assert_refused(judge, putter, KEY, pointer("stable/x86_64", 1, NOW, Some(&key)), "expired").await;
        assert_refused(judge, putter, KEY, pointer("stable/x86_64", 1, 2 * NOW, None), "unsigned").await;
        assert_kept(judge, putter, KEY, pointer("stable/x86_64", 5, NOW + 1, Some(&key))).await;
        assert_refused(judge, putter, KEY, pointer("stable/x86_64", 4, 2 * NOW, Some(&key)), "older").await;
        assert_kept(judge, putter, KEY, pointer("stable/x86_64", 6, 2 * NOW, Some(&key))).await;
        let copy = b"/phase/stable/x86_64/manifest/2";
        assert_kept(judge, putter, copy, pointer("stable/x86_64", 6, 2 * NOW, Some(&key))).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_trust_root_only_pointers_of_its_keys_are_kept() {
    in_time(async {
        let (judge, _, putter) = judge(vec![root(&signer(1))]).await;
        let (judge, putter) = (judge.handle(), putter.handle());
        assert_refused(judge, putter, KEY, pointer("stable/x86_64", 9, 2 * NOW, Some(&signer(2))), "unsigned").await;
        assert_kept(judge, putter, KEY, pointer("stable/x86_64", 1, 2 * NOW, Some(&signer(1)))).await;
        // Of a channel that it does not know, anybody's.
        let edge = b"/phase/edge/x86_64/manifest";
        assert_kept(judge, putter, edge, pointer("edge/x86_64", 1, 2 * NOW, Some(&signer(2)))).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_other_keys_there_is_nothing() {
    in_time(async {
        let (judge, _, putter) = judge(Vec::new()).await;
        let content = DhtKey::Content(Cid::of_block(b"x")).to_bytes();
        for key in [&b"anything"[..], b"/phase/x", b"/phase/contact/xyz", b"/phase/stable/x86_64/manifest/9", &content]
        {
            let value = pointer("stable/x86_64", 1, 2 * NOW, Some(&signer(1)));
            assert_refused(judge.handle(), putter.handle(), key, value, "namespace").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_its_peers_own_and_leads_to_it() {
    in_time(async {
        let (judge, bootstrap, putter) = judge(Vec::new()).await;
        let (judge, putter) = (judge.handle(), putter.handle());
        let key = signer(7);
        let identity = Identity::from_key(&key);
        let at = contact(&identity, 1, 2 * NOW).dht_key().to_bytes();
        assert_refused(judge, putter, &at, contact(&identity, 1, 2 * NOW).seal(&signer(8)).unwrap(), "unsigned").await;
        assert_refused(judge, putter, &at, contact(&identity, 1, NOW).seal(&key).unwrap(), "expired").await;
        let other = contact(&Identity::ephemeral(), 1, 2 * NOW).seal(&key).unwrap();
        assert_refused(judge, putter, &at, other, "malformed").await;

        let config = NodeConfig { identity, ..NodeConfig::in_dht(Role::Client, loopback(), bootstrap.clone()) };
        let node = start_node(config).await;
        node.handle().advertise_contact(NOW).await.unwrap();
        assert_refused(judge, putter, &at, contact(&Identity::from_key(&key), 1, 2 * NOW).seal(&key).unwrap(), "older")
            .await;
        let seeker = start(Role::Client, &bootstrap).await;
        let found = seeker.handle().find_contact(node.handle().peer_id(), AT).await.unwrap();
        let told: Vec<_> = node.handle().listen_addresses().await.iter().map(ToString::to_string).collect();
        assert_eq!((found.record.addresses.clone(), found.record.version, found.holders), (told, NOW, 1));
        seeker.handle().verify_contact(&found.record).await.unwrap();
        assert!(seeker.handle().peer(&node.handle().peer_id()).unwrap().is_connected());
        // What it says is not where somebody else is.
        let elsewhere = Contact { addresses: vec![bootstrap[0].address.to_string()], ..found.record };
        let stranger = start(Role::Client, &bootstrap).await;
        stranger.handle().verify_contact(&elsewhere).await.unwrap_err();
        let unknown = seeker.handle().find_contact(Identity::ephemeral().peer_id(), AT).await;
        assert!(matches!(unknown, Err(RecordsError::NotFound { .. })), "{unknown:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_signed_by_the_key_it_is_about() {
    in_time(async {
        let (judge, bootstrap, putter) = judge(Vec::new()).await;
        let (judge, putter, key) = (judge.handle(), putter.handle(), signer(3));
        let made = |version, expires_at| authority(&key, version, expires_at);
        let at = made(1, 2 * NOW).dht_key().to_bytes();
        assert_refused(judge, putter, &at, signed_by(&made(1, 2 * NOW), &signer(4)), "unsigned").await;
        assert_refused(judge, putter, &at, made(1, NOW).seal(&key).unwrap(), "expired").await;
        putter.put_record(&made(2, 2 * NOW), &key).await.unwrap();
        assert_refused(judge, putter, &at, made(1, 2 * NOW).seal(&key).unwrap(), "older").await;
        let seeker = start(Role::Client, &bootstrap).await;
        let found = seeker.handle().find_authority(key.id(), AT).await.unwrap();
        assert_eq!((found.record, found.holders), (made(2, 2 * NOW), 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_signed_by_its_owner() {
    in_time(async {
        let (judge, bootstrap, putter) = judge(Vec::new()).await;
        let (judge, putter, key) = (judge.handle(), putter.handle(), signer(5));
        let made = |version, expires_at| record(&key, b"hello", version, expires_at);
        let at = made(1, 2 * NOW).dht_key().to_bytes();
        assert_refused(judge, putter, &at, signed_by(&made(1, 2 * NOW), &signer(6)), "unsigned").await;
        // Signed well, but by the owner of another key of the DHT.
        let others = record(&signer(6), b"hello", 1, 2 * NOW).seal(&signer(6)).unwrap();
        assert_refused(judge, putter, &at, others, "malformed").await;
        assert_refused(judge, putter, &at, made(1, NOW).seal(&key).unwrap(), "expired").await;
        putter.put_record(&made(2, 2 * NOW), &key).await.unwrap();
        assert_refused(judge, putter, &at, made(1, 2 * NOW).seal(&key).unwrap(), "older").await;
        let seeker = start(Role::Client, &bootstrap).await;
        let found = seeker.handle().find_signed(key.id(), &label(), AT).await.unwrap();
        assert_eq!(found.record.value, b"hello");
        let later = seeker.handle().find_signed(key.id(), &label(), TrustedTime(2 * NOW)).await;
        assert!(matches!(later, Err(RecordsError::NoneValid { .. })), "{later:?}");
    })
    .await;
}
