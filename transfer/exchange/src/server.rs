//! Serves a catalog to peers: accepts transfer streams and answers what is asked on them.
//!
//! Every stream is a `session` with a task that reads requests and one that writes replies. Chunks go through the one
//! `uploader`, which decides whose turn it is; everything else is answered by the session itself.

mod interest;
mod replies;
mod session;
mod sessions;
mod shared;
mod subscriptions;
mod uploader;

use std::sync::Arc;

use libp2p::PeerId;
use phase_node::{IncomingStreams, NodeHandle, Stream};
use phase_protocol::upload;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::catalog::Catalog;
use session::Session;
use sessions::{Place, Sessions};
use shared::Shared;
use subscriptions::Followers;
use uploader::Uploader;

/// How a server serves.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Who gets chunks when, and how fast they may be sent. Default: [`upload::Config::default`].
    pub upload: upload::Config,
}

/// Serves until it is dropped.
pub struct Server {
    _stop: DropGuard,
}

impl Server {
    /// Accepts the node's transfer streams from now on.
    ///
    /// # Panics
    /// If the node is served already: one node has one server.
    pub fn start(node: &NodeHandle, catalog: Arc<Catalog>, config: Config) -> Self {
        let stop = CancellationToken::new();
        let uploader = Uploader::start(config.upload, catalog.clone(), &stop);
        let shared =
            Shared { node: node.clone(), catalog, uploader, interest: Arc::default(), followers: Followers::default() };
        let incoming = node.accept_streams().expect("a node has one server");
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(incoming, shared, stop.clone())));
        Self { _stop: stop.drop_guard() }
    }
}

/// Gives every stream a session, or refuses it.
async fn accept(mut incoming: IncomingStreams, shared: Shared, stop: CancellationToken) {
    let sessions = Sessions::default();
    while let Some((peer, stream)) = incoming.recv().await {
        let stop = stop.child_token();
        let Some(place) = sessions.admit(Instant::now(), peer, stop.clone()) else {
            tracing::debug!(%peer, "too many streams: one refused");
            continue;
        };
        tokio::spawn(serve(peer, stream, shared.clone(), stop, place));
    }
}

async fn serve(peer: PeerId, stream: Stream, shared: Shared, stop: CancellationToken, place: Place) {
    // Ends the session's own tasks however it ends.
    let _guard = stop.clone().drop_guard();
    let session = Session::new(peer, shared, stop.clone(), place.activity.clone());
    stop.run_until_cancelled(session.run(stream)).await;
}
