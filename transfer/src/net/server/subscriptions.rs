//! Tells a peer what is added to artifacts that are still being fetched here.
//!
//! Each subscription has a task of its own, and that task alone speaks for it: so it ends once, and nothing follows
//! its end.

use std::collections::BTreeMap;
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
const DELTA_INTERVAL: Duration = Duration::from_millis(400);
/// Ranges in one report of what has been added; what is left over goes into the next.
const MAX_DELTA_RANGES: usize = wire::MAX_RANGES;

struct Subscription {
    task: JoinHandle<Option<()>>,
    cancelled: CancellationToken,
}

/// The subscriptions of one stream.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_id: BTreeMap<RequestId, Subscription>,
}

impl Subscriptions {
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
        let following = async move {
            // A closed stream ends the subscription too.
            let _ = follow(id, content, told, &replies, &until).await;
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
) -> Result<(), Closed> {
    if let Some(mut changes) = content.changes() {
        // An ended fetch has either completed, which the last look tells, or will never add anything.
        while let Some(changed) = cancelled.run_until_cancelled(changes.changed()).await {
            report(id, &content, &mut told, replies).await?;
            if changed.is_err() || told.is_full() {
                break;
            }
            cancelled.run_until_cancelled(tokio::time::sleep(DELTA_INTERVAL)).await;
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
