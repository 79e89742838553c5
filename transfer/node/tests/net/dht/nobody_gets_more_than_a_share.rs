//! What strangers announce is cut to what can be true, and who asks too much is ignored for a while, alone.

use std::time::Duration;

use futures::future::join_all;
use libp2p::{Multiaddr, PeerId};
use phase_node::{DhtConfig, Limits, Node, Rate, Role};

use phase_test_support::{in_time, until};
use tokio::time::timeout;

use super::{CONTENT, KEY, OTHER, network, pointer, providers};
use crate::nodes::{address, refused, start, start_in_dht};
use crate::stranger::{Stranger, add_provider, find_node, get_providers, put_value};

/// How long somebody waits who is not answered.
const MOMENT: Duration = Duration::from_millis(300);
/// More than a connection has streams for, by far.
const FLOOD: usize = 150;

async fn provided(node: &Node) -> usize {
    node.handle().dht_stats().await.unwrap().providers
}

/// Announces something; who hears it says nothing.
async fn announce(stranger: &Stranger, to: PeerId, message: &[u8]) {
    use futures::AsyncWriteExt as _;
    let mut stream = stranger.tell(to, message).await.unwrap();
    stream.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_addresses_eight_are_kept_that_can_be_true() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let stranger = Stranger::start(&bootstrap[0]).await;
        let bad =
            ["/ip4/0.0.0.0/tcp/1", "/dns4/victim.test/tcp/1", "/ip4/127.0.0.1/tcp/0", "/memory/1", "/ip4/127.0.0.2"];
        let good = (1..100).map(|port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
        let all: Vec<Multiaddr> = bad.iter().map(|text| text.parse().unwrap()).chain(good).collect();
        announce(&stranger, first.handle().peer_id(), &add_provider(&CONTENT.to_bytes(), stranger.peer, &all)).await;
        until("it is kept", async || provided(&first).await == 1).await;
        // It is told as it was kept: the message names each address once.
        let other = Stranger::start(&bootstrap[0]).await;
        let answer = other.ask(first.handle().peer_id(), &get_providers(&CONTENT)).await.unwrap();
        let told = |address: &Multiaddr| answer.windows(address.len()).any(|part| part == address.as_ref());
        assert_eq!(all[..5].iter().filter(|address| told(address)).count(), 0);
        let kept: Vec<_> = all[5..].iter().filter(|address| told(address)).collect();
        assert_eq!(kept, all[5..13].iter().collect::<Vec<_>>());
        let seeker = start(Role::Client, &bootstrap).await;
        let (found, _) = seeker.handle().find_providers(&CONTENT).await.collect().await;
        assert!(found[0].addresses.len() == 8 && found[0].addresses.iter().all(|one| all[5..13].contains(one)));

        // Nothing that can be true is left of these.
        announce(&stranger, first.handle().peer_id(), &add_provider(&OTHER.to_bytes(), stranger.peer, &all[..5])).await;
        until("it is refused", async || refused(first.handle(), "no_address") == 1).await;
        announce(&stranger, first.handle().peer_id(), &add_provider(b"/phase/x", stranger.peer, &all)).await;
        until("it is refused", async || refused(first.handle(), "namespace") == 1).await;
        assert_eq!(provided(&first).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_announces_or_withdraws_for_somebody_else() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let hub = first.handle().peer_id();
        let honest = start(Role::Server, &bootstrap).await;
        honest.handle().provide(&CONTENT).await.unwrap();
        until("it is kept", async || provided(&first).await == 1).await;
        let stranger = Stranger::start(&bootstrap[0]).await;
        let other = honest.handle().peer_id();
        let address = [stranger.address.clone()];
        announce(&stranger, hub, &add_provider(&CONTENT.to_bytes(), other, &[])).await;
        announce(&stranger, hub, &add_provider(&OTHER.to_bytes(), other, &address)).await;
        announce(&stranger, hub, &add_provider(&OTHER.to_bytes(), stranger.peer, &address)).await;
        until("its own is kept", async || provided(&first).await == 2).await;
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [other]);
        assert_eq!(providers(seeker.handle(), &OTHER).await, [stranger.peer]);
        // Its own it can withdraw.
        announce(&stranger, hub, &add_provider(&OTHER.to_bytes(), stranger.peer, &[])).await;
        until("its own is withdrawn", async || provided(&first).await == 1).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [other]);
    })
    .await;
}

/// Limits of which one is low.
fn limits(low: &str, ignore_for: Duration) -> Limits {
    let of = |name| match low == name {
        true => Rate { burst: 30, per_second: 10.0 },
        false => Rate { burst: 10_000, per_second: 1000.0 },
    };
    Limits { puts: of("puts"), provides: of("provides"), queries: of("queries"), ignore_for }
}

/// A server with such limits.
async fn strict(low: &str, ignore_for: Duration) -> Node {
    start_in_dht(DhtConfig { role: Role::Server, limits: limits(low, ignore_for), ..DhtConfig::default() }, &[]).await
}

