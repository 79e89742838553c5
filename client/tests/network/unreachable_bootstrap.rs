//! Tests that a client that cannot join the network names the address that does not answer.

use std::sync::Arc;

use phase_client::{Client, StartError};
use phase_core::{Attempt, Cause, MemStore};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Identity, NodeConfig, Role};

use phase_test_support::in_time;

async fn start(bootstrap: Vec<BootstrapPeer>) -> Result<Client, StartError> {
    let store = Arc::new(MemStore::default());
    Client::start(store, NodeConfig::in_dht(Role::Client, Vec::new(), bootstrap)).await
}

#[tokio::test]
async fn the_error_names_an_unreachable_bootstrap_peer() {
    in_time(async {
        // Bind a port and free it again, so that no node listens on it.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", socket.local_addr().unwrap().port());
        drop(socket);
        let peer = Identity::ephemeral().peer_id();
        let bootstrap = BootstrapPeer { peer: Some(peer), address: address.parse().unwrap() };
        let Err(error) = start(vec![bootstrap]).await else { panic!("the client has started") };
        let StartError::Unreachable { tried } = &error else { panic!("{error}") };
        let cause = Cause::at(format!("{address}/p2p/{peer}"), "connection refused");
        assert_eq!(tried, &[Attempt::new(peer, vec![cause])]);
        assert_eq!(error.to_string(), "no peer can be reached: 1 was tried");
    })
    .await;
}

#[tokio::test]
async fn a_client_without_a_way_to_find_peers_does_not_start() {
    in_time(async {
        assert!(matches!(start(Vec::new()).await, Err(StartError::NoPeers)));
    })
    .await;
}
