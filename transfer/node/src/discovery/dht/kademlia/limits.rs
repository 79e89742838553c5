//! Rate limits: token buckets for the DHT requests of each peer.
//!
//! A peer that exceeds a limit is ignored for a while. During this time, its requests have no effect and receive no
//! answer.

use std::collections::BTreeMap;

use libp2p::PeerId;
use phase_core::TokenBucket;
use tokio::time::Instant;

use crate::discovery::dht::config::{Limits, Rate};

/// The maximum number of peers with token buckets: twice the maximum number of connections.
const MAX_PEERS: usize = 4096;

/// The kind of a request. Each kind has its own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    /// A request to store a value.
    Put,
    /// A request to store a provider record.
    Provide,
    /// A request for values, providers or closer nodes.
    Query,
}

/// The decision whether a request is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The request is within the limit.
    Accepted,
    /// The request exceeds the limit. From now on, the peer is ignored for a while.
    Exceeded,
    /// The request is ignored, because the peer has exceeded a limit before.
    Ignored,
}

/// The token buckets of one peer.
struct Share {
    /// The token bucket for each kind of request, indexed by [`Request`].
    buckets: [TokenBucket; 3],
    /// When the peer last sent a request that was not ignored.
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

/// The token buckets of all peers.
pub(crate) struct Limiter {
    limits: Limits,
    peers: BTreeMap<PeerId, Share>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, peers: BTreeMap::new() }
    }

    /// Counts a request from `peer` and decides whether it is handled.
    pub(crate) fn admit(&mut self, now: Instant, peer: PeerId, request: Request) -> Admission {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            self.forget_least_recent();
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

    /// Returns whether a peer is currently ignored.
    pub(crate) fn is_ignored(&self, now: Instant, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|share| share.is_ignored(now))
    }

    /// Returns the number of currently ignored peers.
    pub(crate) fn ignored(&self, now: Instant) -> usize {
        self.peers.values().filter(|share| share.is_ignored(now)).count()
    }

    /// Evicts the peer whose last counted request is the oldest. Evicts ignored peers last, so that an ignored peer
    /// cannot get itself evicted by filling the table with other identities.
    fn forget_least_recent(&mut self) {
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
    fn a_peer_that_exceeds_a_limit_is_ignored_for_a_while() {
        let (mut limiter, peer, start) = (limiter(), PeerId::random(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limiter.admit(start, peer, Request::Put), Admission::Accepted);
        assert_eq!(limiter.admit(start, peer, Request::Put), Admission::Accepted);
        assert_eq!(limiter.admit(start, peer, Request::Put), Admission::Exceeded);
        assert_eq!(limiter.admit(after(1), peer, Request::Put), Admission::Ignored);
        assert_eq!(limiter.admit(after(9), peer, Request::Query), Admission::Ignored, "every kind is ignored");
        assert_eq!(limiter.ignored(after(9)), 1);
        assert_eq!(limiter.admit(after(10), peer, Request::Put), Admission::Accepted);
        assert_eq!(limiter.ignored(after(10)), 0);
    }

    #[test]
    fn each_peer_and_each_kind_of_request_has_its_own_limit_that_refills() {
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
    fn a_full_table_evicts_other_peers_before_ignored_peers() {
        let (mut limiter, ignored, start) = (limiter(), PeerId::random(), Instant::now());
        for _ in 0..3 {
            limiter.admit(start, ignored, Request::Query);
        }
        for _ in 0..2 * MAX_PEERS {
            limiter.admit(start + Duration::from_secs(1), PeerId::random(), Request::Query);
        }
        assert_eq!(limiter.peers.len(), MAX_PEERS);
        assert_eq!(limiter.admit(start + Duration::from_secs(2), ignored, Request::Query), Admission::Ignored);
    }
}
