//! The shared state of all actors: the current work of each actor, the counters of the soak, and its failures. Detects
//! actors that hang.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::stage::Stage;

/// The time without progress of any client after which the soak is considered to hang.
const ALL_HANG_AFTER: Duration = Duration::from_secs(60);
/// The time without progress of one actor after which the soak is considered to hang. It is three times the timeout
/// after which a fetch without chunks fails by itself.
const ONE_HANGS_AFTER: Duration = Duration::from_secs(180);
/// The number of failures whose text is kept. Further failures are only counted.
const MAX_WRONGS: usize = 32;

/// Counters of the events in a soak so far. They never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The number of fetches that completed with the right bytes.
    pub fetches: u64,
    /// The number of verified bytes that clients received from peers in fetches that completed.
    pub bytes: u64,
    /// The number of times that a fetch was cancelled before it completed, to be resumed.
    pub cancels: u64,
    /// The number of times that a client left before its fetch completed.
    pub left: u64,
    /// The number of times that the simulated disk of a client stalled during a fetch.
    pub stalls: u64,
    /// The number of connections that were cut by a proxy.
    pub cuts: u64,
    /// The number of times that a proxy was frozen for a while.
    pub freezes: u64,
    /// The number of times that a client connected again through a proxy that had been cut.
    pub reconnects: u64,
    /// The number of times that a provider was stopped or killed and then started again.
    pub restarts: u64,
    /// The longest time for which a provider was down, in milliseconds.
    pub longest_down: u64,
    /// The number of times that a raw peer requested whole artifacts and did not read the replies for a while.
    pub deaf: u64,
    /// The number of times that a raw peer sent requests and never read the replies.
    pub mute: u64,
    /// The number of times that a raw peer wrote a part of a frame and then waited.
    pub halves: u64,
    /// The number of times that a raw peer cancelled a request for chunks.
    pub cancelled: u64,
    /// The number of times that a raw peer subscribed to have updates and then cancelled the subscription.
    pub subscriptions: u64,
    /// The number of times that a raw peer dropped its node while a provider was serving that node.
    pub vanished: u64,
    /// The number of artifacts that a raw peer received completely.
    pub whole: u64,
    /// The number of failures, which are events that must not happen.
    pub wrong: u64,
}

/// The kind of an actor. It decides for how long the actor may make no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An actor that fetches releases. One client at least must make progress within [`ALL_HANG_AFTER`].
    Client,
    /// An actor that is not a client, such as a raw peer. It must make progress within [`ONE_HANGS_AFTER`].
    Other,
}

/// The state of all actors of a soak, its counters and its failures. All actors share one board.
pub(super) struct Board {
    actors: Mutex<BTreeMap<String, Entry>>,
    counts: Mutex<Counts>,
    wrongs: Mutex<Vec<String>>,
}

/// The state of one actor on the board.
struct Entry {
    part: Part,
    /// The current work of the actor; `None` if the actor waits for the next stage.
    work: Option<Work>,
}

/// The current work of an actor.
struct Work {
    what: String,
    since: Instant,
    /// The time at which the actor last made progress.
    moved: Instant,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { actors: Mutex::default(), counts: Mutex::default(), wrongs: Mutex::default() })
    }

    /// Adds an actor to the board. The actor counts as working until its first call of [`Actor::ready`].
    pub(super) fn actor(self: &Arc<Self>, name: String, part: Part, stage: watch::Receiver<Stage>) -> Actor {
        let actor = Actor { board: self.clone(), name, part, stage };
        actor.begin("starts");
        actor
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.counts));
    }

    pub(super) fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    /// Counts a failure and keeps its text.
    pub(super) fn record_failure(&self, what: String) {
        self.count(|counts| counts.wrong += 1);
        let mut wrongs = lock(&self.wrongs);
        if wrongs.len() < MAX_WRONGS {
            wrongs.push(what);
        }
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        lock(&self.wrongs).clone()
    }

    /// Whether all actors except `actor` wait for the next stage.
    pub(super) fn all_wait_except(&self, actor: &Actor) -> bool {
        lock(&self.actors).iter().all(|(name, entry)| entry.work.is_none() || *name == actor.name)
    }

    /// If the soak hangs, returns one text for each actor that is working, with its current work. Otherwise returns
    /// `None`.
    pub(super) fn hung(&self, now: Instant) -> Option<Vec<String>> {
        let actors = lock(&self.actors);
        let working = || actors.iter().filter_map(|(name, entry)| Some((name, entry.part, entry.work.as_ref()?)));
        let one = working().any(|(_, _, work)| now.duration_since(work.moved) >= ONE_HANGS_AFTER);
        let last = working().filter(|(_, part, _)| *part == Part::Client).map(|(.., work)| work.moved).max();
        let all = last.is_some_and(|moved| now.duration_since(moved) >= ALL_HANG_AFTER);
        (one || all).then(|| working().map(|(name, _, work)| describe(name, work, now)).collect())
    }
}

