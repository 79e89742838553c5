//! A TCP proxy between two nodes: it forwards TCP connections, and can be cut, frozen and closed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{BufReader, copy_buf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::board::Board;

/// Bytes forwarded at a time.
const BUFFER: usize = 64 << 10;

/// See the module's documentation. Dropping it cuts everything.
pub(super) struct TcpProxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct Orders {
    is_closed: bool,
    is_frozen: bool,
    /// How often it has been cut.
    cuts: u64,
}

impl TcpProxy {
    /// Starts to forward to the address that `target` holds. While it holds none, connections are closed at once.
    pub(super) async fn start(target: watch::Receiver<Option<SocketAddr>>, board: Arc<Board>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (orders, taken) = watch::channel(Orders::default());
        let accepting = tokio::spawn(accept(listener, target, taken, board));
        Ok(Self { address, orders, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// Where it begins.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether there is a connection on it.
    pub(super) fn is_used(&self) -> bool {
        // Whoever accepts has one.
        self.orders.receiver_count() > 1
    }

    /// Ends all connections on it. New ones can be made at once.
    pub(super) fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Nothing gets through until the result is dropped, and nobody is told.
    pub(super) fn freeze(&self) -> Frozen<'_> {
        self.orders.send_modify(|orders| orders.is_frozen = true);
        Frozen(self)
    }

    /// Ends all connections, and every new one at once, until it is opened again.
    pub(super) fn close(&self) {
        self.orders.send_modify(|orders| orders.is_closed = true);
    }

    pub(super) fn open(&self) {
        self.orders.send_modify(|orders| orders.is_closed = false);
    }
}

/// See [`TcpProxy::freeze`].
pub(super) struct Frozen<'a>(&'a TcpProxy);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.orders.send_modify(|orders| orders.is_frozen = false);
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Receiver<Option<SocketAddr>>,
    orders: watch::Receiver<Orders>,
    board: Arc<Board>,
) {
    let mut forwarding = JoinSet::new();
    let mut cuts_seen = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let now = *orders.borrow();
                // A connection that ended before it was accepted is none.
                let (Ok((near, _)), Some(target), false) = (accepted, *target.borrow(), now.is_closed) else { continue };
                if std::mem::replace(&mut cuts_seen, now.cuts) != now.cuts {
                    board.count(|counts| counts.reconnects += 1);
                }
                forwarding.spawn(forward(near, target, orders.clone(), board.clone()));
            }
            Some(_) = forwarding.join_next() => {}
        }
    }
}

/// Forwards both ways until either end is gone or the proxy is cut. While it is frozen, nothing is read or written.
async fn forward(mut near: TcpStream, target: SocketAddr, mut orders: watch::Receiver<Orders>, board: Arc<Board>) {
    let cuts = orders.borrow().cuts;
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
        let now = *orders.borrow_and_update();
        if now.is_closed {
            return;
        }
        if now.cuts != cuts {
            return board.count(|counts| counts.cuts += 1);
        }
        tokio::select! {
            // Whether an end closed or failed makes no difference.
            _ = &mut forwarding, if !now.is_frozen => return,
            changed = orders.changed() => if changed.is_err() { return },
        }
    }
}
