//! Limits that turn a test that hangs into one that fails.

use std::time::Duration;

use tokio::time::Instant;

/// A test that takes longer hangs.
const TEST_LIMIT: Duration = Duration::from_secs(180);
/// A condition that does not hold after this time never will.
const CONDITION_LIMIT: Duration = Duration::from_secs(40);
/// The time between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a test.
///
/// # Panics
/// If the test takes longer than three minutes.
pub async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_LIMIT, test).await.expect("the test hangs")
}

/// Waits until `condition` holds. For what sends no event; `what` names the condition in the panic.
///
/// # Panics
/// If the condition does not hold within 40 s.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + CONDITION_LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "it never happens that {what}");
        tokio::time::sleep(LOOK).await;
    }
}
