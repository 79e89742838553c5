//! Serves a catalog to peers: accepts transfer streams and answers the requests on them.
//!
//! Every stream has a `session`, with a task that reads requests and a task that writes replies. Requests for chunks go
//! to the `uploader`, which all sessions share and which decides which peer is served next. The session answers all
//! other requests.

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
use sessions::{Admission, Sessions};
use shared::Shared;
use subscriptions::Subscribers;
use uploader::Uploader;

/// The configuration of a server.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The upload queue: the order in which peers are served, its bounds, and the rate limit. Default:
    /// [`upload::Config::default`].
    pub upload: upload::Config,
}

/// A running server. It serves until it is dropped.
pub struct Server {
    _stop: DropGuard,
}

impl Server {
    /// Starts a server that accepts the transfer streams of `node`. Must be called within a Tokio runtime.
    ///
    /// # Panics
    /// If the node has a server already.
    pub fn start(node: &NodeHandle, catalog: Arc<Catalog>, config: Config) -> Self {
        let stop = CancellationToken::new();
        let uploader = Uploader::start(config.upload, catalog.clone(), &stop);
        let shared = Shared {
            node: node.clone(),
            catalog,
            uploader,
            interest: Arc::default(),
            subscribers: Subscribers::default(),
        };
        let incoming = node.accept_streams().expect("a node has one server");
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(incoming, shared, stop.clone())));
        Self { _stop: stop.drop_guard() }
    }
}

/// Starts a session for every incoming stream. Closes the stream if there are too many sessions.
async fn accept(mut incoming: IncomingStreams, shared: Shared, stop: CancellationToken) {
    let sessions = Sessions::default();
    while let Some((peer, stream)) = incoming.recv().await {
        let stop = stop.child_token();
        let Some(admission) = sessions.admit(Instant::now(), peer, stop.clone()) else {
            tracing::debug!(%peer, "stream refused: too many streams");
            continue;
        };
        tokio::spawn(serve(peer, stream, shared.clone(), stop, admission));
    }
}

async fn serve(peer: PeerId, stream: Stream, shared: Shared, stop: CancellationToken, admission: Admission) {
    // The guard cancels `stop` when this function returns or is cancelled. This ends the tasks of the session.
    let _guard = stop.clone().drop_guard();
    let session = Session::new(peer, shared, stop.clone(), admission.activity.clone());
    stop.run_until_cancelled(session.run(stream)).await;
}
