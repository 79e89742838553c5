//! How many streams are served, and of whom. A stream on which nothing happens keeps its place until somebody else
//! needs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Streams served at a time: one for each of a thousand machines that boot at once.
const MAX_SESSIONS: usize = 1024;
/// Streams served of one peer: one to resolve, one to fetch, and the same again after a reconnect.
const MAX_SESSIONS_PER_PEER: usize = 4;
/// A stream on which nothing has happened for so long gives way when there is no place left. As long as a peer may
/// take for 64 KiB of a frame: who takes longer for a whole one keeps its place only while nobody else needs it.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// As above, for a stream that waits for its turn to get chunks.
const IDLE_AFTER_WAITING: Duration = Duration::from_secs(300);

/// When something last happened on a stream: a request came, or a reply went out.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    last: Instant,
    waiting: usize,
}

impl Activity {
    fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State { last: now, waiting: 0 })))
    }

    pub(super) fn note(&self, now: Instant) {
        self.lock().last = now;
    }

    /// The stream waits for chunks until the result is dropped.
    pub(super) fn wait(&self) -> Waiting {
        self.lock().waiting += 1;
        Waiting(self.clone())
    }

    /// Since when the stream may be ended for the sake of others.
    fn idle_from(&self) -> Instant {
        let state = self.lock();
        state.last + if state.waiting == 0 { IDLE_AFTER } else { IDLE_AFTER_WAITING }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no code panics while it holds the state")
    }
}

/// See [`Activity::wait`].
pub(super) struct Waiting(Activity);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        state.last = Instant::now();
    }
}

struct Session {
    peer: PeerId,
    activity: Activity,
    stop: CancellationToken,
}

#[derive(Default)]
struct Table {
    sessions: BTreeMap<u64, Session>,
    next: u64,
}

/// The streams that are served.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<Table>>);

/// Room for one session, given back when dropped.
pub(super) struct Place {
    sessions: Sessions,
    id: u64,
    pub(super) activity: Activity,
}

impl Sessions {
    /// A place for a stream of `peer` that `stop` ends; `None` if there is none. The stream that has been idle for the
    /// longest is ended if that makes room.
    pub(super) fn admit(&self, now: Instant, peer: PeerId, stop: CancellationToken) -> Option<Place> {
        let mut table = self.lock();
        let of_peer = table.sessions.values().filter(|session| session.peer == peer).count();
        if of_peer >= MAX_SESSIONS_PER_PEER {
            table.end_idle(now, |session| session.peer == peer)?;
        }
        if table.sessions.len() >= MAX_SESSIONS {
            table.end_idle(now, |_| true)?;
        }
        let (id, activity) = (table.next, Activity::new(now));
        table.next += 1;
        table.sessions.insert(id, Session { peer, activity: activity.clone(), stop });
        Some(Place { sessions: self.clone(), id, activity })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no code panics while it holds the table")
    }
}

impl Table {
    /// Ends the one of `candidates` on which nothing has happened for the longest; `None` if something has on each.
    fn end_idle(&mut self, now: Instant, candidates: impl Fn(&Session) -> bool) -> Option<()> {
        let asked = self.sessions.iter().filter(|(_, session)| candidates(session));
        let (id, idle_from) =
            asked.map(|(id, session)| (*id, session.activity.idle_from())).min_by_key(|idle| idle.1)?;
        if now < idle_from {
            return None;
        }
        let session = self.sessions.remove(&id)?;
        tracing::debug!(peer = %session.peer, "idle stream ended: others need its place");
        session.stop.cancel();
        Some(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.lock().sessions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(sessions: &Sessions, now: Instant, peer: PeerId) -> Option<(Place, CancellationToken)> {
        let stop = CancellationToken::new();
        Some((sessions.admit(now, peer, stop.clone())?, stop))
    }

    #[test]
    fn idle_streams_of_many_peers_give_way_and_busy_ones_do_not() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let mut held: Vec<_> = (0..MAX_SESSIONS).map(|_| admit(&sessions, start, PeerId::random()).unwrap()).collect();
        assert!(admit(&sessions, start, PeerId::random()).is_none());
        let later = start + IDLE_AFTER;
        let idle = held.pop().unwrap();
        let waiting = held[0].0.activity.wait();
        held[1..].iter().for_each(|(place, _)| place.activity.note(later));
        let late = admit(&sessions, later, PeerId::random()).unwrap();
        assert!(idle.1.is_cancelled());
        assert!(held.iter().all(|(_, stop)| !stop.is_cancelled()));
        // Its place has been given away already.
        drop(idle);
        assert!(admit(&sessions, later, PeerId::random()).is_none());
        drop(late);
        assert!(admit(&sessions, later, PeerId::random()).is_some());
        // Not even waiting keeps a place for ever.
        let much_later = start + IDLE_AFTER_WAITING;
        held[1..].iter().for_each(|(place, _)| place.activity.note(much_later));
        let last: Vec<_> = (0..2).filter_map(|_| admit(&sessions, much_later, PeerId::random())).collect();
        assert!(last.len() == 2 && held[0].1.is_cancelled());
        drop(waiting);
    }

    #[test]
    fn a_peer_with_all_its_places_idle_gets_one_of_them_and_none_of_others() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let (ours, other) = (PeerId::random(), PeerId::random());
        let others = admit(&sessions, start, other).unwrap();
        let held: Vec<_> = (0..MAX_SESSIONS_PER_PEER).map(|_| admit(&sessions, start, ours).unwrap()).collect();
        let later = start + IDLE_AFTER;
        assert!(admit(&sessions, later - Duration::from_millis(1), ours).is_none());
        assert!(admit(&sessions, later, ours).is_some());
        assert_eq!(held.iter().filter(|(_, stop)| stop.is_cancelled()).count(), 1);
        assert!(!others.1.is_cancelled());
    }
}
