//! A node stores only valid records from peers, and counts each refused record under the reason for the refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use phase_core::codec::V1;
use phase_core::time::TrustedTime;
use phase_core::trust::{ChannelRole, RootRole, TrustRoot};
use phase_core::{Authority, Cid, Contact, DhtKey, DhtRecord, Envelope, Label, Pointer, SignedRecord, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, Identity, Node, NodeConfig, NodeHandle, RecordsError, Role};
use phase_test_support::in_time;

use super::{KEY, name, values};
use crate::nodes::{address, loopback, refused, start, start_in_dht, start_node};
use crate::raw_peer::{RawPeer, put_value};

/// The Unix time that the server's clock returns in these tests.
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

/// Signs a record with any key. `seal` would refuse a key that does not belong to the record.
fn signed_by<R: DhtRecord>(record: &R, key: &SigningKey) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(record).unwrap();
    envelope.sign::<R>(key).unwrap();
    envelope.encode()
}

/// Returns a trust root whose channel `stable` accepts only pointers that `key` has signed.
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

/// Starts a DHT server with a clock, and a client that puts values on this server.
async fn server_and_client(roots: Vec<TrustRoot>) -> (Node, Vec<BootstrapPeer>, Node) {
    let config = DhtConfig { role: Role::Server, clock: Some(Arc::new(|| NOW)), roots, ..DhtConfig::default() };
    let server = start_in_dht(config, &[]).await;
    let bootstrap = vec![address(server.handle()).await];
    let client = start(Role::Client, &bootstrap).await;
    (server, bootstrap, client)
}

/// Puts a value, and asserts that the server refuses the value once, for `reason`.
async fn assert_refused(server: &NodeHandle, client: &NodeHandle, key: &DhtKey, value: Vec<u8>, reason: &str) {
    let before = (refused(server, reason), server.dht_stats().await.unwrap());
    client.put(key, value).await.unwrap();
    let after = server.dht_stats().await.unwrap();
    assert_eq!(refused(server, reason), before.0 + 1, "{reason}: {}", key);
    assert_eq!((after.refused, after.values), (before.1.refused + 1, before.1.values), "{reason}");
}

