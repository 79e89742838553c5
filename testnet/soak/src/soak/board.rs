//! Who does what, since when, and what has happened so far. Also says who hangs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::stage::Stage;

/// If no client at all has got any further for so long, everything hangs.
const ALL_HANG_AFTER: Duration = Duration::from_secs(60);
/// One that has got no further for so long hangs, whatever the others do. Three times what a fetch waits for a chunk before
/// it gives up by itself.
const ONE_HANGS_AFTER: Duration = Duration::from_secs(180);
/// Things gone wrong that are kept word for word; further ones are counted.
const MAX_WRONGS: usize = 32;

/// How often each thing has happened. All only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Fetches that ended with the right bytes.
    pub fetches: u64,
    /// Verified bytes that came from peers to fetches.
    pub bytes: u64,
    /// Fetches stopped in the middle and resumed.
    pub cancels: u64,
    /// Clients that left in the middle of a fetch.
    pub left: u64,
    /// Fetches whose disk stood still for seconds, so that nothing was read from the streams.
    pub stalls: u64,
    /// Connections cut.
    pub cuts: u64,
    /// Lines that stood still for a while.
    pub freezes: u64,
    /// Connections made again where one had been cut.
    pub reconnects: u64,
    /// Providers stopped or killed, and started again.
    pub restarts: u64,
    /// The longest time that a provider was down, in milliseconds.
    pub longest_down: u64,
    /// Raw streams that asked for much and did not read for a while.
    pub deaf: u64,
    /// Raw streams that asked on and on and never read.
    pub mute: u64,
    /// Raw streams that wrote half of a frame and waited.
    pub halves: u64,
    /// Requests for chunks that were cancelled on raw streams.
    pub cancelled: u64,
    /// Subscriptions opened and cancelled on raw streams.
    pub subscriptions: u64,
    /// Nodes that vanished while they were served.
    pub vanished: u64,
    /// Artifacts that came whole over a raw stream.
    pub whole: u64,
    /// Things that must not happen.
    pub wrong: u64,
}

/// What an actor is for: only clients must always get further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Fetches.
    Client,
    /// Everybody else.
    Other,
}

/// The one owner of what has happened.
pub(super) struct Board {
    actors: Mutex<BTreeMap<String, Entry>>,
    counts: Mutex<Counts>,
    wrongs: Mutex<Vec<String>>,
}

struct Entry {
    part: Part,
    /// `None`: it waits for the next stage.
    work: Option<Work>,
}

struct Work {
    what: String,
    since: Instant,
    /// When it last got any further.
    moved: Instant,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { actors: Mutex::default(), counts: Mutex::default(), wrongs: Mutex::default() })
    }

    /// A new actor, which counts as working until it is [ready](Actor::ready) for the first time.
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

    /// Something has happened that must not.
    pub(super) fn wrong(&self, what: String) {
        self.count(|counts| counts.wrong += 1);
        let mut wrongs = lock(&self.wrongs);
        if wrongs.len() < MAX_WRONGS {
            wrongs.push(what);
        }
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        lock(&self.wrongs).clone()
    }

    /// Whether everybody but `actor` waits for the next stage.
    pub(super) fn is_at_rest_but(&self, actor: &Actor) -> bool {
        lock(&self.actors).iter().all(|(name, entry)| entry.work.is_none() || *name == actor.name)
    }

    /// What everybody does, if somebody hangs.
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
        let _ = write!(text, ", got no further for {moved} s");
    }
    text
}

/// Somebody who takes part. Dropped when he is gone.
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

    /// Waits for the next load; false if there is none.
    pub(super) async fn ready(&self) -> bool {
        let mut stage = self.stage.clone();
        loop {
            {
                // Noted while the stage cannot change: whoever changes it then sees who is at rest.
                let now = stage.borrow_and_update();
                self.set(None);
                match *now {
                    Stage::Load => {
                        self.begin("goes on");
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

    /// Whether there is load, or a pause or the end.
    pub(super) fn is_load(&self) -> bool {
        *self.stage.borrow() == Stage::Load
    }

    /// Waits for so long, or until the load ends.
    pub(super) async fn pause(&self, wait: Duration) {
        let mut stage = self.stage.clone();
        let lull = stage.wait_for(|stage| *stage != Stage::Load);
        let _ = tokio::time::timeout(wait, lull).await;
    }

    /// Does something else from now on.
    pub(super) fn begin(&self, what: impl Into<String>) {
        let now = Instant::now();
        self.set(Some(Work { what: what.into(), since: now, moved: now }));
    }

    /// Has got a little further.
    pub(super) fn moved(&self) {
        if let Some(Entry { work: Some(work), .. }) = lock(&self.board.actors).get_mut(&self.name) {
            work.moved = Instant::now();
        }
    }

    /// Something has happened to it, in what it does, that must not.
    pub(super) fn wrong(&self, what: &str) {
        let doing = lock(&self.board.actors).get(&self.name).and_then(|entry| Some(entry.work.as_ref()?.what.clone()));
        self.board.wrong(format!("{}, which {}: {what}", self.name, doing.unwrap_or_default()));
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
    fn whoever_gets_no_further_is_named_and_whoever_rests_is_not() {
        let (board, (_stages, stage)) = (Board::new(), watch::channel(Stage::Quiet));
        let client = board.actor("client".to_owned(), Part::Client, stage.clone());
        let other = board.actor("other".to_owned(), Part::Other, stage);
        client.begin("fetches x");
        other.begin("waits");
        let now = Instant::now();
        assert_eq!(board.hung(now), None);
        let hung = board.hung(now + ALL_HANG_AFTER).unwrap();
        assert_eq!(hung[0], "client: fetches x for 60 s, got no further for 60 s");
        assert_eq!(hung.len(), 2);
        // Others may wait for longer, but not for ever.
        client.set(None);
        assert_eq!(board.hung(now + ALL_HANG_AFTER), None);
        assert_eq!(board.hung(now + ONE_HANGS_AFTER).unwrap().len(), 1);
        other.set(None);
        assert!(board.hung(now + ONE_HANGS_AFTER).is_none() && board.is_at_rest_but(&other));
    }
}
