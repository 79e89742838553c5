//! Time limits for tests, so that a test that hangs fails.

use std::time::Duration;

use tokio::time::Instant;

/// The time limit of a whole test.
const TEST_LIMIT: Duration = Duration::from_secs(180);
/// The time within which the condition of [`until`] must become true.
const CONDITION_LIMIT: Duration = Duration::from_secs(40);
/// The time between two checks of the condition of [`until`].
const POLL: Duration = Duration::from_millis(20);

/// Runs a test within a time limit and returns its result.
///
/// # Panics
/// If the test takes longer than three minutes.
pub async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_LIMIT, test).await.expect("the test finishes within three minutes")
}

/// Polls `condition` until it returns true. Use it if the condition cannot be awaited. `what` describes the condition
/// in the panic message, such as "the peer is forgotten".
///
/// # Panics
/// If the condition does not hold within 40 s.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + CONDITION_LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "the condition does not hold within 40 s: {what}");
        tokio::time::sleep(POLL).await;
    }
}
