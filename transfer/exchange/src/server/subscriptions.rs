//! Sends have updates to subscribers. A have update lists the chunks that a partial artifact of this node has gained.
//!
//! Each subscription has its own task, and only this task sends have updates and the end of the subscription. So a
//! subscription ends exactly once, and no reply follows its end.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use phase_core::{ChunkSet, Cid};
use phase_protocol::have_interval;
use phase_protocol::wire::{self, Refusal, Reply, RequestId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::catalog::Content;
use crate::server::replies::{Closed, Replies};

/// The limit on the subscriptions of one stream.
const MAX_SUBSCRIPTIONS: usize = 256;
/// The limit on the subscriptions of all streams together. Each subscription keeps a bitmap of the announced chunks in
/// memory, which takes 10 KiB for an artifact of 10 GiB.
const MAX_SUBSCRIBERS: usize = 4096;
/// The time after which a refused peer may subscribe again, in milliseconds.
const RETRY_AFTER_MS: u32 = 1000;
/// The limit on chunk ranges in one have update. Further ranges go into the next update.
const MAX_DELTA_RANGES: usize = wire::MAX_RANGES;

/// The number of subscribers of each artifact, over all streams. Clones share these numbers.
#[derive(Clone, Default)]
pub(super) struct Subscribers(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    by_artifact: BTreeMap<Cid, u32>,
    total: usize,
}

impl Subscribers {
    /// Adds a subscriber of an artifact. Returns `None` if there are [`MAX_SUBSCRIBERS`] already.
    fn join(&self, artifact: Cid) -> Option<Subscriber> {
        let mut counts = self.lock();
        if counts.total >= MAX_SUBSCRIBERS {
            return None;
        }
        counts.total += 1;
        *counts.by_artifact.entry(artifact).or_default() += 1;
        Some(Subscriber { subscribers: self.clone(), artifact })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no code panics while it holds the lock on the counts")
    }
}

/// A subscriber, which is counted in [`Subscribers`] until it is dropped.
pub(super) struct Subscriber {
    subscribers: Subscribers,
    artifact: Cid,
}

impl Subscriber {
    /// Returns the time between two have updates while this node has the chunks `have`.
    fn interval(&self, have: &ChunkSet) -> Duration {
        let subscribers = self.subscribers.lock().by_artifact.get(&self.artifact).copied().unwrap_or_default();
        have_interval(subscribers, have.count(), have.len())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut counts = self.subscribers.lock();
        counts.total -= 1;
        if let Entry::Occupied(mut count) = counts.by_artifact.entry(self.artifact) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// One subscription of a stream, with its task.
struct Subscription {
    artifact: Cid,
    task: JoinHandle<Option<()>>,
    cancelled: CancellationToken,
    /// Whether the subscription has ended. Set just before the task sends `Done`.
    has_ended: Arc<AtomicBool>,
}

impl Subscription {
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.has_ended.load(Ordering::Acquire)
    }
}

/// The subscriptions to have updates on one stream.
pub(super) struct Subscriptions {
    by_id: BTreeMap<RequestId, Subscription>,
    subscribers: Subscribers,
}

impl Subscriptions {
    pub(super) fn new(subscribers: Subscribers) -> Self {
        Self { by_id: BTreeMap::new(), subscribers }
    }

    /// Admits a subscription under the request id `id`. Returns `None` if all streams together have too many
    /// subscriptions. The peer then gets one bitmap and no updates.
    ///
    /// # Errors
    /// If `id` is in use, the stream has subscribed to the artifact already, or the stream has too many subscriptions.
    pub(super) fn admit(&mut self, id: RequestId, artifact: Cid) -> Result<Option<Subscriber>, Refusal> {
        self.by_id.retain(|_, subscription| !subscription.is_over());
        if self.by_id.contains_key(&id) {
            // A new subscription must not replace an open one, because the task of the open one would run on without
            // being counted.
            return Err(Refusal::Malformed);
        }
        let is_subscribed = self.by_id.values().any(|subscription| subscription.artifact == artifact);
        if is_subscribed || self.by_id.len() >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::Busy { retry_after_ms: RETRY_AFTER_MS });
        }
        Ok(self.subscribers.join(artifact))
    }

    /// Starts to send have updates to `subscriber`, for the chunks of `content` that are not in `announced`. The
    /// subscription ends with `Done` when the artifact is complete, its fetch has ended, or the subscription is
    /// cancelled.
    pub(super) fn start(
        &mut self,
        id: RequestId,
        subscriber: Subscriber,
        content: Content,
        announced: ChunkSet,
        replies: &Replies,
        stop: &CancellationToken,
    ) {
        let (artifact, cancelled) = (subscriber.artifact, CancellationToken::new());
        let has_ended = Arc::<AtomicBool>::default();
        let (replies, until, ends) = (replies.clone(), cancelled.clone(), has_ended.clone());
        let updates = async move {
            // An error means that the stream is closed, which ends the subscription too.
            if send_updates(id, content, announced, &replies, &until, &subscriber).await.is_ok() {
                // The flag is set before `Done` is sent, because the peer may reuse the request id as soon as it
                // receives `Done`.
                ends.store(true, Ordering::Release);
                let _ = replies.reply(id, Reply::Done).await;
            }
        };
        let task = tokio::spawn(stop.clone().run_until_cancelled_owned(updates));
        self.by_id.insert(id, Subscription { artifact, task, cancelled, has_ended });
    }

    /// Ends a subscription. Returns false if no subscription is open under `id`.
    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        let Some(subscription) = self.by_id.get(&id).filter(|subscription| !subscription.is_over()) else {
            return false;
        };
        subscription.cancelled.cancel();
        true
    }
}