/// Puts a value, and asserts that the server stores the value.
async fn assert_kept(server: &NodeHandle, client: &NodeHandle, key: &DhtKey, value: Vec<u8>) {
    let before = server.dht_stats().await.unwrap().refused;
    client.put(key, value.clone()).await.unwrap();
    assert_eq!(server.dht_stats().await.unwrap().refused, before, "{}", key);
    assert!(values(server, key).await.contains(&value));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_must_be_signed_unexpired_and_for_its_name() {
    in_time(async {
        let (server, _, client) = server_and_client(Vec::new()).await;
        let (server, client, key) = (server.handle(), client.handle(), signer(1));
        assert_refused(server, client, &KEY, b"junk".to_vec(), "malformed").await;
        assert_refused(server, client, &KEY, Vec::new(), "malformed").await;
        assert_refused(server, client, &KEY, pointer("edge/x86_64", 1, 2 * NOW, Some(&key)), "malformed").await;
        assert_refused(server, client, &KEY, pointer("stable/x86_64", 1, NOW, Some(&key)), "expired").await;
        assert_refused(server, client, &KEY, pointer("stable/x86_64", 1, 2 * NOW, None), "unsigned").await;
        assert_kept(server, client, &KEY, pointer("stable/x86_64", 5, NOW + 1, Some(&key))).await;
        assert_refused(server, client, &KEY, pointer("stable/x86_64", 4, 2 * NOW, Some(&key)), "older").await;
        assert_kept(server, client, &KEY, pointer("stable/x86_64", 6, 2 * NOW, Some(&key))).await;
        let copy = DhtKey::NameCopy("stable/x86_64".parse().unwrap(), 2);
        assert_kept(server, client, &copy, pointer("stable/x86_64", 6, 2 * NOW, Some(&key))).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_trust_root_only_pointers_signed_by_its_keys_are_kept() {
    in_time(async {
        let (server, _, client) = server_and_client(vec![root(&signer(1))]).await;
        let (server, client) = (server.handle(), client.handle());
        assert_refused(server, client, &KEY, pointer("stable/x86_64", 9, 2 * NOW, Some(&signer(2))), "unsigned").await;
        assert_kept(server, client, &KEY, pointer("stable/x86_64", 1, 2 * NOW, Some(&signer(1)))).await;
        // The root does not have the channel `edge`, so a pointer of this channel is stored with any signature.
        let edge = name("edge/x86_64");
        assert_kept(server, client, &edge, pointer("edge/x86_64", 1, 2 * NOW, Some(&signer(2)))).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_under_unknown_keys_and_content_keys_are_refused() {
    in_time(async {
        let (server, bootstrap, _) = server_and_client(Vec::new()).await;
        let (server, raw_peer) = (server.handle(), RawPeer::start(&bootstrap[0]).await);
        let content = DhtKey::Content(Cid::of_block(b"x")).to_bytes();
        let keys = [&b"anything"[..], b"/phase/x", b"/phase/contact/xyz", b"/phase/stable/x86_64/manifest/9", &content];
        for (number, key) in (1..).zip(keys) {
            let value = pointer("stable/x86_64", 1, 2 * NOW, Some(&signer(1)));
            raw_peer.ask(server.peer_id(), &put_value(key, &value)).await.unwrap();
            let stats = server.dht_stats().await.unwrap();
            assert_eq!(refused(server, "namespace"), number, "{}", String::from_utf8_lossy(key));
            assert_eq!((stats.refused, stats.values), (number, 0));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_must_be_signed_by_its_peer_and_can_be_verified() {
    in_time(async {
        let (server, bootstrap, client) = server_and_client(Vec::new()).await;
        let (server, client) = (server.handle(), client.handle());
        let key = signer(7);
        let identity = Identity::from_key(&key);
        let at = contact(&identity, 1, 2 * NOW).dht_key();
        assert_refused(server, client, &at, contact(&identity, 1, 2 * NOW).seal(&signer(8)).unwrap(), "unsigned").await;
        assert_refused(server, client, &at, contact(&identity, 1, NOW).seal(&key).unwrap(), "expired").await;
        let other = contact(&Identity::ephemeral(), 1, 2 * NOW).seal(&key).unwrap();
        assert_refused(server, client, &at, other, "malformed").await;

        let config = NodeConfig { identity, ..NodeConfig::in_dht(Role::Client, loopback(), bootstrap.clone()) };
        let node = start_node(config).await;
        node.handle().advertise_contact(NOW).await.unwrap();
        assert_refused(
            server,
            client,
            &at,
            contact(&Identity::from_key(&key), 1, 2 * NOW).seal(&key).unwrap(),
            "older",
        )
        .await;
        let seeker = start(Role::Client, &bootstrap).await;
        let found = seeker.handle().find_contact(node.handle().peer_id(), AT).await.unwrap();
        let listening: Vec<_> = node.handle().listen_addresses().await.iter().map(ToString::to_string).collect();
        assert_eq!((found.record.addresses.clone(), found.record.version, found.holders), (listening, NOW, 1));
        seeker.handle().verify_contact(&found.record).await.unwrap();
        assert!(seeker.handle().peer(&node.handle().peer_id()).unwrap().is_connected());
        // Verification fails if the contact contains the address of another peer.
        let elsewhere = Contact { addresses: vec![bootstrap[0].address.to_string()], ..found.record };
        let verifier = start(Role::Client, &bootstrap).await;
        verifier.handle().verify_contact(&elsewhere).await.unwrap_err();
        let unknown = seeker.handle().find_contact(Identity::ephemeral().peer_id(), AT).await;
        assert!(matches!(unknown, Err(RecordsError::NotFound { .. })), "{unknown:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_must_be_signed_by_its_own_key() {
    in_time(async {
        let (server, bootstrap, client) = server_and_client(Vec::new()).await;
        let (server, client, key) = (server.handle(), client.handle(), signer(3));
        let made = |version, expires_at| authority(&key, version, expires_at);
        let at = made(1, 2 * NOW).dht_key();
        assert_refused(server, client, &at, signed_by(&made(1, 2 * NOW), &signer(4)), "unsigned").await;
        assert_refused(server, client, &at, made(1, NOW).seal(&key).unwrap(), "expired").await;
        client.put_record(&made(2, 2 * NOW), &key).await.unwrap();
        assert_refused(server, client, &at, made(1, 2 * NOW).seal(&key).unwrap(), "older").await;
        let seeker = start(Role::Client, &bootstrap).await;
        let found = seeker.handle().find_authority(key.id(), AT).await.unwrap();
        assert_eq!((found.record, found.holders), (made(2, 2 * NOW), 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_record_must_be_signed_by_its_owner() {
    in_time(async {
        let (server, bootstrap, client) = server_and_client(Vec::new()).await;
        let (server, client, key) = (server.handle(), client.handle(), signer(5));
        let made = |version, expires_at| record(&key, b"hello", version, expires_at);
        let at = made(1, 2 * NOW).dht_key();
        assert_refused(server, client, &at, signed_by(&made(1, 2 * NOW), &signer(6)), "unsigned").await;
        // The signature is valid, but the record has another owner, so it belongs under another DHT key.
        let foreign = record(&signer(6), b"hello", 1, 2 * NOW).seal(&signer(6)).unwrap();
        assert_refused(server, client, &at, foreign, "malformed").await;
        assert_refused(server, client, &at, made(1, NOW).seal(&key).unwrap(), "expired").await;
        client.put_record(&made(2, 2 * NOW), &key).await.unwrap();
        assert_refused(server, client, &at, made(1, 2 * NOW).seal(&key).unwrap(), "older").await;
        let seeker = start(Role::Client, &bootstrap).await;
        let found = seeker.handle().find_signed(key.id(), &label(), AT).await.unwrap();
        assert_eq!(found.record.value, b"hello");
        let later = seeker.handle().find_signed(key.id(), &label(), TrustedTime(2 * NOW)).await;
        assert!(matches!(later, Err(RecordsError::NoneValid { .. })), "{later:?}");
    })
    .await;
}
