//! Tests in which two Swarms connect to each other.

use futures::StreamExt as _;
use libp2p::core::upgrade::UpgradeInfo as _;
use libp2p::identity::Keypair;
use libp2p::swarm::{DialError, SwarmEvent, dummy};
use libp2p::{Multiaddr, PeerId, Swarm};

use crate::transport::*;

#[cfg(feature = "dns")]
mod by_name;

fn swarm(config: &TransportConfig) -> Swarm<dummy::Behaviour> {
    build_swarm(&Keypair::generate_ed25519(), config, dummy::Behaviour).unwrap()
}

/// Starts a Swarm that listens at `address`. Returns its peer id and the address that it has bound.
async fn listening(address: &str) -> (PeerId, Multiaddr) {
    let mut swarm = swarm(&TransportConfig::default());
    let peer = *swarm.local_peer_id();
    swarm.listen_on(address.parse().unwrap()).unwrap();
    let bound = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    (peer, bound)
}

/// Dials `address`. Returns the peer that answers, or the error.
async fn reach(swarm: &mut Swarm<dummy::Behaviour>, address: &Multiaddr) -> Result<PeerId, DialError> {
    swarm.dial(address.clone())?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error),
            _ => {}
        }
    }
}

#[tokio::test]
async fn nodes_reach_each_other_over_every_transport() {
    for address in [
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/udp/0/quic-v1",
        #[cfg(feature = "memory")]
        "/memory/0",
    ] {
        let (peer, bound) = listening(address).await;
        assert_eq!(reach(&mut swarm(&TransportConfig::default()), &bound).await.unwrap(), peer, "{address}");
    }
}

#[tokio::test]
async fn nodes_that_use_noise_alone_and_those_that_prefer_tls_reach_each_other() {
    let noise = TransportConfig { tls: false, ..TransportConfig::default() };
    let (peer, bound) = listening("/ip4/127.0.0.1/tcp/0").await;
    assert_eq!(reach(&mut swarm(&noise), &bound).await.unwrap(), peer);
    let upgrade = security::tls_or_noise(&Keypair::generate_ed25519(), false).unwrap();
    let names: Vec<String> = upgrade.protocol_info().map(|name| format!("{name:?}")).collect();
    assert!(names.len() == 1 && names[0].contains("noise"), "{names:?}");
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn hundreds_of_nodes_fit_into_one_process() {
    const NODES: usize = 300;
    let (peer, bound) = listening("/memory/0").await;
    let mut swarms: Vec<_> = (0..NODES).map(|_| swarm(&TransportConfig::default())).collect();
    for swarm in &mut swarms {
        assert_eq!(reach(swarm, &bound).await.unwrap(), peer);
    }
}

#[cfg(not(feature = "dns"))]
#[tokio::test]
async fn a_name_cannot_be_dialled_without_dns() {
    let error =
        reach(&mut swarm(&TransportConfig::default()), &"/dns4/localhost/tcp/1".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("/dns4/localhost/tcp/1"), "{error}");
}