/// Sends have updates until the artifact is complete, its fetch has ended, or the subscription is cancelled.
async fn send_updates(
    id: RequestId,
    content: Content,
    mut announced: ChunkSet,
    replies: &Replies,
    cancelled: &CancellationToken,
    subscriber: &Subscriber,
) -> Result<(), Closed> {
    if let Some(mut changes) = content.changes() {
        // `changed` returns an error when the fetch has ended. Then one last have update announces the chunks that were
        // added since the previous one.
        while let Some(changed) = cancelled.run_until_cancelled(changes.changed()).await {
            send_update(id, &content, &mut announced, replies).await?;
            if changed.is_err() || announced.is_full() {
                break;
            }
            cancelled.run_until_cancelled(tokio::time::sleep(subscriber.interval(&announced))).await;
        }
    }
    Ok(())
}

/// Sends have updates with the chunks that were added since the last update.
async fn send_update(
    id: RequestId,
    content: &Content,
    announced: &mut ChunkSet,
    replies: &Replies,
) -> Result<(), Closed> {
    let Some(have) = content.have() else { return Ok(()) };
    loop {
        let ranges: Vec<_> = have.difference_ranges(announced).take(MAX_DELTA_RANGES).collect();
        if ranges.is_empty() {
            return Ok(());
        }
        ranges.iter().for_each(|range| announced.insert_range(*range));
        let is_all = ranges.len() < MAX_DELTA_RANGES;
        replies.reply(id, Reply::HaveDelta { ranges }).await?;
        if is_all {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_subscribers_make_updates_rarer_for_their_artifact_only() {
        let subscribers = Subscribers::default();
        let (artifact, other) = (Cid::of_block(b"artifact"), Cid::of_block(b"other"));
        let half = ChunkSet::from_bytes(1000, &[0x55; 125]).unwrap();
        let first = subscribers.join(artifact).unwrap();
        let alone = subscribers.join(other).unwrap();
        let before = first.interval(&half);
        let many: Vec<_> = (0..99).map(|_| subscribers.join(artifact).unwrap()).collect();
        assert_eq!(first.interval(&half), have_interval(100, 500, 1000));
        assert!(first.interval(&half) > before && alone.interval(&half) == before);
        drop((first, alone, many));
        assert!(subscribers.lock().by_artifact.is_empty() && subscribers.lock().total == 0);
    }

    #[test]
    fn subscribers_are_bounded_over_all_artifacts() {
        let subscribers = Subscribers::default();
        let cid = |n: usize| Cid::of_block(&n.to_be_bytes());
        let mut held: Vec<_> = (0..MAX_SUBSCRIBERS).map(|n| subscribers.join(cid(n)).unwrap()).collect();
        assert!(subscribers.join(cid(0)).is_none());
        held.pop();
        assert!(subscribers.join(cid(0)).is_some());
    }
}
