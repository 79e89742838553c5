//! The interval at which a node sends have updates to its subscribers while it is fetching an artifact. A have update
//! says which chunks the node has gained.

use std::time::Duration;

/// The minimum time between two have updates to the same subscriber.
pub const MIN_HAVE_INTERVAL: Duration = Duration::from_millis(10);
/// The maximum time between two have updates to the same subscriber, however many subscribers there are.
pub const MAX_HAVE_INTERVAL: Duration = Duration::from_millis(500);
/// The time that each subscriber of an artifact adds to the interval between two have updates. So a node usually sends
/// about 670 have updates per second for one artifact, to all subscribers together. Without this growth, 48 clients on
/// two cores spend a third of their time on have updates.
const INTERVAL_PER_SUBSCRIBER: Duration = Duration::from_micros(1500);
/// The number of chunks of an artifact below which the interval shrinks. If a node has, or lacks, fewer chunks, the
/// interval is proportional to the number that it has, or lacks. The first chunks are announced early because few
/// clients have chunks to serve when many start at once. The last chunks are announced early because all clients then
/// wait for the same few chunks.
const FEW_CHUNKS: u32 = 128;

/// Returns the time between two have updates to the same subscriber. The artifact has `subscribers` subscribers at this
/// node, and the node has `have` of its `chunks` chunks. The caller sends the first have update without waiting for
/// this time.
pub fn have_interval(subscribers: u32, have: u32, chunks: u32) -> Duration {
    let few = have.min(chunks.saturating_sub(have)).min(FEW_CHUNKS);
    let usual = INTERVAL_PER_SUBSCRIBER.saturating_mul(subscribers).min(MAX_HAVE_INTERVAL);
    (usual * few / FEW_CHUNKS).max(MIN_HAVE_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_subscribers_between_its_limits() {
        assert_eq!(have_interval(0, 500, 1000), MIN_HAVE_INTERVAL);
        assert_eq!(have_interval(40, 500, 1000), 40 * INTERVAL_PER_SUBSCRIBER);
        assert_eq!(have_interval(u32::MAX, 500, 1000), MAX_HAVE_INTERVAL);
    }

    #[test]
    fn the_interval_is_shorter_for_the_first_and_the_last_chunks() {
        let middle = have_interval(40, 500, 1000);
        assert!(have_interval(40, 10, 1000) < middle && have_interval(40, 990, 1000) < middle);
        assert_eq!(have_interval(40, 0, 1000), MIN_HAVE_INTERVAL);
        assert_eq!(have_interval(40, 1000, 1000), MIN_HAVE_INTERVAL);
    }
}
