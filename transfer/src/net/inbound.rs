//! Takes the transfer streams that others open.
//!
//! libp2p-stream, which opens ours, holds a single inbound stream for all connections together and drops whatever
//! arrives before that one is taken: of two peers that open a stream in the same instant, one loses it. Here there is
//! room for a flash crowd, and whoever takes the streams decides which are too many.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::{Ready, ready};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, InboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    SubstreamProtocol, THandler, THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::sync::mpsc;

/// Streams that may wait to be taken: one from each of a thousand machines that boot in the same instant.
const MAX_WAITING: usize = 1024;

/// Streams that others have opened, each with the peer that did.
pub type IncomingStreams = mpsc::Receiver<(PeerId, Stream)>;

type StreamSender = mpsc::Sender<(PeerId, Stream)>;

/// Says who takes the streams: nobody at first.
#[derive(Clone, Default)]
pub(super) struct Acceptor {
    streams: Arc<Mutex<Option<StreamSender>>>,
}

impl Acceptor {
    /// Hands over the streams from now on; `None` while somebody else takes them.
    pub(super) fn accept(&self) -> Option<IncomingStreams> {
        let mut streams = self.streams.lock().expect("no code panics while it holds the sender");
        if streams.as_ref().is_some_and(|taken| !taken.is_closed()) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        *streams = Some(sender);
        Some(receiver)
    }

    fn sender(&self) -> Option<StreamSender> {
        let streams = self.streams.lock().expect("no code panics while it holds the sender");
        streams.clone().filter(|sender| !sender.is_closed())
    }
}

/// Offers a protocol to every peer for as long as somebody takes its streams.
pub(super) struct Behaviour {
    protocol: StreamProtocol,
    acceptor: Acceptor,
}

impl Behaviour {
    pub(super) fn new(protocol: StreamProtocol) -> Self {
        Self { protocol, acceptor: Acceptor::default() }
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        self.acceptor.clone()
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler { peer, protocol: self.protocol.clone(), acceptor: self.acceptor.clone() }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// The streams of one connection.
pub(super) struct Handler {
    peer: PeerId,
    protocol: StreamProtocol,
    acceptor: Acceptor,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.acceptor.sender().map(|_| self.protocol.clone())), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, DeniedUpgrade>) {
        let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) = event else {
            return;
        };
        let taken = self.acceptor.sender().is_some_and(|sender| sender.try_send((self.peer, stream)).is_ok());
        if !taken {
            tracing::debug!(peer = %self.peer, "too many streams wait: one refused");
        }
    }
}

/// The protocol on which streams are taken, if they are. There is nothing to agree upon beyond its name.
pub(super) struct Offer(Option<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::option::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}
