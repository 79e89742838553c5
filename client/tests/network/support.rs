//! Releases, nodes, and everything in them that does not behave.

#[path = "../../../transfer/tests/net/gate.rs"]
pub(crate) mod gate;
pub(crate) mod hostile;
pub(crate) mod release;
pub(crate) mod world;

use std::time::Duration;

/// A test that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs a test; one that hangs fails.
pub(crate) async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test hangs")
}
