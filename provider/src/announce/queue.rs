//! The queue of announcements. It decides when each DHT key is announced or withdrawn. Names are announced first. The
//! number of keys and the number of announcements per second are limited. The queue does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use phase_core::{DhtKey, TokenBucket};
use phase_node::Backoff;
use tokio::time::Instant;

/// The maximum number of DHT keys that are announced. It is half of the capacity of the node's record store, because
/// the same number of keys may wait to be withdrawn. Further keys are not announced, and a warning is logged.
pub(super) const MAX_KEYS: usize = 64 * 1024;
/// The capacity of the token bucket: the number of announcements that may start at once. It is enough for a release of
/// usual size.
const BURST: u64 = 64;
/// The number of announcements per second after the burst. A provider of 1,000 artifacts needs half a minute at this
/// rate. Each announcement sends two requests to each of
/// approximately 20 nodes. At this rate, no node receives more requests than its default limits permit.
const PER_SECOND: u64 = 40;
/// The maximum number of announcements that run at the same time.
const MAX_RUNNING: usize = 8;
/// The backoff after the first failure of an announcement. It doubles with each further failure, up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest backoff after a failed announcement.
const RETRY_MAX: Duration = Duration::from_secs(120);

/// A statement: what this node announces or withdraws under a DHT key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Statement {
    /// Provide the key of a name, and put this encoded pointer under it.
    Point(Vec<u8>),
    /// Provide the key.
    Provide,
    /// Withdraw the key.
    Withdraw,
}

impl Statement {
    /// Returns the priority of this announcement or withdrawal. The lowest number starts first. The keys of names come
    /// first, because clients find the other keys through names.
    fn urgency(&self) -> u8 {
        match self {
            Self::Point(_) => 0,
            Self::Provide => 1,
            Self::Withdraw => 2,
        }
    }
}

/// The progress of a provider's announcements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// The number of DHT keys to announce.
    pub wanted: usize,
    /// The number of DHT keys whose last announcement succeeded and need not be repeated yet.
    pub done: usize,
}

/// The state of one DHT key in the queue.
struct Entry {
    /// What to announce or withdraw under the key.
    statement: Statement,
    /// The time of the next announcement or withdrawal, or `None` while one is running.
    due: Option<Instant>,
    retry: Backoff,
    /// Whether the key needs no announcement until the announce interval is over. It is true after an announcement
    /// succeeded. A new statement or [`Queue::make_all_due`] makes it false.
    done: bool,
    /// Whether any announcement of the key has started, so that other nodes may have a record.
    was_started: bool,
    /// Whether `statement` must be announced or withdrawn as soon as the running announcement or withdrawal has ended.
    again: bool,
}

/// The queue of announcements. It has one entry for each DHT key.
pub(super) struct Queue {
    entries: BTreeMap<DhtKey, Entry>,
    /// The keys that wait to be announced, in the order in which they start. Each has the time from which it is due for
    /// its next announcement, and its priority.
    waiting: BTreeSet<(Instant, u8, DhtKey)>,
    /// The keys that wait to be withdrawn, in the same form as `waiting`. A withdrawal starts only when no key in
    /// `waiting` is due for its next announcement.
    withdrawals: BTreeSet<(Instant, u8, DhtKey)>,
    running: usize,
    wanted: usize,
    done: usize,
    interval: Duration,
    rate: TokenBucket,
}

impl Queue {
    /// Creates an empty queue. `interval` is the time between two announcements of the same key.
    pub(super) fn new(interval: Duration) -> Self {
        let (entries, waiting, withdrawals) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let rate = TokenBucket::new(PER_SECOND, BURST);
        Self { entries, waiting, withdrawals, running: 0, wanted: 0, done: 0, interval, rate }
    }

    pub(super) fn announced(&self) -> Announced {
        Announced { wanted: self.wanted, done: self.done }
    }

