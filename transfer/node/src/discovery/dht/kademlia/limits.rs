//! How much of our time each peer gets: token buckets for what it asks of our part of the DHT.
//!
//! A peer that exceeds its share is ignored for a while: what it sends has no effect and gets no answer.

use std::collections::BTreeMap;

use libp2p::PeerId;
use phase_core::TokenBucket;
use tokio::time::Instant;

use crate::discovery::dht::config::{Limits, Rate};

/// Peers that are remembered: as many as can be connected, twice.
const MAX_PEERS: usize = 4096;

/// What a peer can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    /// To keep a value.
    Put,
    /// To keep a provider record.
    Provide,
    /// For values, providers or closer nodes.
    Query,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is answered.
    Accepted,
    /// It was one too many: from now on the peer is ignored.
    Exceeded,
    /// The peer is being ignored.
    Ignored,
}

struct Share {
    /// What is left, by [`Request`].
    buckets: [TokenBucket; 3],
    /// When it last asked within its share, or beyond it.
    at: Instant,
    ignored_until: Option<Instant>,
}

impl Share {
    fn full(now: Instant, limits: &Limits) -> Self {
        let bucket = |rate: Rate| TokenBucket::fractional(rate.per_second, rate.burst.into());
        let buckets = [limits.puts, limits.provides, limits.queries].map(bucket);
        Self { buckets, at: now, ignored_until: None }
    }

    fn is_ignored(&self, now: Instant) -> bool {
        self.ignored_until.is_some_and(|until| now < until)
    }
}

/// The shares that peers have left.
pub(crate) struct Limiter {
    limits: Limits,
    peers: BTreeMap<PeerId, Share>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, peers: BTreeMap::new() }
    }

    /// Takes a request of `peer` from its share.
    pub(crate) fn admit(&mut self, now: Instant, peer: PeerId, request: Request) -> Admission {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            self.forget_longest_silent();
        }
        let share = self.peers.entry(peer).or_insert_with(|| Share::full(now, &self.limits));
        if share.is_ignored(now) {
            return Admission::Ignored;
        }
        (share.at, share.ignored_until) = (now, None);
        if share.buckets[request as usize].take(now.into_std(), 1) {
            return Admission::Accepted;
        }
        share.ignored_until = Some(now + self.limits.ignore_for);
        Admission::Exceeded
    }

    /// Whether a peer is being ignored.
    pub(crate) fn is_ignored(&self, now: Instant, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|share| share.is_ignored(now))
    }

    /// Peers that are being ignored.
    pub(crate) fn ignored(&self, now: Instant) -> usize {
        self.peers.values().filter(|share| share.is_ignored(now)).count()
    }

    /// Makes room. One that is ignored goes last: it must not come back by having others push it out.
    fn forget_longest_silent(&mut self) {
        let oldest = self.peers.iter().min_by_key(|(_, share)| (share.ignored_until.is_some(), share.at));
        if let Some((peer, _)) = oldest {
            let peer = *peer;
            self.peers.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limiter() -> Limiter {
        let few = Rate { burst: 2, per_second: 1.0 };
        Limiter::new(Limits { puts: few, provides: few, queries: few, ignore_for: Duration::from_secs(10) })
    }

    #[test]
    fn who_asks_too_much_is_ignored_for_a_while() {
        let (mut limiter, peer, start) = (limiter(), PeerId::random(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limiter.admit(start, peer, Request::Put), Admission::Accepted);
        assert_eq!(limiter.admit(start, peer, Request::Put), Admission::Accepted);
        assert_eq!(limiter.admit(start, peer, Request::Put), Admission::Exceeded);
        assert_eq!(limiter.admit(after(1), peer, Request::Put), Admission::Ignored);
        assert_eq!(limiter.admit(after(9), peer, Request::Query), Admission::Ignored, "whatever it asks");
        assert_eq!(limiter.ignored(after(9)), 1);
        assert_eq!(limiter.admit(after(10), peer, Request::Put), Admission::Accepted);
        assert_eq!(limiter.ignored(after(10)), 0);
    }

    #[test]
    fn shares_are_apart_and_grow_again() {
        let (mut limiter, peer, start) = (limiter(), PeerId::random(), Instant::now());
        for request in [Request::Put, Request::Provide, Request::Query] {
            assert_eq!(limiter.admit(start, peer, request), Admission::Accepted);
            assert_eq!(limiter.admit(start, peer, request), Admission::Accepted);
        }
        for second in 1..20 {
            let now = start + Duration::from_secs(second);
            assert_eq!(limiter.admit(now, peer, Request::Put), Admission::Accepted, "second {second}");
        }
        assert_eq!(limiter.admit(start, PeerId::random(), Request::Put), Admission::Accepted);
    }

    #[test]
    fn memory_is_bounded_and_offenders_are_remembered() {
        let (mut limiter, offender, start) = (limiter(), PeerId::random(), Instant::now());
        for _ in 0..3 {
            limiter.admit(start, offender, Request::Query);
        }
        for _ in 0..2 * MAX_PEERS {
            limiter.admit(start + Duration::from_secs(1), PeerId::random(), Request::Query);
        }
        assert_eq!(limiter.peers.len(), MAX_PEERS);
        assert_eq!(limiter.admit(start + Duration::from_secs(2), offender, Request::Query), Admission::Ignored);
    }
}
