//! What the DHT keeps and forgets, and how what cannot work ends.

use phase_core::codec::V1;
use phase_core::{Cid, Envelope, Pointer, SigningKey};
use phase_transfer::net::bootstrap::BootstrapPeer;
use phase_transfer::net::{ConnectError, Identity, Node, NodeConfig, NodeError, NodeHandle, PeerId, QueryError, Role};

use crate::nodes::{address, in_time, start};

const KEY: &[u8] = b"/phase/stable/x86_64/manifest";

fn pointer(name: &str, version: u64) -> Vec<u8> {
    let pointer = Pointer {
        v: V1,
        name: name.parse().unwrap(),
        manifest: Cid::of_block(b"manifest"),
        version,
        issued_at: 1,
        expires_at: 2,
        urls: Vec::new(),
    };
    let mut envelope = Envelope::unsigned(&pointer).unwrap();
    envelope.sign::<Pointer>(&SigningKey::from_secret_bytes(&[1; 32])).unwrap();
    envelope.encode()
}

/// The first node of a network, and how to reach it.
async fn network() -> (Node, Vec<BootstrapPeer>) {
    let first = start(Role::Server, &[]).await;
    let bootstrap = vec![address(first.handle()).await];
    (first, bootstrap)
}

async fn providers(node: &NodeHandle, key: &[u8]) -> Vec<PeerId> {
    let mut found = node.find_providers(key).await;
    let mut all = Vec::new();
    while let Some(peer) = found.recv().await {
        all.push(peer);
    }
    all.sort();
    all.dedup();
    all
}

async fn values(node: &NodeHandle, key: &[u8]) -> Vec<Vec<u8>> {
    let mut found = node.find_values(key).await;
    let mut all = Vec::new();
    while let Some(value) = found.recv().await {
        all.push(value);
    }
    all.dedup();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_found_and_reached_by_somebody_who_knows_only_the_first_node() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let provider = start(Role::Server, &bootstrap).await;
        provider.handle().provide(b"key").await.unwrap();
        provider.handle().settle(b"key").await;
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(providers(seeker.handle(), b"key").await, [provider.handle().peer_id()]);
        seeker.handle().connect(provider.handle().peer_id(), Vec::new()).await.unwrap();
        assert_eq!(providers(seeker.handle(), b"other key").await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withdrawn_is_not_found_any_more() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let leaving = start(Role::Server, &bootstrap).await;
        let staying = start(Role::Server, &bootstrap).await;
        for node in [&leaving, &staying] {
            node.handle().provide(b"key").await.unwrap();
            node.handle().settle(b"key").await;
        }
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(providers(seeker.handle(), b"key").await.len(), 2);
        leaving.handle().hide_addresses().await;
        leaving.handle().withdraw(b"key").await.unwrap();
        leaving.handle().settle(b"key").await;
        leaving.stop().await;
        assert_eq!(providers(seeker.handle(), b"key").await, [staying.handle().peer_id()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_is_kept_and_never_replaced_by_an_older_one_or_by_junk() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        // A client's own part of the DHT is not asked: what is found is what the first node keeps.
        let publisher = start(Role::Client, &bootstrap).await;
        let seeker = start(Role::Client, &bootstrap).await;
        let newest = pointer("stable/x86_64", 5);
        publisher.handle().put(KEY, pointer("stable/x86_64", 4)).await.unwrap();
        publisher.handle().put(KEY, newest.clone()).await.unwrap();
        assert_eq!(values(seeker.handle(), KEY).await, [&newest[..]]);
        let others = [pointer("stable/x86_64", 4), pointer("edge/x86_64", 9), b"junk".to_vec(), Vec::new()];
        for (turn, other) in others.into_iter().enumerate() {
            let node = start(Role::Client, &bootstrap).await;
            // Whether it was kept, nobody says.
            node.handle().put(KEY, other).await.unwrap();
            assert_eq!(values(seeker.handle(), KEY).await, [&newest[..]], "put {turn}");
        }
        let stray = start(Role::Client, &bootstrap).await;
        stray.handle().put(b"key", newest).await.unwrap();
        assert_eq!(values(seeker.handle(), b"key").await, Vec::<Vec<u8>>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_nobody_answers_ends_and_says_so() {
    in_time(async {
        let alone = start(Role::Server, &[]).await;
        assert!(matches!(alone.handle().put(KEY, pointer("stable/x86_64", 1)).await, Err(QueryError::NotStored)));
        assert_eq!(providers(alone.handle(), b"key").await, []);

        let (first, bootstrap) = network().await;
        let left = start(Role::Client, &bootstrap).await;
        first.stop().await;
        let put = left.handle().put(KEY, pointer("stable/x86_64", 1)).await;
        assert!(matches!(put, Err(QueryError::NotStored | QueryError::Timeout)), "{put:?}");
        assert_eq!(providers(left.handle(), b"key").await, []);
        assert_eq!(values(left.handle(), b"key").await, Vec::<Vec<u8>>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_somebody_who_is_not_connected_or_does_not_serve_is_an_error() {
    in_time(async {
        let node = start(Role::Client, &[]).await;
        let (other, reachable) = network().await;
        let peer = other.handle().peer_id();
        let error = node.handle().open_stream(peer).await.unwrap_err();
        assert!(error.to_string().contains("not connected"), "{error}");
        node.handle().connect(peer, vec![reachable[0].address.clone()]).await.unwrap();
        let error = node.handle().open_stream(peer).await.unwrap_err();
        assert!(error.to_string().contains("does not serve"), "{error}");
        // Somebody takes streams from now on.
        let mut streams = other.handle().accept_streams().unwrap();
        assert!(other.handle().accept_streams().is_none());
        node.handle().open_stream(peer).await.unwrap();
        assert_eq!(streams.recv().await.unwrap().0, node.handle().peer_id());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_be_reached_is_an_error_with_the_reason() {
    in_time(async {
        let node = start(Role::Client, &[]).await;
        let (gone, somebody) = network().await;
        let peer = gone.handle().peer_id();
        gone.stop().await;
        let address = somebody[0].address.clone();
        let error = node.handle().connect(peer, vec![address.clone()]).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        let error = node.handle().connect(PeerId::random(), Vec::new()).await.unwrap_err();
        assert!(matches!(error, ConnectError::NoAddress), "{error:?}");
        // Somebody else is there.
        let (other, reachable) = network().await;
        let error = node.handle().connect(PeerId::random(), vec![reachable[0].address.clone()]).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
        drop(other);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_that_names_the_address() {
    in_time(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
        let listen = vec![address.parse().unwrap()];
        let config = NodeConfig { identity: Identity::ephemeral(), role: Role::Server, listen, bootstrap: Vec::new() };
        let Err(error) = Node::start(config).await else { panic!("it started") };
        assert!(matches!(error, NodeError::Listen { .. }), "{error:?}");
        assert!(error.to_string().contains(&address), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_says_so_and_frees_its_port() {
    in_time(async {
        let node = start(Role::Server, &[]).await;
        let handle = node.handle().clone();
        let listen = handle.listen_addresses().await;
        node.stop().await;
        assert!(matches!(handle.put(KEY, Vec::new()).await, Err(QueryError::Stopped)));
        assert!(matches!(handle.connect(PeerId::random(), Vec::new()).await, Err(ConnectError::Stopped)));
        assert_eq!(providers(&handle, b"key").await, []);
        let config = NodeConfig { identity: Identity::ephemeral(), role: Role::Server, listen, bootstrap: Vec::new() };
        Node::start(config).await.unwrap();
    })
    .await;
}
