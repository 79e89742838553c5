//! Keeps our contact record in the DHT, so that whoever knows our peer id finds our addresses.

use std::time::Duration;

use phase_node::{Backoff, Clock, NodeHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long to wait after a failure; doubles up to the maximum, or to the interval if that is shorter.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest wait after failures.
const RETRY_MAX: Duration = Duration::from_secs(120);

/// The task that says where we are. Ends when it is dropped.
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

/// Says it now and again every `interval`; alone, only in our own part of the DHT, and to others as soon as there are any.
/// Never ends by itself.
async fn advertise(node: NodeHandle, clock: Clock, interval: Duration) {
    let mut joined = node.routing_peers();
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        joined.mark_unchanged();
        match node.advertise_contact(clock()).await {
            Ok(report) => {
                tracing::debug!(%report, "contact record is out");
                backoff.reset();
                tokio::time::sleep(interval).await;
            }
            Err(error) => {
                tracing::debug!(%error, "contact record is not out yet");
                tokio::select! {
                    () = tokio::time::sleep(backoff.wait().min(interval)) => drop(backoff.next_wait()),
                    Ok(()) = joined.changed() => {}
                }
            }
        }
    }
}
