//! The progress of a run, and the samples for its report.

use std::time::Duration;

use phase_report::swarm::Sample;

/// The maximum number of samples. When it is reached, every second sample is dropped.
const MAX_SAMPLES: usize = 200;

/// The progress of a simulated run.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The current virtual time.
    pub now: Duration,
    /// The number of clients that have all chunks.
    pub finished: u32,
    /// The number of clients that must finish.
    pub clients: u32,
    /// The number of events simulated so far.
    pub events: u64,
}

/// The figures that are recorded during a run.
pub(crate) struct Watch {
    /// The number of events simulated so far.
    pub(crate) events: u64,
    /// How much of the artifact the clients had verified, at regular times.
    pub(crate) samples: Vec<Sample>,
    /// The virtual time between two samples.
    every: Duration,
}

impl Watch {
    pub(crate) fn new(t_min: Duration) -> Self {
        Self { events: 0, samples: Vec::new(), every: (t_min / 100).max(Duration::from_nanos(1)) }
    }

    /// Returns the virtual time of the next sample.
    pub(crate) fn next(&self) -> Duration {
        self.every * u32::try_from(self.samples.len()).expect("the number of samples is bounded")
    }

    /// Adds a sample. If there are [`MAX_SAMPLES`], drops every second sample and doubles the time between samples.
    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() >= MAX_SAMPLES {
            let mut keep = [true, false].into_iter().cycle();
            self.samples.retain(|_| keep.next().unwrap_or(true));
            self.every *= 2;
        }
    }
}
