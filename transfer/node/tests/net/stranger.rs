//! A libp2p peer that is no node of ours: it says and announces whatever it likes.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, identify, noise, tcp, yamux};
use phase_core::DhtKey;
use phase_node::bootstrap::BootstrapPeer;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::silence;

/// Kademlia as Phase nodes speak it.
pub(crate) const KADEMLIA: StreamProtocol = StreamProtocol::new("/phase/kad/1.0.0");

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    stream: libp2p_stream::Behaviour,
    silence: Toggle<silence::Behaviour>,
}

/// See the module's documentation. Does what it is told to on streams of its own.
pub(crate) struct Stranger {
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    control: libp2p_stream::Control,
    identified: watch::Receiver<Vec<identify::Info>>,
    _running: AbortOnDropHandle<()>,
}

impl Stranger {
    /// One that knows `other` and asks it.
    pub(crate) async fn start(other: &BootstrapPeer) -> Self {
        Self::new(other, false).await
    }

    /// One that says it is a DHT server and answers nothing.
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
                silence: is_server.then(|| silence::Behaviour::new(KADEMLIA)).into(),
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
        let (told, mut identified) = watch::channel(Vec::new());
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let event = swarm.select_next_some().await;
                if let SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) = event {
                    told.send_modify(|all| all.push(info));
                }
            }
        }));
        identified.wait_for(|all| !all.is_empty()).await.unwrap();
        Self { peer, address, control, identified, _running: running }
    }

    /// What the first peer that it met says about itself.
    pub(crate) fn first_met(&self) -> identify::Info {
        self.identified.borrow()[0].clone()
    }

    /// Says something to a peer. Whether it hears it, only an answer tells.
    pub(crate) async fn tell(&self, peer: PeerId, message: &[u8]) -> Option<Stream> {
        let mut stream = self.control.clone().open_stream(peer, KADEMLIA).await.ok()?;
        let framed = [varint(message.len()), message.to_vec()].concat();
        stream.write_all(&framed).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }

    /// Asks a peer; `None` if it ends the stream without an answer.
    pub(crate) async fn ask(&self, peer: PeerId, message: &[u8]) -> Option<Vec<u8>> {
        let mut stream = self.tell(peer, message).await?;
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

/// Asks for the nodes closest to `key`.
pub(crate) fn find_node(key: &DhtKey) -> Vec<u8> {
    message(4, &key.to_bytes(), &[])
}

/// Asks for the providers of `key`.
pub(crate) fn get_providers(key: &DhtKey) -> Vec<u8> {
    message(3, &key.to_bytes(), &[])
}

/// Says that `peer` provides `key`.
pub(crate) fn add_provider(key: &[u8], peer: PeerId, addresses: &[Multiaddr]) -> Vec<u8> {
    let addresses = addresses.iter().map(|address| field(2, &address.to_vec()));
    let peer = [field(1, &peer.to_bytes()), addresses.collect::<Vec<_>>().concat()].concat();
    message(2, key, &field(9, &peer))
}

/// Asks to keep `value`.
pub(crate) fn put_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    message(0, key, &field(3, &[field(1, key), field(2, value)].concat()))
}

/// A message of Kademlia; its tags are in `dht.proto` of libp2p's specification.
fn message(kind: u8, key: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[0x08, kind][..], &field(2, key), rest].concat()
}

/// A field of bytes, as Protocol Buffers have it.
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
