//! Tests of the limits on each peer. A node stores only believable addresses of a provider: those that the provider can
//! have, judged by the scope of its connection. For a while, a node ignores a peer that sends too many requests. It
//! continues to answer the other peers.

use std::time::Duration;

use futures::future::join_all;
use libp2p::{Multiaddr, PeerId};
use phase_node::{DhtConfig, Limits, Node, Rate, Role};

use phase_test_support::{in_time, until};
use tokio::time::timeout;

use super::{CONTENT, KEY, OTHER, network, pointer, providers};
use crate::nodes::{address, refused, start, start_in_dht};
use crate::raw_peer::{RawPeer, add_provider, find_node, get_providers, put_value};

/// How long a test waits before it concludes that no answer arrives.
const MOMENT: Duration = Duration::from_millis(300);
/// The number of concurrent requests in a flood: far more than the streams that a connection permits.
const FLOOD: usize = 150;

/// Returns how many provider records a node stores for peers.
async fn provided(node: &Node) -> usize {
    node.handle().dht_stats().await.unwrap().providers
}

/// Sends an announcement without waiting, because an announcement has no answer.
async fn announce(raw_peer: &RawPeer, to: PeerId, message: &[u8]) {
    use futures::AsyncWriteExt as _;
    let mut stream = raw_peer.send(to, message).await.unwrap();
    stream.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_eight_believable_addresses_of_a_provider_are_stored() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let raw_peer = RawPeer::start(&bootstrap[0]).await;
        let bad =
            ["/ip4/0.0.0.0/tcp/1", "/dns4/victim.test/tcp/1", "/ip4/127.0.0.1/tcp/0", "/memory/1", "/ip4/127.0.0.2"];
        let good = (1..100).map(|port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
        let all: Vec<Multiaddr> = bad.iter().map(|text| text.parse().unwrap()).chain(good).collect();
        announce(&raw_peer, first.handle().peer_id(), &add_provider(&CONTENT.to_bytes(), raw_peer.peer, &all)).await;
        until("the record is stored", async || provided(&first).await == 1).await;
        // Another raw peer asks the first node for the providers. The answer contains the stored addresses.
        let other = RawPeer::start(&bootstrap[0]).await;
        let answer = other.ask(first.handle().peer_id(), &get_providers(&CONTENT)).await.unwrap();
        let is_returned = |address: &Multiaddr| answer.windows(address.len()).any(|part| part == address.as_ref());
        assert_eq!(all[..5].iter().filter(|address| is_returned(address)).count(), 0);
        let kept: Vec<_> = all[5..].iter().filter(|address| is_returned(address)).collect();
        assert_eq!(kept, all[5..13].iter().collect::<Vec<_>>());
        let seeker = start(Role::Client, &bootstrap).await;
        let (found, _) = seeker.handle().find_providers(&CONTENT).await.collect().await;
        assert!(found[0].addresses.len() == 8 && found[0].addresses.iter().all(|one| all[5..13].contains(one)));

        // The record under `OTHER` contains only unbelievable addresses, so the first node refuses the whole record.
        announce(&raw_peer, first.handle().peer_id(), &add_provider(&OTHER.to_bytes(), raw_peer.peer, &all[..5])).await;
        until("the record without believable addresses is refused", async || {
            refused(first.handle(), "no_address") == 1
        })
        .await;
        announce(&raw_peer, first.handle().peer_id(), &add_provider(b"/phase/x", raw_peer.peer, &all)).await;
        until("the record under an unknown key is refused", async || refused(first.handle(), "namespace") == 1).await;
        assert_eq!(provided(&first).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_cannot_announce_or_withdraw_for_another_peer() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let hub = first.handle().peer_id();
        let honest = start(Role::Server, &bootstrap).await;
        honest.handle().provide(&CONTENT).await.unwrap();
        until("the honest record is stored", async || provided(&first).await == 1).await;
        let raw_peer = RawPeer::start(&bootstrap[0]).await;
        let other = honest.handle().peer_id();
        let address = [raw_peer.address.clone()];
        announce(&raw_peer, hub, &add_provider(&CONTENT.to_bytes(), other, &[])).await;
        announce(&raw_peer, hub, &add_provider(&OTHER.to_bytes(), other, &address)).await;
        announce(&raw_peer, hub, &add_provider(&OTHER.to_bytes(), raw_peer.peer, &address)).await;
        until("the record of the raw peer itself is stored", async || provided(&first).await == 2).await;
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [other]);
        assert_eq!(providers(seeker.handle(), &OTHER).await, [raw_peer.peer]);
        // The raw peer can withdraw its own provider record.
        announce(&raw_peer, hub, &add_provider(&OTHER.to_bytes(), raw_peer.peer, &[])).await;
        until("the record of the raw peer itself is withdrawn", async || provided(&first).await == 1).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [other]);
    })
    .await;
}

