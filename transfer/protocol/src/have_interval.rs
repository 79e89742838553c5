//! How often a node that is still fetching tells those who follow it what it has got.

use std::time::Duration;

/// The shortest time between two reports of what has been added to an artifact.
pub const MIN_HAVE_INTERVAL: Duration = Duration::from_millis(10);
/// The longest such time, however many follow it.
pub const MAX_HAVE_INTERVAL: Duration = Duration::from_millis(500);
/// What each follower of an artifact adds to the time between two reports: together they get some 670 reports a
/// second. Without it, 48 clients on two cores spend a third of their time on reports.
const INTERVAL_PER_FOLLOWER: Duration = Duration::from_micros(1500);
/// Reports of the first and the last chunks of an artifact are more frequent, the more so the fewer there are, or are missing:
/// when a swarm starts together hardly anybody has something to pass on, and in the end all wait for the same few.
const FEW_CHUNKS: u32 = 128;

/// The time between two reports to one of so many followers, by a node that has `have` of all `chunks`. The first report
/// goes out at once.
pub fn have_interval(followers: u32, have: u32, chunks: u32) -> Duration {
    let few = have.min(chunks.saturating_sub(have)).min(FEW_CHUNKS);
    let usual = INTERVAL_PER_FOLLOWER.saturating_mul(followers).min(MAX_HAVE_INTERVAL);
    (usual * few / FEW_CHUNKS).max(MIN_HAVE_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_follow_the_rarer_the_reports_within_bounds() {
        assert_eq!(have_interval(0, 500, 1000), MIN_HAVE_INTERVAL);
        assert_eq!(have_interval(40, 500, 1000), 40 * INTERVAL_PER_FOLLOWER);
        assert_eq!(have_interval(u32::MAX, 500, 1000), MAX_HAVE_INTERVAL);
    }

    #[test]
    fn the_first_and_the_last_chunks_are_reported_sooner() {
        let middle = have_interval(40, 500, 1000);
        assert!(have_interval(40, 10, 1000) < middle && have_interval(40, 990, 1000) < middle);
        assert_eq!(have_interval(40, 0, 1000), MIN_HAVE_INTERVAL);
        assert_eq!(have_interval(40, 1000, 1000), MIN_HAVE_INTERVAL);
    }
}
