//! Limits the number of sessions, in total and per peer. Idle sessions are kept until a limit is reached. Then each new
//! session replaces an idle session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The limit on the sessions of a server. It is enough for a thousand machines that boot at once, with one session
/// each.
const MAX_SESSIONS: usize = 1024;
/// The limit on the sessions of one peer. A client uses two: one to resolve and one to fetch. After a reconnect, its
/// two old sessions may still be open.
const MAX_SESSIONS_PER_PEER: usize = 4;
/// The time without activity after which a session is idle, so that a new session may replace it. It equals the timeout
/// for writing 64 KiB. A peer that needs longer than this for one frame counts as idle, because activity is noted only
/// when a whole frame has left.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// The time without activity after which a session with an open request for chunks is idle. It is longer than
/// [`IDLE_AFTER`], because the request may wait long in the upload queue.
const IDLE_AFTER_WAITING: Duration = Duration::from_secs(300);

/// The time of the last activity on a stream. Activity is a received request, a written reply, or the end of a
/// transfer. Clones share the time.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    last: Instant,
    /// The number of open requests for chunks.
    waiting: usize,
}

impl Activity {
    fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State { last: now, waiting: 0 })))
    }

    /// Notes an activity at `now`.
    pub(super) fn note(&self, now: Instant) {
        self.lock().last = now;
    }

    /// Counts one open request for chunks until the returned guard is dropped.
    pub(super) fn wait(&self) -> Waiting {
        self.lock().waiting += 1;
        Waiting(self.clone())
    }

    /// Returns the time from which the session is idle and may be replaced by a new one.
    fn idle_from(&self) -> Instant {
        let state = self.lock();
        state.last + if state.waiting == 0 { IDLE_AFTER } else { IDLE_AFTER_WAITING }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no code panics while it holds the activity lock")
    }
}

/// A guard of one open request for chunks, which [`Activity::wait`] counts until the guard is dropped.
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

/// All sessions of a server. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<Table>>);

/// The admission of one session: the right to run. Dropping it removes the session from [`Sessions`].
pub(super) struct Admission {
    sessions: Sessions,
    id: u64,
    pub(super) activity: Activity,
}

impl Sessions {
    /// Admits a session of `peer`, which ends when `stop` is cancelled. At a limit, the new session replaces the
    /// session that has been idle for the longest time. At the limit of one peer, only a session of this peer is
    /// replaced. Returns `None` if a limit is reached and no such session is idle.
    pub(super) fn admit(&self, now: Instant, peer: PeerId, stop: CancellationToken) -> Option<Admission> {
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
        Some(Admission { sessions: self.clone(), id, activity })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no code panics while it holds the lock on the sessions")
    }
}

impl Table {
    /// Among the sessions for which `is_candidate` is true, ends the one that has been idle for the longest time.
    /// Returns `None` if none of them is idle.
    fn end_idle(&mut self, now: Instant, is_candidate: impl Fn(&Session) -> bool) -> Option<()> {
        let candidates = self.sessions.iter().filter(|(_, session)| is_candidate(session));
        let (id, idle_from) =
            candidates.map(|(id, session)| (*id, session.activity.idle_from())).min_by_key(|idle| idle.1)?;
        if now < idle_from {
            return None;
        }
        let session = self.sessions.remove(&id)?;
        tracing::debug!(peer = %session.peer, "idle stream ended: a new session replaces it");
        session.stop.cancel();
        Some(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.sessions.lock().sessions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(sessions: &Sessions, now: Instant, peer: PeerId) -> Option<(Admission, CancellationToken)> {
        let stop = CancellationToken::new();
        Some((sessions.admit(now, peer, stop.clone())?, stop))
    }

    #[test]
    fn a_new_stream_replaces_an_idle_one_and_never_a_busy_one() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let mut held: Vec<_> = (0..MAX_SESSIONS).map(|_| admit(&sessions, start, PeerId::random()).unwrap()).collect();
        assert!(admit(&sessions, start, PeerId::random()).is_none());
        let later = start + IDLE_AFTER;
        let idle = held.pop().unwrap();
        let waiting = held[0].0.activity.wait();
        held[1..].iter().for_each(|(admission, _)| admission.activity.note(later));
        let late = admit(&sessions, later, PeerId::random()).unwrap();
        assert!(idle.1.is_cancelled());
        assert!(held.iter().all(|(_, stop)| !stop.is_cancelled()));
        // The idle session was removed when the new session replaced it. So dropping its admission does not permit one
        // more session.
        drop(idle);
        assert!(admit(&sessions, later, PeerId::random()).is_none());
        drop(late);
        assert!(admit(&sessions, later, PeerId::random()).is_some());
        // An open request for chunks protects the session `held[0]` only for a limited time. The second of the two new
        // sessions replaces `held[0]`, because all other sessions are active.
        let much_later = start + IDLE_AFTER_WAITING;
        held[1..].iter().for_each(|(admission, _)| admission.activity.note(much_later));
        let last: Vec<_> = (0..2).filter_map(|_| admit(&sessions, much_later, PeerId::random())).collect();
        assert!(last.len() == 2 && held[0].1.is_cancelled());
        drop(waiting);
    }

    #[test]
    fn a_peer_at_its_limit_replaces_its_own_idle_stream_and_no_other() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let (ours, other) = (PeerId::random(), PeerId::random());
        let of_other = admit(&sessions, start, other).unwrap();
        let held: Vec<_> = (0..MAX_SESSIONS_PER_PEER).map(|_| admit(&sessions, start, ours).unwrap()).collect();
        let later = start + IDLE_AFTER;
        assert!(admit(&sessions, later - Duration::from_millis(1), ours).is_none());
        assert!(admit(&sessions, later, ours).is_some());
        assert_eq!(held.iter().filter(|(_, stop)| stop.is_cancelled()).count(), 1);
        assert!(!of_other.1.is_cancelled());
    }
}
