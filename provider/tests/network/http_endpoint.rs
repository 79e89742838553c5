//! Tests that a provider serves bootstrap peers, metrics and its health over HTTP, and that slow clients cannot block
//! other clients.

use phase_core::{Fails, Failure};
use phase_node::bootstrap::BootstrapSource;
use phase_node::{Node, NodeConfig, Role};
use phase_provider::{Provider, ProviderError};
use serde_json::Value;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::support::{config, get, in_time, joined, source, start, until};

/// More connections than the provider serves at the same time, so that some of them must wait.
const CROWD: usize = 80;

#[tokio::test]
async fn a_node_joins_the_network_with_only_a_list_of_peers() {
    let folder = tempdir().unwrap();
    in_time(async {
        let first = start(&folder.path().join("first"), &[]).await;
        let second = start(&folder.path().join("second"), &[source(first.node()).await]).await;
        until(async || second.node().connected_dht_servers().len() == 1).await;

        let answer = get(&second, "/peers").await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        let document: Value = serde_json::from_str(&answer.body).unwrap();
        let expected = [&second, &first].map(|provider| provider.peer_id().to_string());
        let listed = document["peers"].as_array().unwrap();
        assert_eq!(listed.iter().map(|entry| entry["peer_id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
        for (entry, provider) in listed.iter().zip([&second, &first]) {
            let listening = provider.node().listen_addresses().await;
            assert_eq!(entry["addresses"], serde_json::json!(listening));
        }

        let url: BootstrapSource = format!("http://{}/peers", second.http_address().unwrap()).parse().unwrap();
        let node = NodeConfig { bootstrap: vec![url], ..NodeConfig::in_dht(Role::Client, Vec::new(), Vec::new()) };
        let node = Node::start(node).await.unwrap();
        joined(node.handle()).await;
    })
    .await;
}

#[tokio::test]
async fn metrics_have_the_format_of_prometheus() {
    let folder = tempdir().unwrap();
    in_time(async {
        let first = start(&folder.path().join("first"), &[]).await;
        let second = start(&folder.path().join("second"), &[source(first.node()).await]).await;
        until(async || get(&second, "/metrics").await.body.contains("phase_dht_routing_table_peers 1\n")).await;
        let answer = get(&second, "/metrics").await;
        assert_eq!(answer.status, 200);
        let content_type = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(answer.head.contains(content_type), "{}", answer.head);
        assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
        for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with("phase_"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(answer.body.contains("\nphase_peers{state=\"identified\"} 1\n"), "{}", answer.body);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_the_known_paths() {
    let folder = tempdir().unwrap();
    in_time(async {
        let provider = start(&folder.path().join("store"), &[]).await;
        let health = get(&provider, "/health").await;
        assert_eq!((health.status, health.body), (200, format!("ok {}\n", provider.peer_id())));
        for path in ["/", "/peer", "/peers/", "/metrics/../peers", "/%2e%2e/etc/passwd"] {
            let answer = get(&provider, path).await;
            assert_eq!(answer.status, 404, "{path}");
            assert!(["/peers", "/metrics", "/health"].iter().all(|path| answer.body.contains(path)), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn slow_clients_are_disconnected_so_that_other_clients_are_served() {
    let folder = tempdir().unwrap();
    in_time(async {
        let provider = start(&folder.path().join("store"), &[]).await;
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            let mut slow = TcpStream::connect(provider.http_address().unwrap()).await.unwrap();
            slow.write_all(b"GET /health HTTP/1.1\r\nhost:").await.unwrap();
            crowd.push(slow);
        }
        assert_eq!(get(&provider, "/health").await.status, 200);
        let mut rest = Vec::new();
        // Wait until the server ends the connection of the slow client, with or without a response.
        let _ = crowd[0].read_to_end(&mut rest).await;
    })
    .await;
}

#[tokio::test]
async fn the_error_names_a_port_in_use_and_the_store_is_not_locked() {
    let folder = tempdir().unwrap();
    in_time(async {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let mut busy = config(folder.path(), &[]);
        busy.http = Some(address);
        let error = Provider::start(busy).await.err().unwrap();
        assert!(matches!(error, ProviderError::Http { .. }), "{error}");
        assert!(error.to_string().contains(&format!("http://{address}")), "{error}");
        assert_eq!(error.failure(), Failure::Network);
        // The store can be locked again, because the failed start has unlocked it.
        start(folder.path(), &[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_stopped_provider_has_freed_its_port_and_closed_its_connections() {
    let folder = tempdir().unwrap();
    in_time(async {
        let provider = start(folder.path(), &[]).await;
        let address = provider.http_address().unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(idle.read_u8().await.unwrap(), b'H');
        provider.stop().await;
        assert!(TcpStream::connect(address).await.is_err());
        let mut rest = Vec::new();
        let _ = idle.read_to_end(&mut rest).await;
        let mut again = config(folder.path(), &[]);
        again.http = Some(address);
        let again = Provider::start(again).await.unwrap();
        assert_eq!(again.http_address(), Some(address));
    })
    .await;
}
