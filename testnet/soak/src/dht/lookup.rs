//! Looks up announced names, and measures how many requests and how much time each lookup takes.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use phase_core::DhtKey;
use phase_node::{NodeHandle, QueryError, QueryReport, Search};
use tokio::time::Instant;

use super::network::{AnnouncedName, Network};

/// The kind of target that a lookup searches for in the DHT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The target is the pointer of a name.
    Value,
    /// The target is the provider of a name.
    Provider,
}

/// The result of one lookup in the DHT.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The kind of target that the lookup searched for.
    pub kind: Kind,
    /// The time until the lookup found its target; `None` if the lookup did not find the target.
    pub found_after: Option<Duration>,
    /// The number of requests that the lookup sent. A lookup that has found its target continues until the 20 closest
    /// nodes have answered.
    pub requests: u32,
    /// The number of requests that failed.
    pub failed: u32,
    /// The error that ended the lookup early; `None` if there was no error.
    pub error: Option<String>,
}

impl Network {
    /// Makes `count` lookups of announced names, `at_once` at a time. Searches alternately for the pointer and the
    /// provider of a name. Each lookup starts at a random node (a client with probability one half) and uses a random
    /// DHT key of the name.
    pub async fn look_up(&mut self, count: usize, at_once: usize) -> Vec<Lookup> {
        let chosen: Vec<_> = (0..count).map(|number| self.choose(number)).collect();
        let searches = chosen.into_iter().map(|(kind, node, key, announced)| look(kind, node, key, announced));
        stream::iter(searches).buffer_unordered(at_once).collect().await
    }

    fn choose(&mut self, number: usize) -> (Kind, NodeHandle, DhtKey, AnnouncedName) {
        let kind = if number.is_multiple_of(2) { Kind::Value } else { Kind::Provider };
        let announced = self.announced_names[self.random.usize(..self.announced_names.len())].clone();
        let from = if self.random.bool() && !self.clients.is_empty() { &self.clients } else { &self.servers };
        let candidates: Vec<_> = from.iter().filter(|node| node.handle().peer_id() != announced.announcer).collect();
        let node = candidates[self.random.usize(..candidates.len())].handle().clone();
        let keys = DhtKey::Name(announced.name.clone()).copies();
        let key = keys[self.random.usize(..keys.len())].clone();
        (kind, node, key, announced)
    }
}

async fn look(kind: Kind, node: NodeHandle, key: DhtKey, announced: AnnouncedName) -> Lookup {
    let started = Instant::now();
    let (found_after, outcome) = match kind {
        Kind::Value => {
            let search = node.find_values(&key).await;
            watch(search, started, |found| found.value == announced.pointer).await
        }
        Kind::Provider => {
            let search = node.find_providers(&key).await;
            watch(search, started, |found| found.peer == announced.announcer).await
        }
    };
    let error = outcome.as_ref().err().map(ToString::to_string);
    let report = outcome.unwrap_or_else(|error| error.report().cloned().unwrap_or_default());
    Lookup { kind, found_after, requests: report.requests, failed: report.failed, error }
}

async fn watch<T>(
    mut search: Search<T>,
    started: Instant,
    is_it: impl Fn(&T) -> bool,
) -> (Option<Duration>, Result<QueryReport, QueryError>) {
    let mut found_after = None;
    while let Some(found) = search.recv().await {
        if is_it(&found) && found_after.is_none() {
            found_after = Some(started.elapsed());
        }
    }
    (found_after, search.finish().await)
}

/// The statistics of many lookups in the DHT.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The fraction of lookups that found their target, 0 to 1.
    pub found: f64,
    /// The mean number of requests that a lookup sent.
    pub messages_mean: f64,
    /// The 95th percentile of the number of requests that a lookup sent.
    pub messages_p95: u32,
    /// The largest number of requests that one lookup sent.
    pub messages_max: u32,
    /// The mean time until a successful lookup found its target.
    pub latency_mean: Duration,
    /// The 95th percentile of the time until a successful lookup found its target.
    pub latency_p95: Duration,
}

impl Summary {
    /// Computes the figures of these lookups.
    pub fn of(lookups: &[Lookup]) -> Self {
        let mut messages: Vec<_> = lookups.iter().map(|lookup| lookup.requests).collect();
        let mut times: Vec<_> = lookups.iter().filter_map(|lookup| lookup.found_after).collect();
        messages.sort_unstable();
        times.sort_unstable();
        let count = lookups.len().max(1) as f64;
        let found = u32::try_from(times.len()).unwrap_or(u32::MAX);
        Self {
            found: f64::from(found) / count,
            messages_mean: messages.iter().map(|count| f64::from(*count)).sum::<f64>() / count,
            messages_p95: p95(&messages),
            messages_max: messages.last().copied().unwrap_or_default(),
            latency_mean: times.iter().sum::<Duration>().checked_div(found).unwrap_or_default(),
            latency_p95: p95(&times),
        }
    }
}

/// Returns the 95th percentile of sorted values; the default value if there are no values.
fn p95<T: Copy + Default>(sorted: &[T]) -> T {
    let rank = (sorted.len() * 95).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
