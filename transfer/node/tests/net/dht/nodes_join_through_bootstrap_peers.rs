//! A node joins the network through any of its bootstrap peers. The bootstrap peer may start after the node. The node
//! stays in the network after its bootstrap peers have stopped.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use phase_node::bootstrap::{BootstrapPeer, BootstrapSource, peers_document};
use phase_node::{Identity, Node, NodeConfig, Role};
use phase_test_support::{in_time, until};

use super::{CONTENT, network, providers};
use crate::nodes::{loopback, start};

/// Returns a loopback address on which no program listens.
fn free_address() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Returns the configuration of a DHT server with the bootstrap sources `bootstrap`.
fn config(bootstrap: Vec<BootstrapSource>) -> NodeConfig {
    NodeConfig { bootstrap, ..NodeConfig::in_dht(Role::Server, loopback(), Vec::new()) }
}

/// Serves the peer list `document` over HTTP until the process ends.
fn serve_list(listener: TcpListener, document: String) {
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", document.len());
            // Writing fails if the client has disconnected.
            let _ = connection.write_all((head + &document).as_bytes());
        }
    });
}

/// Waits until a node is connected to a DHT server.
async fn joined(node: &Node) {
    node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_works_after_its_bootstrap_nodes_have_stopped() {
    in_time(async {
        let (first, mut bootstrap) = network().await;
        let second = start(Role::Server, &bootstrap).await;
        bootstrap.push(crate::nodes::address(second.handle()).await);
        let provider = start(Role::Server, &bootstrap).await;
        let seeker = start(Role::Server, &bootstrap).await;
        let gone = [first.handle().peer_id(), second.handle().peer_id()];
        until("the provider and the seeker know each other", async || {
            seeker.handle().find_closest(CONTENT.clone()).await.finish().await.unwrap();
            let peer = provider.handle().peer_id();
            seeker.handle().peer(&peer).is_some_and(|info| info.is_dht_server)
        })
        .await;
        first.stop().await;
        second.stop().await;
        for node in [&seeker, &provider] {
            let are_away = async || gone.iter().all(|peer| node.handle().peer(peer).is_none_or(|i| !i.is_connected()));
            until("the bootstrap nodes are disconnected", are_away).await;
        }
        provider.handle().provide(&CONTENT).await.unwrap();
        until("the provider is found", async || {
            providers(seeker.handle(), &CONTENT).await == [provider.handle().peer_id()]
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_through_a_bootstrap_peer_that_starts_late() {
    in_time(async {
        let identity = Identity::ephemeral();
        let socket = free_address();
        let address: phase_node::Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", socket.port()).parse().unwrap();
        let late = BootstrapPeer { peer: Some(identity.peer_id()), address: address.clone() };
        let node = Node::start(config(vec![late.into()])).await.unwrap();
        // The node must dial again after a failed dial, so this listener closes two connections before the bootstrap
        // peer starts.
        let listener = tokio::net::TcpListener::bind(socket).await.unwrap();
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        drop(listener);
        assert_eq!(*node.handle().routing_peers().borrow(), 0);
        let first = NodeConfig { identity, ..NodeConfig::in_dht(Role::Server, vec![address], Vec::new()) };
        let _first = Node::start(first).await.unwrap();
        joined(&node).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_list_is_fetched_even_if_its_server_starts_late() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let document = peers_document(&[(bootstrap[0].peer.unwrap(), vec![bootstrap[0].address.clone()])]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = |socket| format!("http://{socket}/peers").parse::<BootstrapSource>().unwrap();
        let source = url(listener.local_addr().unwrap());
        serve_list(listener, document.clone());
        joined(&Node::start(config(vec![source])).await.unwrap()).await;

        let socket = free_address();
        let node = Node::start(config(vec![url(socket)])).await.unwrap();
        // The server closes the first connection without an answer, so the node must retry.
        let listener = tokio::net::TcpListener::bind(socket).await.unwrap();
        drop(listener.accept().await.unwrap());
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(*node.handle().routing_peers().borrow(), 0);
        serve_list(listener, document);
        joined(&node).await;
    })
    .await;
}
