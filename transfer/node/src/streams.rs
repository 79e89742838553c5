//! The libp2p behaviour that opens transfer streams and accepts transfer streams from peers.
//!
//! It replaces libp2p-stream, whose queue holds only one inbound stream for all connections together. If two peers open
//! a stream in the same instant, one of the streams is lost. In addition, libp2p-stream keeps a channel for every past
//! connection.
//!
//! The queue of this behaviour is long enough for a flash crowd. The state of a connection is dropped when the
//! connection closes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, SubstreamProtocol, THandler, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::{mpsc, oneshot};

use crate::error::{ConnectError, StreamError};
use crate::peer_table::{PeerTable, Transferring};

/// The protocol name of transfer streams.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/phase/transfer/1.0.0");

/// The limit on inbound streams that wait for the acceptor. It is enough for a thousand machines that boot in the same
/// instant and open one stream each.
const MAX_WAITING: usize = 1024;

/// A transfer stream. Its peer counts as transferring until the stream is dropped.
pub struct Stream {
    inner: libp2p::Stream,
    _open: Transferring,
}

/// A receiver of the transfer streams that peers open, with the id of the peer of each stream.
pub type IncomingStreams = mpsc::Receiver<(PeerId, Stream)>;

/// The channel on which the caller gets a requested stream. It is dropped without a reply if the connection ends.
pub(crate) type StreamReply = oneshot::Sender<Result<Stream, ConnectError>>;

type StreamSender = mpsc::Sender<(PeerId, Stream)>;

/// Passes the inbound streams of all connections to the receiver that [`accept`](Self::accept) returned. Without a
/// receiver, inbound streams are refused. Clones share the receiver.
#[derive(Clone, Default)]
pub(crate) struct Acceptor {
    streams: Arc<Mutex<Option<StreamSender>>>,
}

impl Acceptor {
    /// Returns a receiver of the inbound streams from now on, or `None` while another receiver exists.
    pub(crate) fn accept(&self) -> Option<IncomingStreams> {
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

/// The behaviour for the streams of one protocol.
pub(crate) struct Behaviour {
    protocol: StreamProtocol,
    peers: Arc<PeerTable>,
    acceptor: Acceptor,
    /// The connections of each peer, the newest last.
    connections: BTreeMap<PeerId, Vec<ConnectionId>>,
    /// Requests for a stream that have not been passed to the handler of a connection yet.
    wanted: VecDeque<(PeerId, StreamReply)>,
}

impl Behaviour {
    pub(crate) fn new(protocol: StreamProtocol, peers: Arc<PeerTable>) -> Self {
        let acceptor = Acceptor::default();
        Self { protocol, peers, acceptor, connections: BTreeMap::new(), wanted: VecDeque::new() }
    }

    pub(crate) fn acceptor(&self) -> Acceptor {
        self.acceptor.clone()
    }

    /// Opens a stream on the newest connection with `peer`, because an older one may have failed unnoticed. Drops
    /// `reply` if the peer is not connected.
    pub(crate) fn open(&mut self, peer: PeerId, reply: StreamReply) {
        self.wanted.push_back((peer, reply));
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler {
            peer,
            peers: self.peers.clone(),
            protocol: self.protocol.clone(),
            acceptor: self.acceptor.clone(),
            wanted: VecDeque::new(),
        }
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

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                self.connections.entry(peer_id).or_default().push(connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Entry::Occupied(mut connections) = self.connections.entry(peer_id) {
                    connections.get_mut().retain(|id| *id != connection_id);
                    if connections.get().is_empty() {
                        connections.remove();
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, StreamReply>> {
        // No waker is stored, because only the event loop adds to the queue, and it polls the Swarm again afterwards.
        while let Some((peer_id, event)) = self.wanted.pop_front() {
            let newest = self.connections.get(&peer_id).and_then(|connections| connections.last());
            if let (Some(newest), false) = (newest, event.is_closed()) {
                return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(*newest), event });
            }
        }
        Poll::Pending
    }
}

/// The handler of the streams on one connection.
pub(crate) struct Handler {
    peer: PeerId,
    peers: Arc<PeerTable>,
    protocol: StreamProtocol,
    acceptor: Acceptor,
    wanted: VecDeque<StreamReply>,
}

impl Handler {
    fn stream(&self, inner: libp2p::Stream) -> Stream {
        Stream { inner, _open: self.peers.transfer(self.peer) }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = StreamReply;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = StreamReply;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.acceptor.sender().map(|_| self.protocol.clone())), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, StreamReply, Infallible>> {
        while let Some(reply) = self.wanted.pop_front() {
            if !reply.is_closed() {
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), reply);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, reply: StreamReply) {
        self.wanted.push_back(reply);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Self::OutboundProtocol, (), StreamReply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                let stream = self.stream(stream);
                let taken = self.acceptor.sender().is_some_and(|sender| sender.try_send((self.peer, stream)).is_ok());
                if !taken {
                    tracing::debug!(peer = %self.peer, "stream refused: no server runs, or too many streams wait");
                }
            }
            // Sending fails only if the caller has stopped waiting.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: reply }) => {
                let _ = reply.send(Ok(self.stream(stream)));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: reply }) => {
                let _ = reply.send(Err(ConnectError::Stream(stream_error(error))));
            }
            _ => {}
        }
    }
}

fn stream_error(error: StreamUpgradeError<Infallible>) -> StreamError {
    match error {
        StreamUpgradeError::NegotiationFailed => StreamError::NotServed,
        StreamUpgradeError::Timeout => StreamError::Timeout,
        StreamUpgradeError::Apply(error) => match error {},
        StreamUpgradeError::Io(error) => StreamError::Io(Arc::new(error)),
    }
}

/// The inbound upgrade of transfer streams. It offers the protocol name only while a receiver of inbound streams
/// exists. The upgrade is complete after the negotiation of the name.
pub(crate) struct Offer(Option<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::option::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<libp2p::Stream> for Offer {
    type Output = libp2p::Stream;
    type Error = Infallible;
    type Future = Ready<Result<libp2p::Stream, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}
