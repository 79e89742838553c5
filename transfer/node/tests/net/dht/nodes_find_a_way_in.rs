//! A node joins by whatever first peers it has, when they are there, and stays when they are gone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use phase_node::bootstrap::{BootstrapPeer, BootstrapSource, peers_document};
use phase_node::{Identity, Node, NodeConfig, Role};
use phase_test_support::{in_time, until};

use super::{CONTENT, network, providers};
use crate::nodes::{loopback, start};

/// An address of this machine at which nobody listens yet.
fn free_address() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn joins(bootstrap: Vec<BootstrapSource>) -> NodeConfig {
    NodeConfig { bootstrap, ..NodeConfig::in_dht(Role::Server, loopback(), Vec::new()) }
}

/// Serves a list of peers over HTTP until the process ends.
fn serve_list(listener: TcpListener, document: String) {
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", document.len());
            // Whoever has gone away does not want it.
            let _ = connection.write_all((head + &document).as_bytes());
        }
    });
}

async fn is_joined(node: &Node) {
    node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_goes_on_without_its_first_nodes() {
    in_time(async {
        let (first, mut bootstrap) = network().await;
        let second = start(Role::Server, &bootstrap).await;
        bootstrap.push(crate::nodes::address(second.handle()).await);
        let provider = start(Role::Server, &bootstrap).await;
        let seeker = start(Role::Server, &bootstrap).await;
        let gone = [first.handle().peer_id(), second.handle().peer_id()];
        // They have met.
        until("they know one another", async || {
            seeker.handle().find_closest(CONTENT.clone()).await.finish().await.unwrap();
            let peer = provider.handle().peer_id();
            seeker.handle().peer(&peer).is_some_and(|info| info.is_dht_server)
        })
        .await;
        first.stop().await;
        second.stop().await;
        for node in [&seeker, &provider] {
            let are_away = async || gone.iter().all(|peer| node.handle().peer(peer).is_none_or(|i| !i.is_connected()));
            until("the first nodes are away", are_away).await;
        }
        provider.handle().provide(&CONTENT).await.unwrap();
        until("it is found", async || providers(seeker.handle(), &CONTENT).await == [provider.handle().peer_id()])
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_node_that_comes_late_is_joined() {
    in_time(async {
        let identity = Identity::ephemeral();
        let socket = free_address();
        let address: phase_node::Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", socket.port()).parse().unwrap();
        let late = BootstrapPeer { peer: Some(identity.peer_id()), address: address.clone() };
        let node = Node::start(joins(vec![late.into()])).await.unwrap();
        // It has tried, and more than once. It notes no peer that it has not met, so its dials are what can be seen.
        let listener = tokio::net::TcpListener::bind(socket).await.unwrap();
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        drop(listener);
        assert_eq!(*node.handle().routing_peers().borrow(), 0);
        let first = NodeConfig { identity, ..NodeConfig::in_dht(Role::Server, vec![address], Vec::new()) };
        let _first = Node::start(first).await.unwrap();
        is_joined(&node).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_behind_a_url_leads_in_also_when_its_server_comes_late() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let document = peers_document(&[(bootstrap[0].peer.unwrap(), vec![bootstrap[0].address.clone()])]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = |socket| format!("http://{socket}/peers").parse::<BootstrapSource>().unwrap();
        let source = url(listener.local_addr().unwrap());
        serve_list(listener, document.clone());
        is_joined(&Node::start(joins(vec![source])).await.unwrap()).await;

        let socket = free_address();
        let node = Node::start(joins(vec![url(socket)])).await.unwrap();
        // The first request finds somebody who hangs up.
        let listener = tokio::net::TcpListener::bind(socket).await.unwrap();
        drop(listener.accept().await.unwrap());
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(*node.handle().routing_peers().borrow(), 0);
        serve_list(listener, document);
        is_joined(&node).await;
    })
    .await;
}
