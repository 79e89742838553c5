//! What a run on containers is held against.

use phase_report::lab::record::Run;
use phase_scenario::{Hold, Promise, Variant};

/// What did not hold, one sentence each, beside what must hold in every run: each client that is not taken away finishes with
/// the right SHA-256, every event takes place, every hostile node is asked for a chunk.
pub(crate) fn broken(hold: &Hold, run: &Run) -> Vec<String> {
    let of_bound = |part| run.phase.percentile(part).map(|time| time / run.t_min);
    let [(_, of_p50), (_, of_last)] = run.prediction_errors();
    hold.broken(|promise| match promise {
        Promise::P50 => of_bound(0.5),
        Promise::P95 => of_bound(0.95),
        Promise::P99 => of_bound(0.99),
        Promise::Last => of_bound(1.0),
        Promise::Throughput => run.throughput(),
        Promise::Duplicates => Some(run.phase.duplicates()),
        Promise::SeedCopies => Some(run.seed_copies()),
        Promise::Versus(Variant::Undisturbed) => run.cost(),
        // Promised of the simulator alone.
        Promise::Versus(_) => None,
        Promise::VersusHttp => run.times_faster_than_http(),
        Promise::PredictedP50 => of_p50,
        Promise::PredictedLast => of_last,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use phase_report::lab::record::{ArtifactRecord, ClientRecord, NodeRecord, Outcome, Prediction, Setup, Usage};

    const SIZE: u64 = 1_000_000;

    fn hold(text: &str) -> Hold {
        toml::from_str(text).unwrap()
    }

    /// 20 clients: 10 took the first time, 9 the second, one the third. The last downloaded for 1 s less.
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

    /// T_min 10 s: p50 1.1, p95 1.3, p99 and last 1.6 × T_min; 0.8 of the sum of rates; 2 % duplicates; 1.8 copies;
    /// 1.25 × undisturbed; 4 times as fast as over HTTP; 10 and 20 % off what the simulator says.
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

    /// What is promised, a figure that holds, and one that does not.
    const PROMISES: [(&str, f64, f64); 10] = [
        ("p50", 1.101, 1.099),
        ("p95", 1.301, 1.299),
        ("p99", 1.601, 1.599),
        ("last", 1.601, 1.599),
        ("throughput", 0.799, 0.801),
        ("duplicates", 0.0201, 0.0199),
        ("seed_copies", 1.801, 1.799),
        ("versus_undisturbed", 1.251, 1.249),
        ("versus_http", 3.999, 4.001),
        ("predicted", 0.201, 0.199),
    ];

    #[test]
    fn each_promise_holds_up_to_its_figure() {
        for (name, kept, missed) in PROMISES {
            assert_eq!(broken(&hold(&format!("{name} = {kept}")), &run()), Vec::<String>::new(), "{name}");
            let sentences = broken(&hold(&format!("{name} = {missed}")), &run());
            assert_eq!(sentences.len(), 1, "{name}: {sentences:?}");
            assert!(sentences[0].contains(&missed.to_string()), "{sentences:?}");
        }
        assert_eq!(broken(&hold("predicted = 0.09"), &run()).len(), 2, "half of the clients, and the last");
        assert!(broken(&Hold::default(), &run()).is_empty());
    }

    #[test]
    fn what_is_not_known_does_not_hold() {
        let mut run = Run { undisturbed: None, http: None, simulated: None, ..run() };
        run.phase.clients.iter_mut().for_each(|client| (client.finished, client.download_seconds) = (None, None));
        for (name, kept, _) in PROMISES {
            let sentences = broken(&hold(&format!("{name} = {kept}")), &run);
            let (count, words) = match name {
                "duplicates" | "seed_copies" => (0, ""),
                "predicted" => (2, "is not known"),
                _ => (1, "is not known"),
            };
            assert_eq!(sentences.len(), count, "{name}: {sentences:?}");
            assert!(sentences.iter().all(|sentence| sentence.contains(words)), "{sentences:?}");
        }
    }
}
