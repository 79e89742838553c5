//! What is to be announced and when: bounded, spread over time, names first. Does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use phase_core::{DhtKey, TokenBucket};
use phase_node::Backoff;
use tokio::time::Instant;

/// Keys that are announced: half as many as a node's own part of the DHT holds, where the other half may still be waiting to be
/// withdrawn. What is beyond is not announced, and said.
pub(super) const MAX_KEYS: usize = 64 * 1024;
/// Announcements that go out at once, before they are paced: a release of usual size.
const BURST: u64 = 64;
/// Announcements a second after that: a provider of a thousand artifacts needs half a minute. Each asks some twenty nodes,
/// and each of those twice: that is within what a peer may ask by default.
const PER_SECOND: u64 = 40;
/// Announcements under way at a time.
const MAX_RUNNING: usize = 8;
/// How long to wait after a failed announcement; doubles up to the maximum.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest wait after failed announcements.
const RETRY_MAX: Duration = Duration::from_secs(120);

/// What is said about a key. Whatever has a value is said first: without names nobody looks for the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Statement {
    /// We provide it, and this is the value there.
    Point(Vec<u8>),
    /// We provide it.
    Provide,
    /// We no longer do.
    Withdraw,
}

impl Statement {
    fn urgency(&self) -> u8 {
        match self {
            Self::Point(_) => 0,
            Self::Provide => 1,
            Self::Withdraw => 2,
        }
    }
}

/// How much of what is to be announced has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Keys to announce.
    pub wanted: usize,
    /// Keys announced, and not due again.
    pub done: usize,
}

struct Entry {
    statement: Statement,
    /// `None` while it is being announced.
    due: Option<Instant>,
    retry: Backoff,
    done: bool,
    /// Others may have heard of it.
    said: bool,
    /// What is being announced is no longer what should be.
    again: bool,
}

/// What is to be announced.
pub(super) struct Queue {
    entries: BTreeMap<DhtKey, Entry>,
    /// Entries that wait, in the order in which they go out.
    waiting: BTreeSet<(Instant, u8, DhtKey)>,
    /// Withdrawals that wait: they go out when nothing else is due.
    leaving: BTreeSet<(Instant, u8, DhtKey)>,
    running: usize,
    wanted: usize,
    done: usize,
    interval: Duration,
    pace: TokenBucket,
}

impl Queue {
    /// `interval`: between two announcements of the same thing.
    pub(super) fn new(interval: Duration) -> Self {
        let (entries, waiting, leaving) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let pace = TokenBucket::new(PER_SECOND, BURST);
        Self { entries, waiting, leaving, running: 0, wanted: 0, done: 0, interval, pace }
    }

    pub(super) fn announced(&self) -> Announced {
        Announced { wanted: self.wanted, done: self.done }
    }

    /// Everything that is announced, names first, and being withdrawn, which is told by `true`.
    pub(super) fn keys(&self) -> Vec<(DhtKey, bool)> {
        let mut keys: Vec<_> = self.entries.iter().collect();
        keys.sort_by_key(|(_, entry)| entry.statement.urgency());
        keys.into_iter().map(|(key, entry)| (key.clone(), entry.statement == Statement::Withdraw)).collect()
    }

    /// Where an entry with this statement waits.
    fn line(&mut self, statement: &Statement) -> &mut BTreeSet<(Instant, u8, DhtKey)> {
        if *statement == Statement::Withdraw { &mut self.leaving } else { &mut self.waiting }
    }

