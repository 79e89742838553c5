//! What a run shows while it goes on, and in the end.

use std::time::Duration;

use phase_protocol::scheduler::Scheduler;

use super::Swarm;
use crate::report::{Report, Sample, percentile};

/// Events between two calls of whoever looks on.
const TELL_EVERY: u64 = 1 << 14;
/// When there are more samples than this, every other one goes.
const MAX_SAMPLES: usize = 200;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Virtual time.
    pub now: Duration,
    /// Clients that have everything.
    pub finished: u32,
    /// Clients that are to have it.
    pub clients: u32,
    /// Events that were simulated.
    pub events: u64,
}

/// What is taken down.
pub(super) struct Watch {
    events: u64,
    samples: Vec<Sample>,
    every: Duration,
}

impl Watch {
    pub(super) fn new(t_min: Duration) -> Self {
        Self { events: 0, samples: Vec::new(), every: (t_min / 100).max(Duration::from_nanos(1)) }
    }

    fn next(&self) -> Duration {
        self.every * u32::try_from(self.samples.len()).expect("samples are few")
    }
}

impl Swarm<'_> {
    pub(super) fn tell_progress(&mut self, watch: &mut dyn FnMut(Progress)) {
        self.watch.events += 1;
        if self.watch.events.is_multiple_of(TELL_EVERY) {
            let clients = self.clients_to_finish();
            let finished = clients.saturating_sub(u32::try_from(self.unfinished).unwrap_or(u32::MAX));
            watch(Progress { now: self.now, finished, clients, events: self.watch.events });
        }
    }

    /// Takes the samples that are due before `at`.
    pub(super) fn sample_until(&mut self, at: Duration) {
        while self.watch.next() <= at {
            let at = self.watch.next();
            self.watch.samples.push(self.sample(at));
            if self.watch.samples.len() >= MAX_SAMPLES {
                let mut keep = [true, false].into_iter().cycle();
                self.watch.samples.retain(|_| keep.next().unwrap_or(true));
                self.watch.every *= 2;
            }
        }
    }

    fn sample(&self, at: Duration) -> Sample {
        let clients = self.nodes.iter().filter(|node| node.alive && node.scheduler.is_some());
        let (mut least, mut sum, mut most, mut count) = (1.0f64, 0.0, 0.0f64, 0u32);
        for client in clients {
            let share = f64::from(client.have.count()) / f64::from(self.index.len());
            (least, sum, most, count) = (least.min(share), sum + share, most.max(share), count + 1);
        }
        Sample { at: at.as_secs_f64(), least, mean: sum / f64::from(count.max(1)), most }
    }

    /// Clients that are there or had finished before they went.
    fn clients_to_finish(&self) -> u32 {
        let clients = self.nodes.iter().filter(|node| node.scheduler.is_some());
        let counted = clients.filter(|node| node.alive || node.finished.is_some());
        u32::try_from(counted.count()).expect("scenarios are bounded")
    }

    pub(super) fn report(&self) -> Report {
        let clients: Vec<_> = self.nodes.iter().filter(|node| node.scheduler.is_some()).collect();
        let mut times: Vec<f64> = clients.iter().filter_map(|node| Some(node.finished?.as_secs_f64())).collect();
        times.sort_by(f64::total_cmp);
        let of = self.clients_to_finish();
        let stats: Vec<_> = clients.iter().filter_map(|node| node.scheduler.as_ref()).map(Scheduler::stats).collect();
        let from_seeds: u64 = self.nodes[..self.seeds()].iter().map(|node| node.uplink.sent).sum();
        let duplicates: u64 = stats.iter().map(|stats| stats.duplicates).sum();
        Report {
            seed: self.scenario.seed,
            clients: of,
            finished: times.len() as u32,
            size: self.scenario.size,
            chunks: self.index.len(),
            t_min: self.t_min.as_secs_f64(),
            p50: percentile(&times, of, 0.5),
            p99: percentile(&times, of, 0.99),
            last: percentile(&times, of, 1.0),
            seed_copies: from_seeds as f64 / self.scenario.size as f64,
            duplicates: duplicates as f64 / self.verified.max(1) as f64,
            reassigned: stats.iter().map(|stats| stats.reassigned).sum(),
            stolen: stats.iter().map(|stats| stats.stolen).sum(),
            stalls: stats.iter().map(|stats| stats.stalls).sum(),
            bans: self.bans,
            events: self.watch.events,
            finish_times: times,
            samples: self.watch.samples.clone(),
        }
    }
}
