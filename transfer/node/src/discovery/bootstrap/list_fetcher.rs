//! Fetches peer lists from URLs for as long as the node needs bootstrap peers.

use std::time::Duration;

use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::discovery::bootstrap::peer_list::fetch_list;
use crate::discovery::bootstrap::source::{BootstrapPeer, BootstrapSource};
use crate::discovery::bootstrap::url::PeersUrl;

/// The wait between the first and the second fetch of a list. Each later wait is twice as long, up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The maximum wait between two fetches of a list.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Separates bootstrap sources into URLs of peer lists, which must be fetched first, and peers, which can be dialled at
/// once.
pub(crate) fn split(sources: Vec<BootstrapSource>) -> (Vec<PeersUrl>, Vec<BootstrapPeer>) {
    let (mut urls, mut peers) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            BootstrapSource::Url(url) => urls.push(url),
            BootstrapSource::Peer(peer) => peers.push(peer),
        }
    }
    (urls, peers)
}

/// Fetches the peer list at `url` at once, and again with exponential backoff while no DHT server is connected. Passes
/// the peers in each fetched list to `found`. Runs until the node stops.
///
/// `routing` is the number of connected DHT servers.
pub(crate) async fn run<F: Future<Output = ()>>(
    url: PeersUrl,
    mut routing: watch::Receiver<usize>,
    found: impl Fn(Vec<BootstrapPeer>) -> F,
) {
    let mut backoff = Backoff::new(WAIT_MIN, WAIT_MAX);
    loop {
        match fetch_list(&url).await {
            Ok(peers) => {
                tracing::debug!(%url, peers = peers.len(), "fetched a list of bootstrap peers");
                found(peers).await;
            }
            Err(error) => tracing::warn!(%error, "a list of bootstrap peers could not be fetched; trying again later"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
        if *routing.borrow_and_update() > 0 {
            backoff.reset();
            if routing.wait_for(|peers| *peers == 0).await.is_err() {
                return;
            }
        }
    }
}