    /// Takes over what is to be announced from now on; what no longer is is withdrawn.
    pub(super) fn plan(&mut self, now: Instant, mut wanted: BTreeMap<DhtKey, Statement>) {
        if wanted.len() > MAX_KEYS {
            // Names stay: they lead to providers of the rest.
            let mut room = MAX_KEYS.saturating_sub(wanted.values().filter(|s| s.urgency() == 0).count());
            wanted.retain(|_, statement| {
                let stays = statement.urgency() == 0 || room > 0;
                room -= usize::from(statement.urgency() > 0 && room > 0);
                stays
            });
        }
        self.wanted = wanted.len();
        let gone: Vec<_> = self.entries.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            let has_been_said = self.entries.get(&key).is_some_and(|entry| entry.said);
            if has_been_said && self.entries.len() <= 2 * MAX_KEYS {
                self.state(now, key, Statement::Withdraw);
            } else {
                self.remove(&key);
            }
        }
        for (key, statement) in wanted {
            self.state(now, key, statement);
        }
    }

    /// From now on this is to be said about a key.
    fn state(&mut self, now: Instant, key: DhtKey, statement: Statement) {
        match self.entries.get_mut(&key) {
            Some(held) if held.statement == statement => {}
            Some(held) if held.due.is_none() => {
                (held.statement, held.again) = (statement, true);
                held.retry.reset();
                self.done -= usize::from(std::mem::take(&mut held.done));
            }
            _ => {
                let said = self.remove(&key).is_some_and(|entry| entry.said);
                self.insert(now, key, statement, said);
            }
        }
    }

    /// Everything is to be announced once more.
    pub(super) fn make_all_due(&mut self, now: Instant) {
        let later: Vec<_> = self.waiting.iter().filter(|(due, ..)| *due > now).cloned().collect();
        self.entries.values_mut().filter(|entry| entry.due.is_none()).for_each(|entry| entry.again = true);
        for (_, _, key) in later {
            if let Some(Entry { statement, said, .. }) = self.remove(&key) {
                self.insert(now, key, statement, said);
            }
        }
    }

    /// The next announcement, if there is one to make now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(DhtKey, Statement)> {
        if self.running >= MAX_RUNNING || !self.pace.has(now.into_std(), 1) {
            return None;
        }
        let is_due = |line: &&mut BTreeSet<(Instant, u8, DhtKey)>| line.first().is_some_and(|(due, ..)| *due <= now);
        let (_, _, key) = [&mut self.waiting, &mut self.leaving].into_iter().find(is_due)?.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        (entry.due, entry.again, entry.said) = (None, false, true);
        self.pace.take(now.into_std(), 1);
        self.running += 1;
        Some((key, entry.statement.clone()))
    }

    /// An announcement has ended.
    pub(super) fn finished(&mut self, now: Instant, key: &DhtKey, is_announced: bool) {
        self.running -= 1;
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.done -= usize::from(std::mem::take(&mut entry.done));
        let is_withdrawal = entry.statement == Statement::Withdraw;
        let due = match () {
            () if entry.again => now,
            // Whoever could not be told for so long forgets it when its time is over.
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
        self.line(&statement).insert((due, statement.urgency(), key.clone()));
    }

    /// When to look again, if nothing else happens before.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let (due, ..) = self.waiting.first().into_iter().chain(self.leaving.first()).min()?;
        if self.running >= MAX_RUNNING {
            return None;
        }
        let filled = Instant::from_std(self.pace.ready_at(now.into_std(), 1));
        Some((*due).max(filled))
    }

    fn insert(&mut self, now: Instant, key: DhtKey, statement: Statement, said: bool) {
        self.line(&statement).insert((now, statement.urgency(), key.clone()));
        let retry = Backoff::new(RETRY_MIN, RETRY_MAX);
        let entry = Entry { statement, due: Some(now), retry, done: false, said, again: false };
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &DhtKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.done -= usize::from(entry.done);
        if let Some(due) = entry.due {
            self.line(&entry.statement).remove(&(due, entry.statement.urgency(), key.clone()));
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

    /// Lets every announcement succeed at once until `until`; returns when each went out.
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
    fn a_thousand_artifacts_are_spread_over_time_and_again_at_the_next_turn() {
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
    fn names_go_first() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        let mut wanted = artifacts(10);
        // Of a kind that comes after content.
        let key = DhtKey::Contact("12D3KooW".parse().unwrap());
        wanted.insert(key.clone(), Statement::Point(vec![1]));
        queue.plan(start, wanted);
        assert_eq!(queue.next(start).unwrap().0, key);
    }

    #[test]
    fn few_run_at_a_time_and_failures_are_tried_again_later_and_later() {
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
    fn what_changes_while_it_is_announced_is_announced_again() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        let plan = |value| BTreeMap::from([(name(), Statement::Point(vec![value]))]);
        queue.plan(start, plan(1));
        let (key, _) = queue.next(start).unwrap();
        queue.plan(start, plan(2));
        queue.finished(start, &key, true);
        assert_eq!(queue.announced(), Announced { wanted: 1, done: 0 });
        assert_eq!(queue.next(start), Some((key.clone(), Statement::Point(vec![2]))));
        // And what is dropped meanwhile is withdrawn.
        queue.plan(start, BTreeMap::new());
        queue.finished(start, &key, true);
        assert_eq!(queue.next(start), Some((key, Statement::Withdraw)));
    }

    #[test]
    fn what_is_dropped_is_withdrawn_until_somebody_hears_it() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(2));
        let (said, _) = queue.next(start).unwrap();
        queue.finished(start, &said, true);
        assert_eq!(queue.announced(), Announced { wanted: 2, done: 1 });
        // Of the second nobody has heard.
        queue.plan(start, BTreeMap::new());
        assert_eq!((queue.announced(), queue.keys()), (Announced::default(), vec![(said.clone(), true)]));
        assert_eq!(queue.next(start), Some((said.clone(), Statement::Withdraw)));
        queue.finished(start, &said, false);
        let later = queue.wake_at(start).unwrap();
        assert_eq!((later, queue.next(start)), (start + RETRY_MIN, None));
        assert_eq!(queue.next(later), Some((said.clone(), Statement::Withdraw)));
        queue.finished(later, &said, true);
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
    fn a_withdrawal_that_nobody_hears_is_given_up_and_one_that_comes_too_early_is_taken_back() {
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
    fn all_can_be_made_due() {
        let start = Instant::now();
        let mut queue = Queue::new(HOUR);
        queue.plan(start, artifacts(5));
        assert_eq!(run(&mut queue, start, start + HOUR / 2).len(), 5);
        queue.make_all_due(start);
        assert_eq!(queue.announced(), Announced { wanted: 5, done: 0 });
        assert_eq!(run(&mut queue, start, start + HOUR / 2).len(), 5);
    }
}
