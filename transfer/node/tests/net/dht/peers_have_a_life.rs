//! What happens to a peer is told, in order, and counted.

use phase_node::{PeerEvent, PeerState, Role, Source};
use phase_test_support::{in_time, until};
use tokio::sync::broadcast;

use super::{CONTENT, network};
use crate::nodes::{counted, start};

/// The next thing that happens to a peer.
async fn next(events: &mut broadcast::Receiver<PeerEvent>, of: phase_node::PeerId) -> (PeerState, Source) {
    loop {
        let event = events.recv().await.unwrap();
        if event.peer == of {
            return (event.state, event.source);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_of_a_peer_is_told_in_order() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let provider = start(Role::Server, &bootstrap).await;
        let mut streams = provider.handle().accept_streams().unwrap();
        provider.handle().provide(&CONTENT).await.unwrap();
        provider.handle().wait_until_announced(&CONTENT).await;
        // A client that has only just come: what it looks for tells it of the provider.
        let seeker = start(Role::Client, &bootstrap).await;
        let (seeker, peer) = (seeker.handle(), provider.handle().peer_id());
        let mut events = seeker.peer_events();
        let is_known = seeker.peer(&peer).map(|info| info.state);
        seeker.find_providers(&CONTENT).await.finish().await.unwrap();
        // Kademlia may have met it first, on its own.
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
        until("it is identified", async || is_in(PeerState::Identified)()).await;
        let us =
            async || provider.handle().peer(&seeker.peer_id()).is_some_and(|info| info.state == PeerState::Identified);
        until("so are we", us).await;
        if is_known.is_some() {
            // What was told of the meeting has been, from wherever it was at.
            events = seeker.peer_events();
        }
        let label = |state: &str| format!("phase_peers{{state=\"{state}\"}}");
        let identified = counted(seeker, &label("identified"));
        let stream = seeker.open_stream(peer).await.unwrap();
        assert_eq!(next(&mut events, peer).await.0, PeerState::Transferring);
        assert!(seeker.peers().iter().any(|info| info.peer == peer && info.state == PeerState::Transferring));
        assert_eq!(counted(seeker, &label("transferring")), 1);
        assert_eq!(counted(seeker, &label("identified")), identified - 1);
        // On the other side too.
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
