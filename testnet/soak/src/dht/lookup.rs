//! Looking for what was announced, and what that costs.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use phase_node::{NodeHandle, QueryError, QueryReport, Search};
use tokio::time::Instant;

use super::network::{Network, Subject};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The pointer.
    Value,
    /// Who provides the name.
    Provider,
}

/// One search of the DHT.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// What for.
    pub kind: Kind,
    /// After how long what was announced was found.
    pub found_after: Option<Duration>,
    /// Messages that the whole search took, which goes on until the 20 closest nodes have answered.
    pub requests: u32,
    /// Those that were not answered.
    pub failed: u32,
    /// Why it ended before its time.
    pub error: Option<String>,
}

impl Network {
    /// Looks for `count` names that were announced, pointers and providers in turn, each from a random node, half of the
    /// time a client, under a random one of the name's keys; `at_once` at a time.
    pub async fn look_up(&mut self, count: usize, at_once: usize) -> Vec<Lookup> {
        let chosen: Vec<_> = (0..count).map(|number| self.choose(number)).collect();
        let searches = chosen.into_iter().map(|(kind, node, key, subject)| look(kind, node, key, subject));
        stream::iter(searches).buffer_unordered(at_once).collect().await
    }

    fn choose(&mut self, number: usize) -> (Kind, NodeHandle, String, Subject) {
        let kind = if number.is_multiple_of(2) { Kind::Value } else { Kind::Provider };
        let subject = self.subjects[self.random.usize(..self.subjects.len())].clone();
        let from = if self.random.bool() && !self.clients.is_empty() { &self.clients } else { &self.servers };
        let others: Vec<_> = from.iter().filter(|member| member.handle().peer_id() != subject.announcer).collect();
        let node = others[self.random.usize(..others.len())].handle().clone();
        let keys = subject.name.keys();
        let key = keys[self.random.usize(..keys.len())].clone();
        (kind, node, key, subject)
    }
}

async fn look(kind: Kind, node: NodeHandle, key: String, subject: Subject) -> Lookup {
    let started = Instant::now();
    let (found_after, outcome) = match kind {
        Kind::Value => {
            let search = node.find_values(key.as_bytes()).await;
            watch(search, started, |found| found.value == subject.pointer).await
        }
        Kind::Provider => {
            let search = node.find_providers(key.as_bytes()).await;
            watch(search, started, |found| found.peer == subject.announcer).await
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

/// What many lookups amount to.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The share that found what was announced, 0 to 1.
    pub found: f64,
    /// Messages of a whole search.
    pub messages_mean: f64,
    /// Messages that 95 % of the searches stay within.
    pub messages_p95: u32,
    /// The most messages.
    pub messages_max: u32,
    /// The time until it was found, of those that did.
    pub latency_mean: Duration,
    /// The time within which 95 % of those that found it did.
    pub latency_p95: Duration,
}

impl Summary {
    /// Sums them up; there has to be one at least.
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

/// Of sorted values, the one that 95 % are not above.
fn p95<T: Copy + Default>(sorted: &[T]) -> T {
    let rank = (sorted.len() * 95).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
