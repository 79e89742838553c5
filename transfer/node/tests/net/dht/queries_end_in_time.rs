//! A query ends in time, and its error names the peers that did not answer.

use std::time::Duration;

use phase_core::Fails as _;
use phase_node::{DhtConfig, PeerId, QueryError, Role};
use phase_test_support::{in_time, until};

use super::{CONTENT, KEY, network, pointer, providers, values};
use crate::nodes::{address, counted, start, start_in_dht};
use crate::raw_peer::RawPeer;

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_any_answer_ends_and_a_put_fails() {
    in_time(async {
        let alone = start(Role::Server, &[]).await;
        assert!(matches!(
            alone.handle().put(&KEY, pointer("stable/x86_64", 1)).await,
            Err(QueryError::NotStored { .. })
        ));
        assert_eq!(providers(alone.handle(), &CONTENT).await, []);

        let (first, bootstrap) = network().await;
        let left = start(Role::Client, &bootstrap).await;
        first.stop().await;
        let put = left.handle().put(&KEY, pointer("stable/x86_64", 1)).await;
        assert!(matches!(put, Err(QueryError::NotStored { .. } | QueryError::Timeout { .. })), "{put:?}");
        assert_eq!(providers(left.handle(), &CONTENT).await, []);
        assert_eq!(values(left.handle(), &CONTENT).await, Vec::<Vec<u8>>::new());
    })
    .await;
}

/// Returns a configuration with a query timeout of two seconds.
fn impatient() -> DhtConfig {
    DhtConfig { query_timeout: Duration::from_secs(2), ..DhtConfig::default() }
}

fn assert_timeout(error: &QueryError, peer: PeerId) {
    assert!(matches!(error, QueryError::Timeout { .. }), "{error:?}");
    assert!(error.to_string().contains("DHT query timeout after 2 s"), "{error}");
    assert!(error.attempts().iter().any(|attempt| attempt.target == peer.to_string()), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_a_dial_ends_in_time_and_names_the_peer() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let leaver = start(Role::Server, &bootstrap).await;
        let (gone, at) = (leaver.handle().peer_id(), leaver.handle().listen_addresses().await[0].clone());
        let node = start_in_dht(impatient(), &bootstrap).await;
        let knows = async || {
            // The search adds the peer to the routing table of `node` once the first node returns the peer.
            let _ = node.handle().find_closest(CONTENT.clone()).await.finish().await;
            node.handle().routing_table().await.iter().any(|known| known.peer == gone)
        };
        until("the peer is known", knows).await;
        leaver.stop().await;
        let is_away = async || node.handle().peer(&gone).is_none_or(|info| !info.is_connected());
        until("the peer is disconnected", is_away).await;

        // The stopped peer's port now belongs to a listener that accepts connections but never sends anything, so a
        // dial of the peer neither succeeds nor fails.
        let port = at.to_string().rsplit('/').next().unwrap().parse::<u16>().unwrap();
        let tarpit = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let error = node.handle().find_providers(&CONTENT).await.finish().await.unwrap_err();
        assert_timeout(&error, gone);
        let error = node.handle().provide(&CONTENT).await;
        // `provide` succeeds if it finds the closest nodes without the silent peer. If it waits for the silent peer, it
        // times out.
        assert!(error.as_ref().err().is_none_or(|error| matches!(error, QueryError::Timeout { .. })), "{error:?}");
        assert!(counted(node.handle(), "phase_dht_query_timeouts_total") >= 1, "{}", node.handle().metrics());
        drop(tarpit);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_an_answer_ends_in_time_and_names_the_peer() {
    in_time(async {
        let node = start_in_dht(DhtConfig { role: Role::Server, ..impatient() }, &[]).await;
        let silent = RawPeer::start_silent_server(&address(node.handle()).await).await;
        node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
        let error = node.handle().find_providers(&CONTENT).await.finish().await.unwrap_err();
        assert_timeout(&error, silent.peer);
        assert_eq!(counted(node.handle(), "phase_dht_queries_total{kind=\"get_providers\",result=\"timeout\"}"), 1);
        let error = node.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap_err();
        assert_timeout(&error, silent.peer);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_succeeds_if_one_node_stores_the_value_and_another_is_silent() {
    in_time(async {
        let (holder, bootstrap) = network().await;
        let patience = DhtConfig { query_timeout: Duration::from_secs(4), ..DhtConfig::default() };
        let node = start_in_dht(patience, &bootstrap).await;
        let silent = RawPeer::start_silent_server(&address(node.handle()).await).await;
        node.handle().routing_peers().wait_for(|peers| *peers > 1).await.unwrap();
        let report = node.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
        assert_eq!(report.stored_at, [holder.handle().peer_id()]);
        assert!(report.unreachable.iter().any(|(peer, _)| *peer == silent.peer), "{report:?}");
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(values(seeker.handle(), &KEY).await, [pointer("stable/x86_64", 1)]);
    })
    .await;
}