    /// Returns all DHT keys, names first, each with a flag: whether the key is to be withdrawn.
    pub(super) fn keys(&self) -> Vec<(DhtKey, bool)> {
        let mut keys: Vec<_> = self.entries.iter().collect();
        keys.sort_by_key(|(_, entry)| entry.statement.urgency());
        keys.into_iter().map(|(key, entry)| (key.clone(), entry.statement == Statement::Withdraw)).collect()
    }

    /// Returns the set in which a key waits: `withdrawals` if it is to be withdrawn, otherwise `waiting`.
    fn queue_of(&mut self, statement: &Statement) -> &mut BTreeSet<(Instant, u8, DhtKey)> {
        if *statement == Statement::Withdraw { &mut self.withdrawals } else { &mut self.waiting }
    }

    /// Sets the keys to announce, each with what to announce under it. A key that is not in `wanted` is withdrawn, or
    /// just removed if no announcement of the key has started.
    pub(super) fn plan(&mut self, now: Instant, mut wanted: BTreeMap<DhtKey, Statement>) {
        if wanted.len() > MAX_KEYS {
            // Drop no names, because clients find the other keys through names.
            let mut left = MAX_KEYS.saturating_sub(wanted.values().filter(|s| s.urgency() == 0).count());
            wanted.retain(|_, statement| {
                let stays = statement.urgency() == 0 || left > 0;
                left -= usize::from(statement.urgency() > 0 && left > 0);
                stays
            });
        }
        self.wanted = wanted.len();
        let gone: Vec<_> = self.entries.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            let was_started = self.entries.get(&key).is_some_and(|entry| entry.was_started);
            if was_started && self.entries.len() <= 2 * MAX_KEYS {
                self.set_statement(now, key, Statement::Withdraw);
            } else {
                self.remove(&key);
            }
        }
        for (key, statement) in wanted {
            self.set_statement(now, key, statement);
        }
    }

    /// Sets what to announce or withdraw under a key. If this has changed, it starts now, or as soon as the running
    /// announcement of the key has ended.
    fn set_statement(&mut self, now: Instant, key: DhtKey, statement: Statement) {
        match self.entries.get_mut(&key) {
            Some(held) if held.statement == statement => {}
            Some(held) if held.due.is_none() => {
                (held.statement, held.again) = (statement, true);
                held.retry.reset();
                self.done -= usize::from(std::mem::take(&mut held.done));
            }
            _ => {
                let was_started = self.remove(&key).is_some_and(|entry| entry.was_started);
                self.insert(now, key, statement, was_started);
            }
        }
    }

    /// Makes every key due for its next announcement now, except keys that wait to be withdrawn.
    pub(super) fn make_all_due(&mut self, now: Instant) {
        let later: Vec<_> = self.waiting.iter().filter(|(due, ..)| *due > now).cloned().collect();
        self.entries.values_mut().filter(|entry| entry.due.is_none()).for_each(|entry| entry.again = true);
        for (_, _, key) in later {
            if let Some(Entry { statement, was_started, .. }) = self.remove(&key) {
                self.insert(now, key, statement, was_started);
            }
        }
    }

    /// Takes the next key that is due to be announced or withdrawn, if the limits permit another announcement. Returns
    /// it with what to announce or withdraw. The caller must call [`finished`](Self::finished) when that has ended.
    pub(super) fn next(&mut self, now: Instant) -> Option<(DhtKey, Statement)> {
        if self.running >= MAX_RUNNING || !self.rate.has(now.into_std(), 1) {
            return None;
        }
        let is_due = |queue: &&mut BTreeSet<(Instant, u8, DhtKey)>| queue.first().is_some_and(|(due, ..)| *due <= now);
        let (_, _, key) = [&mut self.waiting, &mut self.withdrawals].into_iter().find(is_due)?.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        (entry.due, entry.again, entry.was_started) = (None, false, true);
        self.rate.take(now.into_std(), 1);
        self.running += 1;
        Some((key, entry.statement.clone()))
    }

    /// Notes that an announcement or withdrawal has ended. `is_announced` means that it succeeded.
    pub(super) fn finished(&mut self, now: Instant, key: &DhtKey, is_announced: bool) {
        self.running -= 1;
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.done -= usize::from(std::mem::take(&mut entry.done));
        let is_withdrawal = entry.statement == Statement::Withdraw;
        let due = match () {
            () if entry.again => now,
            // Remove the key after a successful withdrawal, or after the longest backoff. Nodes that could not be
            // reached keep the record until it expires.
            () if is_withdrawal && (is_announced || entry.retry.is_longest()) => {
                self.entries.remove(key);
                return;
            }
            () if is_announced => {
                entry.done = true;
                entry.retry.reset();
                self.done += 1;
                now + self.interval
            }
            () => now + entry.retry.next_wait(),
        };
        entry.due = Some(due);
        let statement = entry.statement.clone();
        self.queue_of(&statement).insert((due, statement.urgency(), key.clone()));
    }

    /// Returns the time when the next announcement or withdrawal can start. Returns `None` if no key waits, or if a
    /// running announcement or withdrawal must end first.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let (due, ..) = self.waiting.first().into_iter().chain(self.withdrawals.first()).min()?;
        if self.running >= MAX_RUNNING {
            return None;
        }
        let permitted = Instant::from_std(self.rate.ready_at(now.into_std(), 1));
        Some((*due).max(permitted))
    }

    fn insert(&mut self, now: Instant, key: DhtKey, statement: Statement, was_started: bool) {
        self.queue_of(&statement).insert((now, statement.urgency(), key.clone()));
        let retry = Backoff::new(RETRY_MIN, RETRY_MAX);
        let entry = Entry { statement, due: Some(now), retry, done: false, was_started, again: false };
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &DhtKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.done -= usize::from(entry.done);
        if let Some(due) = entry.due {
            self.queue_of(&entry.statement).remove(&(due, entry.statement.urgency(), key.clone()));
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use phase_core::Cid;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn name() -> DhtKey {
        DhtKey::Name("stable/x86_64".parse().unwrap())
    }

    fn artifacts(count: usize) -> BTreeMap<DhtKey, Statement> {
        (0..count).map(|n| (DhtKey::Content(Cid::of_block(&n.to_be_bytes())), Statement::Provide)).collect()
    }

    /// Runs the queue from `now` until `until`. Every announcement succeeds at once. Returns the start time of each
    /// announcement.
    fn run(queue: &mut Queue, mut now: Instant, until: Instant) -> Vec<Instant> {
        let mut sent = Vec::new();
        loop {
            while let Some((key, _)) = queue.next(now) {
                sent.push(now);
                queue.finished(now, &key, true);
            }
            match queue.wake_at(now) {
                Some(wake) if wake < until => now = wake.max(now + Duration::from_millis(1)),
                _ => return sent,
            }
        }
    }

    #[test]
    fn a_thousand_artifacts_respect_the_rate_limit_in_each_interval() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(1000));
        let sent = run(&mut queue, start, start + 3 * HOUR / 2);
        assert_eq!(queue.announced(), Announced { wanted: 1000, done: 1000 });
        assert_eq!(sent.len(), 2000);
        for window in sent.windows(200) {
            let took = window[199] - window[0];
            assert!(took >= Duration::from_secs(3), "200 announcements within {took:?}");
        }
    }

    #[test]
    fn names_are_announced_first() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        let mut wanted = artifacts(10);
        // A contact key sorts after content keys, so only the priority can put it first.
        let key = DhtKey::Contact("12D3KooW".parse().unwrap());
        wanted.insert(key.clone(), Statement::Point(vec![1]));
        queue.plan(start, wanted);
        assert_eq!(queue.next(start).unwrap().0, key);
    }

    #[test]
    fn running_announcements_are_limited_and_failures_cause_a_backoff() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(20));
        let running: Vec<_> = std::iter::from_fn(|| queue.next(start)).collect();
        assert_eq!((running.len(), queue.wake_at(start)), (MAX_RUNNING, None));
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(1));
        let mut now = start;
        for wait in [2, 4, 8, 16, 32, 64, 120, 120] {
            let (key, _) = queue.next(now).unwrap();
            queue.finished(now, &key, false);
            assert_eq!(queue.wake_at(now), Some(now + Duration::from_secs(wait)));
            assert_eq!(queue.announced().done, 0);
            now += Duration::from_secs(wait);
        }
    }

    #[test]
    fn a_key_that_changes_during_its_announcement_is_announced_again() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        let plan = |value| BTreeMap::from([(name(), Statement::Point(vec![value]))]);
        queue.plan(start, plan(1));
        let (key, _) = queue.next(start).unwrap();
        queue.plan(start, plan(2));
        queue.finished(start, &key, true);
        assert_eq!(queue.announced(), Announced { wanted: 1, done: 0 });
        assert_eq!(queue.next(start), Some((key.clone(), Statement::Point(vec![2]))));
        // A key that leaves the plan during its announcement is withdrawn afterwards.
        queue.plan(start, BTreeMap::new());
        queue.finished(start, &key, true);
        assert_eq!(queue.next(start), Some((key, Statement::Withdraw)));
    }

    #[test]
    fn a_dropped_key_is_withdrawn_until_a_withdrawal_succeeds() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(2));
        let (announced, _) = queue.next(start).unwrap();
        queue.finished(start, &announced, true);
        assert_eq!(queue.announced(), Announced { wanted: 2, done: 1 });
        // The second key was never announced, so it is not withdrawn.
        queue.plan(start, BTreeMap::new());
        assert_eq!((queue.announced(), queue.keys()), (Announced::default(), vec![(announced.clone(), true)]));
        assert_eq!(queue.next(start), Some((announced.clone(), Statement::Withdraw)));
        queue.finished(start, &announced, false);
        let later = queue.wake_at(start).unwrap();
        assert_eq!((later, queue.next(start)), (start + RETRY_MIN, None));
        assert_eq!(queue.next(later), Some((announced.clone(), Statement::Withdraw)));
        queue.finished(later, &announced, true);
        assert_eq!((queue.keys(), queue.wake_at(later)), (Vec::new(), None));
    }

    #[test]
    fn a_new_release_does_not_wait_for_the_withdrawals_of_an_old_one() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(1000));
        assert_eq!(run(&mut queue, start, start + HOUR / 2).len(), 1000);
        let now = start + HOUR / 2;
        queue.plan(now, BTreeMap::new());
        assert_eq!(queue.next(now).unwrap().1, Statement::Withdraw);
        let later = now + Duration::from_secs(2);
        queue.plan(later, BTreeMap::from([(name(), Statement::Point(vec![1]))]));
        assert_eq!(queue.next(later).unwrap().0, name());
        assert_eq!(queue.next(later).unwrap().1, Statement::Withdraw);
    }

    #[test]
    fn a_failing_withdrawal_is_given_up_and_a_wanted_key_is_not_withdrawn() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(1));
        let (key, _) = queue.next(start).unwrap();
        queue.finished(start, &key, true);
        queue.plan(start, BTreeMap::new());
        queue.plan(start, artifacts(1));
        assert_eq!(queue.next(start), Some((key.clone(), Statement::Provide)));
        queue.plan(start, BTreeMap::new());
        queue.finished(start, &key, true);
        let (mut now, mut tries) = (start, 0);
        while let Some((key, _)) = queue.next(now) {
            tries += 1;
            queue.finished(now, &key, false);
            now = queue.wake_at(now).unwrap_or(now);
        }
        assert_eq!((tries, queue.keys()), (7, Vec::new()));
    }

    #[test]
    fn all_announcements_can_be_made_due() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(5));
        assert_eq!(run(&mut queue, start, start + HOUR / 2).len(), 5);
        queue.make_all_due(start);
        assert_eq!(queue.announced(), Announced { wanted: 5, done: 0 });
        assert_eq!(run(&mut queue, start, start + HOUR / 2).len(), 5);
    }
}
