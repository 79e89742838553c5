//! The progress, the samples and the final report of a simulation.

use std::time::Duration;

use phase_protocol::scheduler::Scheduler;
use phase_report::swarm::{Report, Sample, percentile};

use crate::swarm::Swarm;
use crate::watch::Progress;

/// The number of events between two calls that report the progress.
const REPORT_EVERY: u64 = 1 << 14;

impl Swarm<'_> {
    pub(crate) fn report_progress(&mut self, watch: &mut dyn FnMut(Progress)) {
        self.watch.events += 1;
        if self.watch.events.is_multiple_of(REPORT_EVERY) {
            let clients = self.clients_to_finish();
            let finished = clients.saturating_sub(u32::try_from(self.unfinished).unwrap_or(u32::MAX));
            watch(Progress { now: self.now, finished, clients, events: self.watch.events });
        }
    }

    /// Takes all samples that are due at or before the virtual time `at`.
    pub(crate) fn sample_until(&mut self, at: Duration) {
        while self.watch.next() <= at {
            let at = self.watch.next();
            self.watch.add(self.sample(at));
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

    /// Returns the number of clients that must finish: all except those that were killed before they had finished.
    fn clients_to_finish(&self) -> u32 {
        let clients = self.nodes.iter().filter(|node| node.scheduler.is_some());
        let counted = clients.filter(|node| node.alive || node.finished.is_some());
        u32::try_from(counted.count()).expect("the number of nodes is bounded")
    }

    pub(crate) fn report(&self) -> Report {
        let clients: Vec<_> = self.nodes.iter().filter(|node| node.scheduler.is_some()).collect();
        let mut times: Vec<f64> = clients.iter().filter_map(|node| Some(node.finished?.as_secs_f64())).collect();
        times.sort_by(f64::total_cmp);
        let expected = self.clients_to_finish();
        let stats: Vec<_> = clients.iter().filter_map(|node| node.scheduler.as_ref()).map(Scheduler::stats).collect();
        let from_seeds: u64 = self.nodes[..self.seeds()].iter().map(|node| node.uplink.sent).sum();
        let duplicates: u64 = stats.iter().map(|stats| stats.duplicates).sum();
        Report {
            seed: self.scenario.rng_seed,
            clients: expected,
            finished: times.len() as u32,
            size: self.scenario.size(),
            chunks: self.index.len(),
            t_min: self.t_min.as_secs_f64(),
            p50: percentile(&times, expected, 0.5),
            p99: percentile(&times, expected, 0.99),
            last: percentile(&times, expected, 1.0),
            seed_copies: from_seeds as f64 / self.scenario.size() as f64,
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