/// Returns high limits for all kinds of requests except the kind `low`, which has a low limit.
fn limits(low: &str, ignore_for: Duration) -> Limits {
    let of = |name| match low == name {
        true => Rate { burst: 30, per_second: 10.0 },
        false => Rate { burst: 10_000, per_second: 1000.0 },
    };
    Limits { puts: of("puts"), provides: of("provides"), queries: of("queries"), ignore_for }
}

/// Starts a DHT server with the limits from [`limits`].
async fn strict(low: &str, ignore_for: Duration) -> Node {
    start_in_dht(DhtConfig { role: Role::Server, limits: limits(low, ignore_for), ..DhtConfig::default() }, &[]).await
}

/// Sends `message` again and again until the raw peer exceeds its limit.
async fn flood(raw_peer: &RawPeer, node: &Node, low: &str, message: &[u8]) {
    let hub = node.handle().peer_id();
    let send = async {
        loop {
            match low {
                "provides" => announce(raw_peer, hub, message).await,
                // Once the raw peer is ignored, some of these requests wait for their answer until it is no longer
                // ignored.
                _ => drop(join_all((0..FLOOD).map(|_| raw_peer.ask(hub, message))).await),
            }
        }
    };
    tokio::select! {
        () = send => unreachable!("the flood never ends by itself"),
        () = until("the limit is exceeded", async || refused(node.handle(), "rate_limit") > 0) => {}
    }
}

/// Returns the number of peers that a node currently ignores.
async fn ignored(node: &Node) -> usize {
    node.handle().dht_stats().await.unwrap().ignored_peers
}

