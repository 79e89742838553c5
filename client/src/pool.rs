//! The pool of links of one fetch. The peer search adds links to the pool. The index fetch and the download use them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use phase_core::{Attempt, Cause, Cid};
use phase_transfer::PeerLink;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The maximum number of links that the peer search keeps open.
pub(crate) const MAX_LINKS: usize = 128;
/// The time to wait for a block from one peer before the next peer is asked.
const HEDGE_DELAY: Duration = Duration::from_secs(1);

/// The links of a fetch, numbered in the order in which they were added. Adding a link removes closed links. The links
/// of peers that misbehaved are kept, because the report must name these peers. Each of these peers has only one link,
/// because the peer search never tries it again.
pub(crate) struct Pool {
    links: Mutex<BTreeMap<u64, Arc<PeerLink>>>,
    /// The number that the next link gets.
    next: watch::Sender<u64>,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self { links: Mutex::default(), next: watch::Sender::new(0) }
    }

    pub(crate) fn add(&self, link: Arc<PeerLink>) {
        let mut links = self.lock();
        links.retain(|_, link| link.closed().is_none_or(|error| error.is_misbehaviour()));
        self.next.send_modify(|next| {
            links.insert(*next, link);
            *next += 1;
        });
    }

    /// Returns all links, in the order in which they were added.
    pub(crate) fn all(&self) -> Vec<Arc<PeerLink>> {
        self.between(0, u64::MAX)
    }

    /// Returns the links whose numbers are in `first..next`.
    fn between(&self, first: u64, next: u64) -> Vec<Arc<PeerLink>> {
        self.lock().range(first..next).map(|(_, link)| link.clone()).collect()
    }

    /// Sends every link to a download, including links that are added later. Returns when the download ends.
    pub(crate) async fn feed(&self, download: mpsc::Sender<Arc<PeerLink>>) {
        let mut next = self.next.subscribe();
        let mut unfed = 0;
        loop {
            let (first, new) = (unfed, *next.borrow_and_update());
            unfed = new;
            for link in self.between(first, new) {
                if download.send(link).await.is_err() {
                    return;
                }
            }
            if next.changed().await.is_err() {
                return;
            }
        }
    }

    /// Fetches a block from any peer. Waits up to `timeout`, and also asks peers whose links are added meanwhile.
    ///
    /// # Errors
    /// If no peer sends the block in time, the peers that answered, each with its error.
    pub(crate) async fn block(&self, cid: &Cid, timeout: Duration) -> Result<Vec<u8>, Vec<Attempt>> {
        let mut tried = Vec::new();
        tokio::time::timeout(timeout, self.ask_all(*cid, &mut tried)).await.map_err(|_| tried)
    }

    /// Asks one peer after the other until one sends the block. The next peer is asked after an error or after
    /// [`HEDGE_DELAY`]. The CID of the block decides which peer is first, so that the requests for different blocks are
    /// spread over all peers.
    async fn ask_all(&self, cid: Cid, tried: &mut Vec<Attempt>) -> Vec<u8> {
        let mut added = self.next.subscribe();
        let mut known = 0;
        let mut next = VecDeque::new();
        let mut answers = JoinSet::new();
        loop {
            let first = std::mem::replace(&mut known, *added.borrow_and_update());
            let mut fresh = self.between(first, known);
            let start = cid.digest().as_bytes()[31] as usize % fresh.len().max(1);
            fresh.rotate_left(start);
            next.extend(fresh);
            if let Some(link) = next.pop_front() {
                answers.spawn(async move {
                    let failed = |error| Attempt::new(link.peer(), vec![Cause::new(error)]);
                    link.block(&cid).await.map_err(failed)
                });
            }
            tokio::select! {
                Some(Ok(answer)) = answers.join_next() => match answer {
                    Ok(block) => return block,
                    Err(failed) => tried.push(failed),
                },
                () = tokio::time::sleep(HEDGE_DELAY), if !next.is_empty() => {}
                // `changed` never fails, because `self` holds the sender.
                Ok(()) = added.changed(), if next.is_empty() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<PeerLink>>> {
        self.links.lock().expect("no code panics while it holds the links")
    }
}
