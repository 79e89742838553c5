//! A node reports each change of a peer's state as an event, in order, and counts the states in its metrics.

use phase_node::{PeerEvent, PeerState, Role, Source};
use phase_test_support::{in_time, until};
use tokio::sync::broadcast;

use super::{CONTENT, network};
use crate::nodes::{counted, start};

/// Waits for the next event about the peer `of`.
async fn next(events: &mut broadcast::Receiver<PeerEvent>, of: phase_node::PeerId) -> (PeerState, Source) {
    loop {
        let event = events.recv().await.unwrap();
        if event.peer == of {
            return (event.state, event.source);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_a_peer_are_reported_in_order() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let provider = start(Role::Server, &bootstrap).await;
        let mut streams = provider.handle().accept_streams().unwrap();
        provider.handle().provide(&CONTENT).await.unwrap();
        provider.handle().wait_until_announced(&CONTENT).await;
        // Start a new client, which finds the provider by a search.
        let seeker = start(Role::Client, &bootstrap).await;
        let (seeker, peer) = (seeker.handle(), provider.handle().peer_id());
        let mut events = seeker.peer_events();
        let is_known = seeker.peer(&peer).map(|info| info.state);
        seeker.find_providers(&CONTENT).await.finish().await.unwrap();
        // If the client knew the provider before the search, Kademlia may have connected to it before the subscription
        // to the events. Then the events about the connection are not checked, because some may be missing.
        if is_known.is_none() {
            let first = next(&mut events, peer).await;
            match first {
                (PeerState::Discovered, Source::Dht) => {
                    assert_eq!(next(&mut events, peer).await, (PeerState::Connected, Source::Dht));
                }
                other => assert_eq!(other, (PeerState::Connected, Source::Dht)),
            }
            assert_eq!(next(&mut events, peer).await.0, PeerState::Identified);
        }
        let is_in = |state: PeerState| move || seeker.peer(&peer).is_some_and(|info| info.state == state);
        until("the client has identified the provider", async || is_in(PeerState::Identified)()).await;
        let is_client_identified =
            async || provider.handle().peer(&seeker.peer_id()).is_some_and(|info| info.state == PeerState::Identified);
        until("the provider has identified the client", is_client_identified).await;
        if is_known.is_some() {
            // Subscribe again, so that the old subscription with its incomplete events is dropped.
            events = seeker.peer_events();
        }
        let label = |state: &str| format!("phase_peers{{state=\"{state}\"}}");
        let identified = counted(seeker, &label("identified"));
        let stream = seeker.open_stream(peer).await.unwrap();
        assert_eq!(next(&mut events, peer).await.0, PeerState::Transferring);
        assert!(seeker.peers().iter().any(|info| info.peer == peer && info.state == PeerState::Transferring));
        assert_eq!(counted(seeker, &label("transferring")), 1);
        assert_eq!(counted(seeker, &label("identified")), identified - 1);
        // The provider reports the same state for the client.
        let (other, held) = streams.recv().await.unwrap();
        assert_eq!(provider.handle().peer(&other).unwrap().state, PeerState::Transferring);
        drop((stream, held));
        assert_eq!(next(&mut events, peer).await.0, PeerState::Identified);
        assert_eq!(counted(seeker, &label("transferring")), 0);
        provider.stop().await;
        assert_eq!(next(&mut events, peer).await.0, PeerState::Disconnected);
        assert_eq!(counted(seeker, &label("disconnected")), 1);
        assert_eq!(counted(seeker, "phase_peer_events_total{state=\"transferring\"}"), 1);
    })
    .await;
}
