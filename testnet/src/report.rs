//! What the simulator's runs showed, held against what scenario files promise.

pub(crate) use phase_report::swarm::percentile;
pub use phase_report::swarm::{Document, Outcome, Promises, Report, Run, RunTable, Sample, Variant, plot};

use crate::scenario::Hold;

/// The runs of one scenario file, or of a scenario from the command line.
pub type ScenarioOutcome = phase_report::swarm::ScenarioOutcome<Hold>;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 100 clients, T_min 10 s: p50 1.1, p99 1.3, last 1.5 x T_min, 2 % duplicates, 1.8 seed copies.
    pub(crate) fn report() -> Report {
        let finish_times: Vec<_> = [(50, 11.0), (49, 13.0), (1, 15.0)].map(|(count, at)| vec![at; count]).concat();
        let time = |part| percentile(&finish_times, 100, part);
        Report {
            clients: 100,
            finished: 100,
            t_min: 10.0,
            p50: time(0.5),
            p99: time(0.99),
            last: time(1.0),
            seed_copies: 1.8,
            duplicates: 0.02,
            finish_times,
            ..Report::default()
        }
    }
}
