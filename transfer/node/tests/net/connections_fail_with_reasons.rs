//! What cannot work says why: dials, streams, ports in use, a node that has been stopped.

use phase_node::{ConnectError, Node, NodeConfig, NodeError, PeerId, QueryError, Role};
use phase_test_support::in_time;

use crate::dht::{CONTENT, KEY, network, providers};
use crate::nodes::start;

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
        let config = NodeConfig::in_dht(Role::Server, listen, Vec::new());
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
        assert!(matches!(handle.put(&KEY, Vec::new()).await, Err(QueryError::Stopped)));
        assert!(matches!(handle.connect(PeerId::random(), Vec::new()).await, Err(ConnectError::Stopped)));
        assert_eq!(providers(&handle, &CONTENT).await, []);
        let config = NodeConfig::in_dht(Role::Server, listen, Vec::new());
        Node::start(config).await.unwrap();
    })
    .await;
}
