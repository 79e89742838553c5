//! An error contains its cause when a dial or a stream fails, a port is in use, or the node has stopped.

use phase_node::{ConnectError, Node, NodeConfig, NodeError, PeerId, QueryError, Role};
use phase_test_support::in_time;

use crate::dht::{CONTENT, KEY, network, providers};
use crate::nodes::start;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_a_peer_that_is_not_connected_or_does_not_serve_fails() {
    in_time(async {
        let node = start(Role::Client, &[]).await;
        let (other, reachable) = network().await;
        let peer = other.handle().peer_id();
        let error = node.handle().open_stream(peer).await.unwrap_err();
        assert!(error.to_string().contains("not connected"), "{error}");
        node.handle().connect(peer, vec![reachable[0].address.clone()]).await.unwrap();
        let error = node.handle().open_stream(peer).await.unwrap_err();
        assert!(error.to_string().contains("does not serve"), "{error}");
        // After this call, the peer accepts streams.
        let mut streams = other.handle().accept_streams().unwrap();
        assert!(other.handle().accept_streams().is_none());
        node.handle().open_stream(peer).await.unwrap();
        assert_eq!(streams.recv().await.unwrap().0, node.handle().peer_id());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_to_an_unreachable_peer_fails_with_the_cause() {
    in_time(async {
        let node = start(Role::Client, &[]).await;
        let (gone, reachable) = network().await;
        let peer = gone.handle().peer_id();
        gone.stop().await;
        let address = reachable[0].address.clone();
        let error = node.handle().connect(peer, vec![address.clone()]).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        let error = node.handle().connect(PeerId::random(), Vec::new()).await.unwrap_err();
        assert!(matches!(error, ConnectError::NoAddress), "{error:?}");
        // At this address, a peer with another peer id than the dialled one answers, so the dial fails.
        let (other, reachable) = network().await;
        let error = node.handle().connect(PeerId::random(), vec![reachable[0].address.clone()]).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
        drop(other);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_on_a_port_in_use_fails_and_names_the_address() {
    in_time(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
        let listen = vec![address.parse().unwrap()];
        let config = NodeConfig::in_dht(Role::Server, listen, Vec::new());
        let Err(error) = Node::start(config).await else { panic!("the node started on a port in use") };
        assert!(matches!(error, NodeError::Listen { .. }), "{error:?}");
        assert!(error.to_string().contains(&address), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_refuses_commands_and_frees_its_port() {
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
