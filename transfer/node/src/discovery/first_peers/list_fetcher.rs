//! Asks for lists of first peers, for as long as they are needed.

use std::time::Duration;

use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::discovery::first_peers::peer_list::fetch_list;
use crate::discovery::first_peers::source::{BootstrapPeer, BootstrapSource};
use crate::discovery::first_peers::url::PeersUrl;

/// How long to wait before a list is asked for again; doubles up to the maximum.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Lists that have to be asked for, and peers that are known already.
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

/// Asks for a list now, and again whenever there is nobody to ask: whenever `routing`, the number of connected DHT servers,
/// is 0. Passes the peers of each list to `found`. Never ends by itself.
pub(crate) async fn run<F: Future<Output = ()>>(
    url: PeersUrl,
    mut routing: watch::Receiver<usize>,
    found: impl Fn(Vec<BootstrapPeer>) -> F,
) {
    let mut backoff = Backoff::new(WAIT_MIN, WAIT_MAX);
    loop {
        match fetch_list(&url).await {
            Ok(peers) => {
                tracing::debug!(%url, peers = peers.len(), "has a list of first peers");
                found(peers).await;
            }
            Err(error) => tracing::warn!(%error, "no first peers from there yet"),
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
