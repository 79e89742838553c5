//! What a run shows while it goes on, and in the end.

use std::time::Duration;

use phase_report::swarm::Sample;

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
pub(crate) struct Watch {
    /// Events that were simulated.
    pub(crate) events: u64,
    /// What clients had in the course of time.
    pub(crate) samples: Vec<Sample>,
    every: Duration,
}

impl Watch {
    pub(crate) fn new(t_min: Duration) -> Self {
        Self { events: 0, samples: Vec::new(), every: (t_min / 100).max(Duration::from_nanos(1)) }
    }

    /// When the next sample is due.
    pub(crate) fn next(&self) -> Duration {
        self.every * u32::try_from(self.samples.len()).expect("samples are few")
    }
    /// Takes a sample in. When there are too many, every second one goes.
    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() >= MAX_SAMPLES {
            let mut keep = [true, false].into_iter().cycle();
            self.samples.retain(|_| keep.next().unwrap_or(true));
            self.every *= 2;
        }
    }
}