/// Asserts that a peer that sends `message` too often is ignored for a while, and that no other peer is ignored.
async fn assert_ignored_for_a_while(low: &str, message: impl Fn(PeerId) -> Vec<u8>) {
    let node = strict(low, Duration::from_secs(600)).await;
    let (hub, bootstrap) = (node.handle().peer_id(), [address(node.handle()).await]);
    let honest = start(Role::Client, &bootstrap).await;
    let raw_peer = RawPeer::start(&bootstrap[0]).await;
    assert!(raw_peer.ask(hub, &find_node(&KEY)).await.is_some());
    flood(&raw_peer, &node, low, &message(raw_peer.peer)).await;
    until("the raw peer is ignored", async || ignored(&node).await == 1).await;
    let metric = "phase_dht_ignored_peers";
    until("the metric counts the ignored peer", async || crate::nodes::counted(node.handle(), metric) == 1).await;
    for request in [find_node(&KEY), get_providers(&KEY), put_value(&KEY.to_bytes(), &pointer("stable/x86_64", 1))] {
        // The raw peer must get no answer within `MOMENT`.
        assert!(!matches!(timeout(MOMENT, raw_peer.ask(hub, &request)).await, Ok(Some(_))), "{low}");
    }
    assert_eq!(refused(node.handle(), "rate_limit"), 1, "{low}");
    until("the requests of the ignored peer are refused", async || refused(node.handle(), "ignored") >= 1).await;
    let stats = node.handle().dht_stats().await.unwrap();
    // Only the raw peer is ignored, and none of its values was stored.
    assert!(stats.ignored_peers == 1 && stats.values == 0, "{low} {stats:?}");
    let report = honest.handle().find_closest(KEY.clone()).await.finish().await.unwrap();
    assert_eq!((report.answered, report.failed), (1, 0), "{low}");

    let node = strict(low, Duration::from_secs(1)).await;
    let hub = node.handle().peer_id();
    let raw_peer = RawPeer::start(&address(node.handle()).await).await;
    flood(&raw_peer, &node, low, &message(raw_peer.peer)).await;
    until("the raw peer is no longer ignored", async || ignored(&node).await == 0).await;
    // Requests without an answer may occupy all streams of the raw peer's connection. The node must free these streams,
    // so that the raw peer can send requests on the same connection again.
    let answered = async || matches!(timeout(MOMENT, raw_peer.ask(hub, &find_node(&KEY))).await, Ok(Some(_)));
    until("the raw peer is answered again", answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_puts_too_many_values_is_ignored_for_a_while() {
    in_time(assert_ignored_for_a_while("puts", |_| put_value(&KEY.to_bytes(), b"junk"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_places_too_many_provider_records_is_ignored_for_a_while() {
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let message = |peer| add_provider(&CONTENT.to_bytes(), peer, std::slice::from_ref(&address));
    in_time(assert_ignored_for_a_while("provides", message)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_too_many_queries_is_ignored_for_a_while() {
    in_time(assert_ignored_for_a_while("queries", |_| find_node(&KEY))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_peers_get_every_answer_while_hostile_peers_flood() {
    in_time(async {
        let few = limits("queries", Duration::from_secs(600));
        let limits = Limits { queries: Rate { burst: 60, per_second: 1.0 }, ..few };
        let config = DhtConfig { role: Role::Server, limits, ..DhtConfig::default() };
        let node = start_in_dht(config, &[]).await;
        let (hub, bootstrap) = (node.handle().peer_id(), [address(node.handle()).await]);
        let honest = join_all((0..6).map(|_| start(Role::Client, &bootstrap))).await;
        let raw_peers = join_all((0..3).map(|_| RawPeer::start(&bootstrap[0]))).await;
        let flood = async {
            loop {
                let asked = raw_peers.iter().flat_map(|one| (0..10).map(|_| one.ask(hub, &FIND)).collect::<Vec<_>>());
                // The answers are not checked, because only the flood of requests matters.
                let _ = timeout(MOMENT / 10, join_all(asked)).await;
            }
        };
        let queries = async {
            until("the raw peers are ignored", async || ignored(&node).await == 3).await;
            let asked = honest.iter().flat_map(|one| (0..20).map(|n| query(one, n)).collect::<Vec<_>>());
            join_all(asked).await;
        };
        tokio::select! {
            () = flood => unreachable!("the flood never ends by itself"),
            () = queries => {}
        }
        assert_eq!((ignored(&node).await, refused(node.handle(), "rate_limit")), (3, 3));
        assert!(refused(node.handle(), "ignored") > 3);
    })
    .await;
}

/// The request that the flooding raw peers send.
static FIND: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| find_node(&KEY));

/// Sends a query to the only DHT server and asserts that the server answers. `n` selects the kind of query.
async fn query(node: &Node, n: usize) {
    let report = match n % 3 {
        0 => node.handle().find_closest(CONTENT.clone()).await.finish().await,
        1 => node.handle().find_values(&CONTENT).await.finish().await,
        _ => node.handle().find_providers(&CONTENT).await.finish().await,
    };
    let report = report.unwrap();
    assert_eq!((report.requests, report.answered, report.failed), (1, 1, 0));
}
