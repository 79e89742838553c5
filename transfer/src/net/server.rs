//! Serves a catalog to peers: accepts transfer streams and answers what is asked on them.
//!
//! Every stream is a `session` with a task that reads requests and one that writes replies. Chunks go through the one
//! `uploader`, which decides whose turn it is; everything else is answered by the session itself.

mod interest;
mod session;
mod uploader;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use libp2p::{PeerId, Stream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::catalog::Catalog;
use super::inbound::IncomingStreams;
use super::node::NodeHandle;
use interest::Interest;
use session::Session;
use uploader::Uploader;

/// Streams served at a time: one for each of a thousand machines that boot at once.
const MAX_SESSIONS: usize = 1024;
/// Streams served of one peer: one to resolve, one to fetch, and the same again after a reconnect.
const MAX_SESSIONS_PER_PEER: usize = 4;

/// Serves until it is dropped.
pub struct Server {
    _stop: DropGuard,
}

/// What every session shares.
#[derive(Clone)]
struct Shared {
    node: NodeHandle,
    catalog: Arc<Catalog>,
    uploader: Uploader,
    interest: Arc<Interest>,
}

impl Server {
    /// Accepts the node's transfer streams from now on.
    ///
    /// # Panics
    /// If the node is served already: one node has one server.
    pub fn start(node: &NodeHandle, catalog: Arc<Catalog>) -> Self {
        let stop = CancellationToken::new();
        let uploader = Uploader::start(catalog.clone(), &stop);
        let shared = Shared { node: node.clone(), catalog, uploader, interest: Arc::default() };
        let incoming = node.accept_streams().expect("a node has one server");
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(incoming, shared, stop.clone())));
        Self { _stop: stop.drop_guard() }
    }
}

/// Gives every stream a session, or refuses it.
async fn accept(mut incoming: IncomingStreams, shared: Shared, stop: CancellationToken) {
    let sessions: Arc<Mutex<Sessions>> = Arc::default();
    while let Some((peer, stream)) = incoming.recv().await {
        let Some(place) = Sessions::admit(&sessions, peer) else {
            tracing::debug!(%peer, "too many streams: one refused");
            continue;
        };
        tokio::spawn(serve(peer, stream, shared.clone(), stop.child_token(), place));
    }
}

async fn serve(peer: PeerId, stream: Stream, shared: Shared, stop: CancellationToken, _place: Place) {
    // Ends the session's own tasks however it ends.
    let _guard = stop.clone().drop_guard();
    let session = Session::new(peer, shared, stop.clone());
    stop.run_until_cancelled(session.run(stream)).await;
}

/// Counts streams by peer.
#[derive(Default)]
struct Sessions {
    by_peer: BTreeMap<PeerId, usize>,
    total: usize,
}

/// Room for one session, given back when dropped.
struct Place {
    sessions: Arc<Mutex<Sessions>>,
    peer: PeerId,
}

impl Sessions {
    fn admit(sessions: &Arc<Mutex<Self>>, peer: PeerId) -> Option<Place> {
        let mut counts = sessions.lock().expect("no code panics while it counts sessions");
        if counts.total >= MAX_SESSIONS || counts.by_peer.get(&peer).is_some_and(|n| *n >= MAX_SESSIONS_PER_PEER) {
            return None;
        }
        counts.total += 1;
        *counts.by_peer.entry(peer).or_default() += 1;
        Some(Place { sessions: sessions.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sessions.lock().expect("no code panics while it counts sessions");
        counts.total -= 1;
        if let Some(count) = counts.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.by_peer.remove(&self.peer);
            }
        }
    }
}
