//! A TCP proxy between a client and a provider. The soak can cut, freeze and close the proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{BufReader, copy_buf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::board::Board;

/// The number of bytes that are forwarded at a time.
const BUFFER: usize = 64 << 10;

/// A running TCP proxy. Dropping it ends all connections through the proxy.
pub(super) struct TcpProxy {
    address: SocketAddr,
    state: watch::Sender<ProxyState>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct ProxyState {
    is_closed: bool,
    is_frozen: bool,
    /// The number of times that the proxy has been cut.
    cuts: u64,
}

impl TcpProxy {
    /// Starts a proxy that forwards connections to the address in `target`. While `target` is `None`, the proxy closes
    /// new connections at once.
    pub(super) async fn start(target: watch::Receiver<Option<SocketAddr>>, board: Arc<Board>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, receiver) = watch::channel(ProxyState::default());
        let accepting = tokio::spawn(accept(listener, target, receiver, board));
        Ok(Self { address, state, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// Returns the address on which the proxy accepts connections.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the proxy is forwarding a connection.
    pub(super) fn is_used(&self) -> bool {
        // The accepting task holds one receiver, and each connection holds one more.
        self.state.receiver_count() > 1
    }

    /// Ends all connections through the proxy. New connections are still accepted.
    pub(super) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Freezes the proxy: it forwards nothing until the returned guard is dropped. The connections stay open.
    pub(super) fn freeze(&self) -> Frozen<'_> {
        self.state.send_modify(|state| state.is_frozen = true);
        Frozen(self)
    }

    /// Ends all connections through the proxy, and closes new connections at once until [`open`](Self::open) is called.
    pub(super) fn close(&self) {
        self.state.send_modify(|state| state.is_closed = true);
    }

    pub(super) fn open(&self) {
        self.state.send_modify(|state| state.is_closed = false);
    }
}

/// A guard that keeps the proxy frozen. Dropping it ends the freeze. See [`TcpProxy::freeze`].
pub(super) struct Frozen<'a>(&'a TcpProxy);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.is_frozen = false);
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Receiver<Option<SocketAddr>>,
    state: watch::Receiver<ProxyState>,
    board: Arc<Board>,
) {
    let mut forwarding = JoinSet::new();
    let mut cuts_seen = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let now = *state.borrow();
                // Nothing is forwarded if the accept failed, the provider is down or the proxy is closed. A connection
                // is then dropped, which closes it.
                let (Ok((near, _)), Some(target), false) = (accepted, *target.borrow(), now.is_closed) else { continue };
                if std::mem::replace(&mut cuts_seen, now.cuts) != now.cuts {
                    board.count(|counts| counts.reconnects += 1);
                }
                forwarding.spawn(forward(near, target, state.clone(), board.clone()));
            }
            Some(_) = forwarding.join_next() => {}
        }
    }
}

/// Forwards bytes in both directions until one end closes the connection or the proxy is cut or closed. While the proxy
/// is frozen, reads and writes nothing.
async fn forward(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<ProxyState>, board: Arc<Board>) {
    let cuts = state.borrow().cuts;
    let mut forwarding = std::pin::pin!(async {
        let mut far = TcpStream::connect(target).await?;
        let ((near_reader, mut near_writer), (far_reader, mut far_writer)) = (near.split(), far.split());
        let (mut near_reader, mut far_reader) =
            (BufReader::with_capacity(BUFFER, near_reader), BufReader::with_capacity(BUFFER, far_reader));
        tokio::select! {
            result = copy_buf(&mut near_reader, &mut far_writer) => result,
            result = copy_buf(&mut far_reader, &mut near_writer) => result,
        }
    });
    loop {
        let now = *state.borrow_and_update();
        if now.is_closed {
            return;
        }
        if now.cuts != cuts {
            return board.count(|counts| counts.cuts += 1);
        }
        tokio::select! {
            // The forwarding ends if one end closes its connection or a connection fails. Both are normal, so the
            // result is ignored.
            _ = &mut forwarding, if !now.is_frozen => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}
