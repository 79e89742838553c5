//! Tells a peer what is added to artifacts that are still being fetched here.
//!
//! Each subscription has a task of its own, and that task alone speaks for it: so it ends once, and nothing follows
//! its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use phase_core::ChunkSet;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::replies::{Closed, Replies};
use crate::net::catalog::Content;
use crate::wire::{self, Refusal, Reply, RequestId};

/// Partial artifacts one stream may watch.
const MAX_SUBSCRIPTIONS: usize = 256;
/// The shortest time between two reports of what has been added to an artifact.
const MIN_DELTA_INTERVAL: Duration = Duration::from_millis(50);
/// The longest such time, however many follow.
const MAX_DELTA_INTERVAL: Duration = Duration::from_millis(500);
/// What each subscription of the server adds to the time between two reports: all together they get 200 reports a
/// second. Without it, 48 clients on two cores spend a third of their time on reports.
const DELTA_INTERVAL_PER_FOLLOWER: Duration = Duration::from_millis(5);
/// Ranges in one report of what has been added; what is left over goes into the next.
const MAX_DELTA_RANGES: usize = wire::MAX_RANGES;

/// Counts the subscriptions of all streams.
#[derive(Clone, Default)]
pub(super) struct Followers(Arc<AtomicU32>);

impl Followers {
    fn join(&self) -> Follower {
        self.0.fetch_add(1, Ordering::Relaxed);
        Follower(self.clone())
    }

    fn delta_interval(&self) -> Duration {
        let wanted = DELTA_INTERVAL_PER_FOLLOWER * self.0.load(Ordering::Relaxed);
        wanted.clamp(MIN_DELTA_INTERVAL, MAX_DELTA_INTERVAL)
    }
}

/// One of the [`Followers`], until it is dropped.
struct Follower(Followers);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Subscription {
    task: JoinHandle<Option<()>>,
    cancelled: CancellationToken,
}

/// The subscriptions of one stream.
pub(super) struct Subscriptions {
    by_id: BTreeMap<RequestId, Subscription>,
    followers: Followers,
}

impl Subscriptions {
    pub(super) fn new(followers: Followers) -> Self {
        Self { by_id: BTreeMap::new(), followers }
    }

    /// Whether there is room for one under `id`.
    pub(super) fn admit(&mut self, id: RequestId) -> Result<(), Refusal> {
        self.by_id.retain(|_, subscription| !subscription.task.is_finished());
        if self.by_id.contains_key(&id) {
            // An id is used once. Its first subscription would go on uncounted.
            return Err(Refusal::Malformed);
        }
        if self.by_id.len() >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::Busy { retry_after_ms: 1000 });
        }
        Ok(())
    }

    /// Reports from now on what `content` has beyond `told`. Ends with `Done`: when all of it is here, when nothing
    /// more will come, or when it is cancelled.
    pub(super) fn follow(
        &mut self,
        id: RequestId,
        content: Content,
        told: ChunkSet,
        replies: &Replies,
        stop: &CancellationToken,
    ) {
        let cancelled = CancellationToken::new();
        let (replies, until) = (replies.clone(), cancelled.clone());
        let follower = self.followers.join();
        let following = async move {
            // A closed stream ends the subscription too.
            let _ = follow(id, content, told, &replies, &until, &follower.0).await;
        };
        let task = tokio::spawn(stop.clone().run_until_cancelled_owned(following));
        self.by_id.insert(id, Subscription { task, cancelled });
    }

    /// Ends a subscription; false if there is none under `id`.
    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        let Some(subscription) = self.by_id.get(&id) else { return false };
        subscription.cancelled.cancel();
        true
    }
}

async fn follow(
    id: RequestId,
    content: Content,
    mut told: ChunkSet,
    replies: &Replies,
    cancelled: &CancellationToken,
    followers: &Followers,
) -> Result<(), Closed> {
    if let Some(mut changes) = content.changes() {
        // An ended fetch has either completed, which the last look tells, or will never add anything.
        while let Some(changed) = cancelled.run_until_cancelled(changes.changed()).await {
            report(id, &content, &mut told, replies).await?;
            if changed.is_err() || told.is_full() {
                break;
            }
            cancelled.run_until_cancelled(tokio::time::sleep(followers.delta_interval())).await;
        }
    }
    replies.reply(id, Reply::Done).await
}

/// Tells all that has been added.
async fn report(id: RequestId, content: &Content, told: &mut ChunkSet, replies: &Replies) -> Result<(), Closed> {
    while let Some(have) = content.have() {
        let added: Vec<_> = have.difference_ranges(told).take(MAX_DELTA_RANGES).collect();
        if added.is_empty() {
            break;
        }
        for range in &added {
            told.insert_range(*range);
        }
        replies.reply(id, Reply::HaveDelta { ranges: added }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_follow_the_rarer_the_reports_within_bounds() {
        let followers = Followers::default();
        let alone = followers.join();
        assert_eq!(followers.delta_interval(), MIN_DELTA_INTERVAL);
        let some: Vec<_> = (0..39).map(|_| followers.join()).collect();
        assert_eq!(followers.delta_interval(), 40 * DELTA_INTERVAL_PER_FOLLOWER);
        let many: Vec<_> = (0..1000).map(|_| followers.join()).collect();
        assert_eq!(followers.delta_interval(), MAX_DELTA_INTERVAL);
        drop((alone, some, many));
        assert_eq!(followers.0.load(Ordering::Relaxed), 0);
    }
}
