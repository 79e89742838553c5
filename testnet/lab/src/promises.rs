//! Compares a run in containers with the promises of its scenario.

use phase_report::lab::record::Run;
use phase_scenario::{Hold, Promise, Variant};

/// Returns one sentence for each promise of the scenario that was broken. The bounds that apply to every run are not
/// promises. They are in [`StageResult::broken`](crate::stage::StageResult::broken).
pub(crate) fn broken(hold: &Hold, run: &Run) -> Vec<String> {
    hold.broken(|promise| figure(promise, run))
}

/// Returns the measured figure for which a promise states a bound; `None` if the figure was not measured.
fn figure(promise: Promise, run: &Run) -> Option<f64> {
    let of_t_min = |part| run.phase.percentile(part).map(|time| time / run.t_min);
    let [(_, of_p50), (_, of_last)] = run.prediction_errors();
    match promise {
        Promise::P50 => of_t_min(0.5),
        Promise::P95 => of_t_min(0.95),
        Promise::P99 => of_t_min(0.99),
        Promise::Last => of_t_min(1.0),
        Promise::Throughput => run.throughput(),
        Promise::Duplicates => Some(run.phase.duplicates()),
        Promise::SeedCopies => Some(run.seed_copies()),
        Promise::Versus(Variant::Undisturbed) => run.slowdown(),
        // Only the simulator measures this figure.
        Promise::Versus(_) => None,
        Promise::VersusHttp => run.times_faster_than_http(),
        Promise::PredictedP50 => of_p50,
        Promise::PredictedLast => of_last,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use phase_report::lab::record::{ArtifactRecord, ClientRecord, NodeRecord, Outcome, Prediction, Setup, Usage};

    const SIZE: u64 = 1_000_000;

    /// Returns an outcome with 20 clients. 10 clients took the first of `times`, 9 took the second, and 1 took the
    /// third. The download of each client took 1 s less than its whole fetch.
    fn outcome(times: [f64; 3]) -> Outcome {
        let client = |number: usize| {
            let time = times[usize::from(number >= 10) + usize::from(number >= 19)];
            ClientRecord {
                finished: Some(time),
                download_seconds: Some(time - 1.0),
                must_finish: true,
                by_source: BTreeMap::from([("seed 0".to_owned(), SIZE)]),
                duplicate_bytes: SIZE / 50,
                ..ClientRecord::default()
            }
        };
        let node =
            |name: &str, sent| NodeRecord { name: name.to_owned(), samples: vec![Usage { sent, ..Usage::default() }] };
        let nodes = vec![node("bootstrap", 9 * SIZE), node("seed 0", SIZE), node("seed 1", SIZE * 4 / 5)];
        Outcome { clients: (0..20).map(client).collect(), nodes }
    }

    /// Returns a run with a T_min of 10 s. The table in the first test lists its figures.
    fn run() -> Run {
        let artifact = ArtifactRecord { filename: "x".to_owned(), size: SIZE, kind: "noise".to_owned() };
        let rate = 20.0 * SIZE as f64 / 15.0 / 0.8;
        let setup =
            Setup { artifacts: vec![artifact], seed_up: vec![Some(rate * 0.5); 2], clients: 20, ..Setup::default() };
        Run {
            label: "x".to_owned(),
            setup,
            t_min: 10.0,
            events: Vec::new(),
            phase: outcome([11.0, 13.0, 16.0]),
            undisturbed: Some(outcome([11.0, 12.0, 12.8])),
            http: Some(outcome([20.0, 40.0, 64.0])),
            simulated: Some(Prediction { p50: 10.0, p99: 19.0, last: 20.0 }),
            broken: Vec::new(),
        }
    }

    #[test]
    fn each_promise_is_compared_with_its_own_figure() {
        let mut unknown = Run { undisturbed: None, http: None, simulated: None, ..run() };
        unknown.phase.clients.iter_mut().for_each(|client| (client.finished, client.download_seconds) = (None, None));
        let figures = [
            (Promise::P50, 1.1),
            (Promise::P95, 1.3),
            (Promise::P99, 1.6),
            (Promise::Last, 1.6),
            (Promise::Throughput, 0.8),
            (Promise::Duplicates, 0.02),
            (Promise::SeedCopies, 1.8),
            (Promise::Versus(Variant::Undisturbed), 1.25),
            (Promise::VersusHttp, 4.0),
            (Promise::PredictedP50, 0.1),
            (Promise::PredictedLast, 0.2),
        ];
        for (promise, expected) in figures {
            let measured = figure(promise, &run()).unwrap();
            assert!((measured - expected).abs() < 1e-9, "{promise:?}: {measured}");
            let is_always_known = matches!(promise, Promise::Duplicates | Promise::SeedCopies);
            assert_eq!(figure(promise, &unknown).is_some(), is_always_known, "{promise:?}");
        }
        assert_eq!(figure(Promise::Versus(Variant::Honest), &run()), None);
    }

    #[test]
    fn figures_beyond_their_bounds_break_promises() {
        let broken = |text| broken(&toml::from_str(text).unwrap(), &run()).len();
        assert_eq!([broken(""), broken("last = 1.601"), broken("last = 1.599\npredicted = 0.09")], [0, 0, 3]);
    }
}