/// Has a stranger say `message` until that is too much.
async fn flood(stranger: &Stranger, node: &Node, low: &str, message: &[u8]) {
    let hub = node.handle().peer_id();
    let talk = async {
        loop {
            match low {
                "provides" => announce(stranger, hub, message).await,
                // Some wait for an answer for as long as the stranger is ignored.
                _ => drop(join_all((0..FLOOD).map(|_| stranger.ask(hub, message))).await),
            }
        }
    };
    tokio::select! {
        () = talk => unreachable!("it goes on for ever"),
        () = until("it is too much", async || refused(node.handle(), "rate_limit") > 0) => {}
    }
}

async fn ignored(node: &Node) -> usize {
    node.handle().dht_stats().await.unwrap().ignored_peers
}

/// Asserts that a stranger who sends `message` too often is ignored, alone, and not for ever.
async fn assert_ignored_for_a_while(low: &str, message: impl Fn(PeerId) -> Vec<u8>) {
    let node = strict(low, Duration::from_secs(600)).await;
    let (hub, bootstrap) = (node.handle().peer_id(), [address(node.handle()).await]);
    let honest = start(Role::Client, &bootstrap).await;
    let stranger = Stranger::start(&bootstrap[0]).await;
    assert!(stranger.ask(hub, &find_node(&KEY)).await.is_some());
    flood(&stranger, &node, low, &message(stranger.peer)).await;
    until("it is ignored", async || ignored(&node).await == 1).await;
    let metric = "phase_dht_ignored_peers";
    until("it is counted", async || crate::nodes::counted(node.handle(), metric) == 1).await;
    for question in [find_node(&KEY), get_providers(&KEY), put_value(&KEY.to_bytes(), &pointer("stable/x86_64", 1))] {
        // None, or none yet.
        assert!(!matches!(timeout(MOMENT, stranger.ask(hub, &question)).await, Ok(Some(_))), "{low}");
    }
    assert_eq!(refused(node.handle(), "rate_limit"), 1, "{low}");
    until("it is refused for being ignored", async || refused(node.handle(), "ignored") >= 1).await;
    let stats = node.handle().dht_stats().await.unwrap();
    // Only what it said before.
    assert!(stats.ignored_peers == 1 && stats.values == 0, "{low} {stats:?}");
    let report = honest.handle().find_closest(KEY.clone()).await.finish().await.unwrap();
    assert_eq!((report.answered, report.failed), (1, 0), "{low}");

    let node = strict(low, Duration::from_secs(1)).await;
    let hub = node.handle().peer_id();
    let stranger = Stranger::start(&address(node.handle()).await).await;
    flood(&stranger, &node, low, &message(stranger.peer)).await;
    until("it is forgiven", async || ignored(&node).await == 0).await;
    // On the same connection, whose streams had all been waiting.
    let answered = async || matches!(timeout(MOMENT, stranger.ask(hub, &find_node(&KEY))).await, Ok(Some(_)));
    until("it is answered again", answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_puts_too_much_is_ignored_for_a_while() {
    in_time(assert_ignored_for_a_while("puts", |_| put_value(&KEY.to_bytes(), b"junk"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_provides_too_much_is_ignored_for_a_while() {
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let message = |peer| add_provider(&CONTENT.to_bytes(), peer, std::slice::from_ref(&address));
    in_time(assert_ignored_for_a_while("provides", message)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_ignored_for_a_while() {
    in_time(assert_ignored_for_a_while("queries", |_| find_node(&KEY))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_kept_from_the_honest_while_others_flood() {
    in_time(async {
        let few = limits("queries", Duration::from_secs(600));
        let limits = Limits { queries: Rate { burst: 60, per_second: 1.0 }, ..few };
        let config = DhtConfig { role: Role::Server, limits, ..DhtConfig::default() };
        let node = start_in_dht(config, &[]).await;
        let (hub, bootstrap) = (node.handle().peer_id(), [address(node.handle()).await]);
        let honest = join_all((0..6).map(|_| start(Role::Client, &bootstrap))).await;
        let strangers = join_all((0..3).map(|_| Stranger::start(&bootstrap[0]))).await;
        let flood = async {
            loop {
                let asked = strangers.iter().flat_map(|one| (0..10).map(|_| one.ask(hub, &FIND)).collect::<Vec<_>>());
                // Nobody waits for answers.
                let _ = timeout(MOMENT / 10, join_all(asked)).await;
            }
        };
        let questions = async {
            until("the strangers are ignored", async || ignored(&node).await == 3).await;
            let asked = honest.iter().flat_map(|one| (0..20).map(|n| ask_all(one, n)).collect::<Vec<_>>());
            join_all(asked).await;
        };
        tokio::select! {
            () = flood => unreachable!("it goes on for ever"),
            () = questions => {}
        }
        assert_eq!((ignored(&node).await, refused(node.handle(), "rate_limit")), (3, 3));
        assert!(refused(node.handle(), "ignored") > 3);
    })
    .await;
}

/// The question that strangers ask.
static FIND: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| find_node(&KEY));

/// Asks the one server that there is, which has to answer.
async fn ask_all(node: &Node, n: usize) {
    let report = match n % 3 {
        0 => node.handle().find_closest(CONTENT.clone()).await.finish().await,
        1 => node.handle().find_values(&CONTENT).await.finish().await,
        _ => node.handle().find_providers(&CONTENT).await.finish().await,
    };
    let report = report.unwrap();
    assert_eq!((report.requests, report.answered, report.failed), (1, 1, 0));
}