fn describe(name: &str, work: &Work, now: Instant) -> String {
    let seconds = |since: Instant| now.duration_since(since).as_secs();
    let (since, moved) = (seconds(work.since), seconds(work.moved));
    let mut text = format!("{name}: {} for {since} s", work.what);
    if moved > 1 {
        let _ = write!(text, ", no progress for {moved} s");
    }
    text
}

/// An actor: a task that works for the soak. The task reports its work to the board with this handle. Dropping the
/// handle removes the actor from the board.
pub(super) struct Actor {
    board: Arc<Board>,
    name: String,
    part: Part,
    stage: watch::Receiver<Stage>,
}

impl Actor {
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// Waits until the next load begins. Returns false if the soak ends instead.
    pub(super) async fn ready(&self) -> bool {
        let mut stage = self.stage.clone();
        loop {
            {
                // The stage stays borrowed until the board shows whether this actor works. The stage cannot change
                // during a borrow, so a quiet point cannot begin before the board shows this work.
                let now = stage.borrow_and_update();
                self.set(None);
                match *now {
                    Stage::Load => {
                        self.begin("starts its next task");
                        return true;
                    }
                    Stage::End => return false,
                    Stage::Quiet => {}
                }
            }
            if stage.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Whether the actors should work, because the stage is [`Stage::Load`].
    pub(super) fn is_load(&self) -> bool {
        *self.stage.borrow() == Stage::Load
    }

    /// Waits for the time `wait`. Returns earlier if the load ends.
    pub(super) async fn pause(&self, wait: Duration) {
        let mut stage = self.stage.clone();
        let load_ends = stage.wait_for(|stage| *stage != Stage::Load);
        let _ = tokio::time::timeout(wait, load_ends).await;
    }

    /// Notes the current work of the actor, which is a verb phrase such as `starts a node`.
    pub(super) fn begin(&self, what: impl Into<String>) {
        let now = Instant::now();
        self.set(Some(Work { what: what.into(), since: now, moved: now }));
    }

    /// Notes that the actor has made progress.
    pub(super) fn note_progress(&self) {
        if let Some(Entry { work: Some(work), .. }) = lock(&self.board.actors).get_mut(&self.name) {
            work.moved = Instant::now();
        }
    }

    /// Counts a failure and keeps its text, together with the name and the current work of the actor.
    pub(super) fn record_failure(&self, what: &str) {
        let doing = lock(&self.board.actors).get(&self.name).and_then(|entry| Some(entry.work.as_ref()?.what.clone()));
        self.board.record_failure(format!("{}, while it {}: {what}", self.name, doing.unwrap_or_default()));
    }

    fn set(&self, work: Option<Work>) {
        lock(&self.board.actors).insert(self.name.clone(), Entry { part: self.part, work });
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        lock(&self.board.actors).remove(&self.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds a lock of the board")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_without_progress_hang_and_waiting_actors_do_not() {
        let (board, (_stages, stage)) = (Board::new(), watch::channel(Stage::Quiet));
        let client = board.actor("client".to_owned(), Part::Client, stage.clone());
        let other = board.actor("other".to_owned(), Part::Other, stage);
        client.begin("fetches x");
        other.begin("waits");
        let now = Instant::now();
        assert_eq!(board.hung(now), None);
        let hung = board.hung(now + ALL_HANG_AFTER).unwrap();
        assert_eq!(hung[0], "client: fetches x for 60 s, no progress for 60 s");
        assert_eq!(hung.len(), 2);
        // The client waits now, so only [`ONE_HANGS_AFTER`] applies, which is longer.
        client.set(None);
        assert_eq!(board.hung(now + ALL_HANG_AFTER), None);
        assert_eq!(board.hung(now + ONE_HANGS_AFTER).unwrap().len(), 1);
        other.set(None);
        assert!(board.hung(now + ONE_HANGS_AFTER).is_none() && board.all_wait_except(&other));
    }
}
