//! The links of one fetch: the search for peers adds them, the index stage and the download use them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use phase_core::Cid;
use phase_transfer::{LinkError, PeerLink};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Links kept; the search for peers stops at as many peers.
pub(crate) const MAX_LINKS: usize = 128;
/// How long a peer may take to send a block before the next one is asked as well.
const HEDGE: Duration = Duration::from_secs(1);

/// Links in the order they were opened, each with a number. One that is dead is forgotten when another one is added;
/// until then whoever uses it finds out. That of a peer that misbehaved stays, so that the report names it: one of each
/// such peer, since it is not tried again.
pub(crate) struct Pool {
    links: Mutex<BTreeMap<u64, Arc<PeerLink>>>,
    /// The number of the next link.
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

    /// The links there are now.
    pub(crate) fn all(&self) -> Vec<Arc<PeerLink>> {
        self.between(0, u64::MAX)
    }

    /// Those whose number is at least `first` and below `next`.
    fn between(&self, first: u64, next: u64) -> Vec<Arc<PeerLink>> {
        self.lock().range(first..next).map(|(_, link)| link.clone()).collect()
    }

    /// Feeds every link, those of now and of later, to a download until it ends.
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

    /// Fetches a block from whichever peer has it, and waits for further peers until `patience` is over.
    ///
    /// # Errors
    /// What every peer said that was asked.
    pub(crate) async fn block(&self, cid: &Cid, patience: Duration) -> Result<Vec<u8>, Vec<String>> {
        let mut tried = Vec::new();
        tokio::time::timeout(patience, self.ask_all(*cid, &mut tried)).await.map_err(|_| tried)
    }

    /// Asks one peer after the other. Begins at a different one for each block, to spread the load, and does not wait
    /// for one that is slow.
    async fn ask_all(&self, cid: Cid, tried: &mut Vec<String>) -> Vec<u8> {
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
                answers.spawn(async move { link.block(&cid).await.map_err(|error| describe(&link, &error)) });
            }
            tokio::select! {
                Some(Ok(answer)) = answers.join_next() => match answer {
                    Ok(block) => return block,
                    Err(error) => tried.push(error),
                },
                () = tokio::time::sleep(HEDGE), if !next.is_empty() => {}
                // The pool lives as long as the fetch, so the channel stays open.
                Ok(()) = added.changed(), if next.is_empty() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<PeerLink>>> {
        self.links.lock().expect("no code panics while it holds the links")
    }
}

fn describe(link: &PeerLink, error: &LinkError) -> String {
    format!("{}: {error}", link.peer())
}
