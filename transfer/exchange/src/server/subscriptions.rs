//! Tells a peer what is added to artifacts that are still being fetched here.
//!
//! Each subscription has a task of its own, and that task alone speaks for it: so it ends once, and nothing follows
//! its end.

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

/// Partial artifacts one stream may follow.
const MAX_SUBSCRIPTIONS: usize = 256;
/// Subscriptions of all streams together: each holds a bitmap of what has been told, 10 KiB for an artifact of 10 GiB.
const MAX_FOLLOWERS: usize = 4096;
/// When to try again if there is no room.
const RETRY_AFTER_MS: u32 = 1000;
/// Ranges in one report of what has been added; what is left over goes into the next.
const MAX_DELTA_RANGES: usize = wire::MAX_RANGES;

/// Counts the subscriptions of all streams.
#[derive(Clone, Default)]
pub(super) struct Followers(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    by_artifact: BTreeMap<Cid, u32>,
    total: usize,
}

impl Followers {
    fn join(&self, artifact: Cid) -> Option<Follower> {
        let mut counts = self.lock();
        if counts.total >= MAX_FOLLOWERS {
            return None;
        }
        counts.total += 1;
        *counts.by_artifact.entry(artifact).or_default() += 1;
        Some(Follower { followers: self.clone(), artifact })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no code panics while it counts")
    }
}

/// One of the [`Followers`], until it is dropped.
pub(super) struct Follower {
    followers: Followers,
    artifact: Cid,
}

impl Follower {
    /// The time between two reports, at a node that has `have`.
    fn interval(&self, have: &ChunkSet) -> Duration {
        let followers = self.followers.lock().by_artifact.get(&self.artifact).copied().unwrap_or_default();
        have_interval(followers, have.count(), have.len())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut counts = self.followers.lock();
        counts.total -= 1;
        if let Entry::Occupied(mut count) = counts.by_artifact.entry(self.artifact) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

struct Subscription {
    artifact: Cid,
    task: JoinHandle<Option<()>>,
    cancelled: CancellationToken,
    /// Its end has been or is being said.
    has_ended: Arc<AtomicBool>,
}

impl Subscription {
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.has_ended.load(Ordering::Acquire)
    }
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

    /// Room for one under `id`; `None` if too many follow already, who all get reports.
    pub(super) fn admit(&mut self, id: RequestId, artifact: Cid) -> Result<Option<Follower>, Refusal> {
        self.by_id.retain(|_, subscription| !subscription.is_over());
        if self.by_id.contains_key(&id) {
            // Its first subscription would go on uncounted.
            return Err(Refusal::Malformed);
        }
        let is_followed = self.by_id.values().any(|subscription| subscription.artifact == artifact);
        if is_followed || self.by_id.len() >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::Busy { retry_after_ms: RETRY_AFTER_MS });
        }
        Ok(self.followers.join(artifact))
    }

    /// Reports from now on what `content` has beyond `told`. Ends with `Done`: when all of it is here, when nothing
    /// more will come, or when it is cancelled.
    pub(super) fn follow(
        &mut self,
        id: RequestId,
        follower: Follower,
        content: Content,
        told: ChunkSet,
        replies: &Replies,
        stop: &CancellationToken,
    ) {
        let (artifact, cancelled) = (follower.artifact, CancellationToken::new());
        let has_ended = Arc::<AtomicBool>::default();
        let (replies, until, ends) = (replies.clone(), cancelled.clone(), has_ended.clone());
        let following = async move {
            // A closed stream ends the subscription too.
            if follow(id, content, told, &replies, &until, &follower).await.is_ok() {
                // As soon as the peer hears of the end it may use the id again.
                ends.store(true, Ordering::Release);
                let _ = replies.reply(id, Reply::Done).await;
            }
        };
        let task = tokio::spawn(stop.clone().run_until_cancelled_owned(following));
        self.by_id.insert(id, Subscription { artifact, task, cancelled, has_ended });
    }

    /// Ends a subscription; false if there has been none under `id`.
    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        let Some(subscription) = self.by_id.get(&id).filter(|subscription| !subscription.is_over()) else {
            return false;
        };
        subscription.cancelled.cancel();
        true
    }
}

/// Reports until nothing more will come, or it is cancelled.
async fn follow(
    id: RequestId,
    content: Content,
    mut told: ChunkSet,
    replies: &Replies,
    cancelled: &CancellationToken,
    follower: &Follower,
) -> Result<(), Closed> {
    if let Some(mut changes) = content.changes() {
        // An ended fetch has either completed, which the last look tells, or will never add anything.
        while let Some(changed) = cancelled.run_until_cancelled(changes.changed()).await {
            report(id, &content, &mut told, replies).await?;
            if changed.is_err() || told.is_full() {
                break;
            }
            cancelled.run_until_cancelled(tokio::time::sleep(follower.interval(&told))).await;
        }
    }
    Ok(())
}

/// Tells what has been added until now.
async fn report(id: RequestId, content: &Content, told: &mut ChunkSet, replies: &Replies) -> Result<(), Closed> {
    let Some(have) = content.have() else { return Ok(()) };
    loop {
        let ranges: Vec<_> = have.difference_ranges(told).take(MAX_DELTA_RANGES).collect();
        if ranges.is_empty() {
            return Ok(());
        }
        ranges.iter().for_each(|range| told.insert_range(*range));
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
    fn those_who_follow_an_artifact_make_its_reports_rarer_and_no_others() {
        let followers = Followers::default();
        let (artifact, other) = (Cid::of_block(b"artifact"), Cid::of_block(b"other"));
        let half = ChunkSet::from_bytes(1000, &[0x55; 125]).unwrap();
        let first = followers.join(artifact).unwrap();
        let alone = followers.join(other).unwrap();
        let before = first.interval(&half);
        let many: Vec<_> = (0..99).map(|_| followers.join(artifact).unwrap()).collect();
        assert_eq!(first.interval(&half), have_interval(100, 500, 1000));
        assert!(first.interval(&half) > before && alone.interval(&half) == before);
        drop((first, alone, many));
        assert!(followers.lock().by_artifact.is_empty() && followers.lock().total == 0);
    }

    #[test]
    fn followers_are_bounded_over_all_artifacts() {
        let followers = Followers::default();
        let cid = |n: usize| Cid::of_block(&n.to_be_bytes());
        let mut held: Vec<_> = (0..MAX_FOLLOWERS).map(|n| followers.join(cid(n)).unwrap()).collect();
        assert!(followers.join(cid(0)).is_none());
        held.pop();
        assert!(followers.join(cid(0)).is_some());
    }
}
