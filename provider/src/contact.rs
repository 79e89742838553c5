//! Keeps the contact record of this node in the DHT, so that a peer that knows the peer id of this node can find its
//! addresses.

use std::time::Duration;

use phase_node::{Backoff, Clock, NodeHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The backoff after the first failure to put the contact record. It doubles with each further failure, up to the
/// shorter of [`RETRY_MAX`] and the interval.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest backoff after a failure to put the contact record.
const RETRY_MAX: Duration = Duration::from_secs(120);

/// A handle of the task that renews the contact record. Dropping it ends the task.
pub(crate) struct Contact {
    _stop: DropGuard,
}

impl Contact {
    pub(crate) fn start(node: NodeHandle, clock: Clock, interval: Duration) -> Self {
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(advertise(node, clock, interval)));
        Self { _stop: stop.drop_guard() }
    }
}

/// Puts the contact record into the DHT at once and then every `interval`. After a failure, for instance because there
/// is no other DHT node, retries after a backoff or as soon as the number of connected DHT servers changes. Never
/// returns.
async fn advertise(node: NodeHandle, clock: Clock, interval: Duration) {
    let mut joined = node.routing_peers();
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        joined.mark_unchanged();
        match node.advertise_contact(clock()).await {
            Ok(report) => {
                tracing::debug!(%report, "contact record is in the DHT");
                backoff.reset();
                tokio::time::sleep(interval).await;
            }
            Err(error) => {
                tracing::debug!(%error, "cannot put the contact record into the DHT yet");
                tokio::select! {
                    () = tokio::time::sleep(backoff.wait().min(interval)) => drop(backoff.next_wait()),
                    Ok(()) = joined.changed() => {}
                }
            }
        }
    }
}
