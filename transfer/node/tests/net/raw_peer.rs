//! A libp2p peer that is not a Phase node, with which tests send any Kademlia message, valid or hostile.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, identify, noise, tcp, yamux};
use phase_core::DhtKey;
use phase_node::bootstrap::BootstrapPeer;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::silent_protocol;

/// The name of the Kademlia protocol of Phase nodes.
pub(crate) const KADEMLIA: StreamProtocol = StreamProtocol::new("/phase/kad/1.0.0");

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    stream: libp2p_stream::Behaviour,
    silence: Toggle<silent_protocol::Behaviour>,
}

/// A libp2p peer that sends raw messages for a test, each on a separate stream.
pub(crate) struct RawPeer {
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    control: libp2p_stream::Control,
    identified: watch::Receiver<Vec<identify::Info>>,
    _running: AbortOnDropHandle<()>,
}

impl RawPeer {
    /// Starts a peer that connects to `other` and is not a DHT server.
    pub(crate) async fn start(other: &BootstrapPeer) -> Self {
        Self::new(other, false).await
    }

    /// Starts a peer that connects to `other`, claims to be a DHT server and answers no request.
    pub(crate) async fn start_silent_server(other: &BootstrapPeer) -> Self {
        Self::new(other, true).await
    }

    async fn new(other: &BootstrapPeer, is_server: bool) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key| Behaviour {
                identify: identify::Behaviour::new(identify::Config::new("/x".to_owned(), key.public())),
                stream: libp2p_stream::Behaviour::new(),
                silence: is_server.then(|| silent_protocol::Behaviour::new(KADEMLIA)).into(),
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        let control = swarm.behaviour().stream.new_control();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        swarm.dial(other.address.clone()).unwrap();
        let peer = *swarm.local_peer_id();
        let (sender, mut identified) = watch::channel(Vec::new());
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let event = swarm.select_next_some().await;
                if let SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) = event {
                    sender.send_modify(|all| all.push(info));
                }
            }
        }));
        identified.wait_for(|all| !all.is_empty()).await.unwrap();
        Self { peer, address, control, identified, _running: running }
    }

    /// Returns the first identify message that this raw peer has received.
    pub(crate) fn first_identified(&self) -> identify::Info {
        self.identified.borrow()[0].clone()
    }

    /// Sends a message to `peer` and returns the stream. Only an answer on this stream proves that the message arrived.
    /// Returns `None` if the stream cannot be opened or written.
    pub(crate) async fn send(&self, peer: PeerId, message: &[u8]) -> Option<Stream> {
        let mut stream = self.control.clone().open_stream(peer, KADEMLIA).await.ok()?;
        let framed = [varint(message.len()), message.to_vec()].concat();
        stream.write_all(&framed).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }

    /// Sends a request to `peer` and waits for the answer. Returns `None` if the stream ends without an answer.
    pub(crate) async fn ask(&self, peer: PeerId, message: &[u8]) -> Option<Vec<u8>> {
        let mut stream = self.send(peer, message).await?;
        let (mut len, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.ok()?;
            len |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut answer = vec![0; len];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    }
}

/// Encodes a request for the nodes closest to `key`.
pub(crate) fn find_node(key: &DhtKey) -> Vec<u8> {
    message(4, &key.to_bytes(), &[])
}

/// Encodes a request for the providers of `key`.
pub(crate) fn get_providers(key: &DhtKey) -> Vec<u8> {
    message(3, &key.to_bytes(), &[])
}

/// Encodes a message that places a provider record: `peer` provides `key`.
pub(crate) fn add_provider(key: &[u8], peer: PeerId, addresses: &[Multiaddr]) -> Vec<u8> {
    let addresses = addresses.iter().map(|address| field(2, &address.to_vec()));
    let peer = [field(1, &peer.to_bytes()), addresses.collect::<Vec<_>>().concat()].concat();
    message(2, key, &field(9, &peer))
}

/// Encodes a request to store `value` under `key`.
pub(crate) fn put_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    message(0, key, &field(3, &[field(1, key), field(2, value)].concat()))
}

/// Encodes a Kademlia message. `dht.proto` in the libp2p specification defines the tags.
fn message(kind: u8, key: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[0x08, kind][..], &field(2, key), rest].concat()
}

/// Encodes a field of type `bytes` in Protocol Buffers.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![tag << 3 | 2], varint(bytes.len()), bytes.to_vec()].concat()
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}
