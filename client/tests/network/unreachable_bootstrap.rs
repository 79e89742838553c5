//! A client that cannot join the network says which address does not answer, and does so soon.

use std::sync::Arc;

use phase_client::{Client, StartError};
use phase_core::MemStore;
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Identity, NodeConfig, Role};

use phase_test_support::in_time;

async fn start(bootstrap: Vec<BootstrapPeer>) -> Result<Client, StartError> {
    let store = Arc::new(MemStore::default());
    Client::start(store, NodeConfig::in_dht(Role::Client, Vec::new(), bootstrap)).await
}

#[tokio::test]
async fn an_unreachable_bootstrap_peer_is_named() {
    in_time(async {
        // Bound and not listening: nobody else gets the port, and nobody answers on it.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", socket.local_addr().unwrap().port());
        drop(socket);
        let peer = Identity::ephemeral().peer_id();
        let bootstrap = BootstrapPeer { peer: Some(peer), address: address.parse().unwrap() };
        let Err(error) = start(vec![bootstrap]).await else { panic!("it started") };
        assert!(matches!(error, StartError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{address}/p2p/{peer}")), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_client_needs_somebody_to_ask() {
    in_time(async {
        assert!(matches!(start(Vec::new()).await, Err(StartError::Nobody)));
    })
    .await;
}
